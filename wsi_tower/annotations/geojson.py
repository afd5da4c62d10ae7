"""GeoJSON as QuPath reads and writes it.

Coordinates in files are level-0 pixels as QuPath counts them: from the corner of the scanned part
where a slide has ``openslide.bounds-*``, else from the slide's corner. Polygons in memory always
count from the slide's corner.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, mapping, shape

from wsi_tower.annotations.outlines import NamedArea, sound
from wsi_tower.errors import AnnotationError
from wsi_tower.records import write_text_aside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from wsi_tower.annotations.outlines import Area
    from wsi_tower.geometry import Level0Box

__all__ = [
    "annotation_feature",
    "geojson_text",
    "polygons_of",
    "read_geojson_polygons",
    "read_slide_polygons",
    "write_geojson",
]

_DECIMALS = 2
_BROKEN_GEOMETRY = (
    AttributeError, IndexError, KeyError, TypeError, ValueError, shapely.errors.ShapelyError,
)  # fmt: skip
"""What shapely raises over coordinates that are not what they should be."""
_BARE_GEOMETRIES = ("Polygon", "MultiPolygon", "GeometryCollection")


def read_geojson_polygons(path: Path, bounds: Level0Box | None = None) -> list[NamedArea]:
    """Read the polygons of a FeatureCollection, a bare list, a feature or a geometry.

    Points and lines are passed over, invalid outlines are repaired, and empty ones dropped.

    Args:
        path: the file.
        bounds: the slide's scanned part, where it says so; its corner is added.

    Returns:
        Polygons in level-0 pixels from the slide's corner.

    Raises:
        AnnotationError: the file cannot be read, is not GeoJSON, or holds a broken geometry.
    """
    return list(polygons_of(_load(path), path, bounds))


def polygons_of(content: Any, path: Path, bounds: Level0Box | None) -> Iterator[NamedArea]:
    """The polygons of parsed GeoJSON, as `read_geojson_polygons` gives them.

    Raises:
        AnnotationError: not GeoJSON, or it holds a broken geometry.
    """
    for area, properties in _areas(content, path):
        yield NamedArea(_class_name(properties), _moved(area, bounds, 1))


def read_slide_polygons(path: Path) -> dict[str | None, list[Area]]:
    """Read a file that holds the polygons of several slides.

    Args:
        path: the file; as for `read_geojson_polygons`, and the property ``slide`` of a feature
            names its slide.

    Returns:
        Polygons by slide, in the file's order; under None those that name no slide.

    Raises:
        AnnotationError: the file cannot be read, is not GeoJSON, or holds a broken geometry.
    """
    slides: dict[str | None, list[Area]] = {}
    for area, properties in _areas(_load(path), path):
        named = properties.get("slide") if isinstance(properties, dict) else None
        slides.setdefault(None if named is None else str(named), []).append(area)
    return slides


def annotation_feature(
    area: Area, classification: str, color: Sequence[int], **more: Any
) -> dict[str, Any]:
    """A QuPath annotation as a GeoJSON feature.

    Args:
        area: its outline in level-0 pixels, written to a hundredth of a pixel.
        classification: name of its class.
        color: its red, green and blue, 0 to 255.
        more: further properties, plain values.
    """
    return {
        "type": "Feature",
        "geometry": _rounded(area),
        "properties": {
            "objectType": "annotation",
            "classification": {"name": classification, "color": list(color)},
            **more,
        },
    }


def geojson_text(
    areas: Area | Iterable[Area],
    classification: str,
    color: Sequence[int],
    bounds: Level0Box | None = None,
) -> str:
    """A FeatureCollection of QuPath annotations.

    Args:
        areas: outlines in level-0 pixels; each polygon becomes an annotation, written to a
            hundredth of a pixel.
        classification: name of their class.
        color: its red, green and blue, 0 to 255.
        bounds: the slide's scanned part, where it says so; its corner is subtracted.
    """
    whole = [areas] if isinstance(areas, Polygon | MultiPolygon) else areas
    parts = (_moved(part, bounds, -1) for area in whole for part in shapely.get_parts(area))
    features = [annotation_feature(part, classification, color) for part in parts]
    return json.dumps({"type": "FeatureCollection", "features": features}) + "\n"


def write_geojson(
    path: Path,
    areas: Area | Iterable[Area],
    classification: str,
    color: Sequence[int],
    bounds: Level0Box | None = None,
) -> None:
    """Write `geojson_text` to a file that is complete or absent.

    Raises:
        StorageError: the disk refused.
    """
    write_text_aside(path, geojson_text(areas, classification, color, bounds))


def _areas(content: Any, path: Path) -> Iterator[tuple[Area, Any]]:
    """Sound polygons of a file and the properties of their features."""
    for number, (geometry, properties) in enumerate(_features(content, path)):
        try:
            area = sound(shape(geometry))
        except _BROKEN_GEOMETRY as error:
            raise _unreadable(path, f"geometry {number} is broken: {error}") from error
        if not area.is_empty:
            yield area, properties


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _unreadable(path, f"not JSON text: {error}") from error


def _features(content: Any, path: Path) -> Iterator[tuple[Any, Any]]:
    """Geometry and properties of every feature."""
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection":
        content = content.get("features")
    if isinstance(content, list):
        for item in content:
            yield from _features(item, path)
    elif kind == "Feature":
        if content.get("geometry") is not None:
            yield content["geometry"], content.get("properties")
    elif kind in _BARE_GEOMETRIES:
        yield content, None
    elif kind not in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        raise _unreadable(path, f"{kind or type(content).__name__!r} is no GeoJSON type")


def _moved(area: Area, bounds: Level0Box | None, sign: int) -> Area:
    if bounds is None:
        return area
    corner = sign * np.array([bounds.x, bounds.y])
    moved: Area = shapely.transform(area, lambda points: points + corner)
    return moved


def _class_name(properties: Any) -> str | None:
    classification = properties.get("classification") if isinstance(properties, dict) else None
    name = classification.get("name") if isinstance(classification, dict) else None
    return name if isinstance(name, str) else None


def _rounded(area: Area) -> dict[str, Any]:
    geometry: dict[str, Any] = mapping(
        shapely.transform(area, lambda points: np.round(points, _DECIMALS))
    )
    return geometry


def _unreadable(path: Path, why: str) -> AnnotationError:
    return AnnotationError(
        f"annotation file {path} cannot be read as GeoJSON ({why}); export it again from QuPath "
        f"as GeoJSON"
    )
