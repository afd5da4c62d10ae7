"""`read_annotations`: outlines on one slide, from any of the formats, told apart by content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from wsi_tower.annotations.asap import asap_areas
from wsi_tower.annotations.camelyon_json import CLASSES, camelyon_areas
from wsi_tower.annotations.geojson import polygons_of
from wsi_tower.annotations.imagescope import imagescope_areas, imagescope_mpp
from wsi_tower.annotations.xml_text import parsed_xml
from wsi_tower.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wsi_tower.annotations.outlines import NamedArea
    from wsi_tower.geometry import Level0Box

__all__ = ["AnnotationFormat", "Annotations", "read_annotations"]

AnnotationFormat: TypeAlias = Literal["asap", "imagescope", "geojson", "camelyon-json"]
"""Who wrote a file."""

_BEFORE_TEXT = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"
"""Byte order marks, halves of UTF-16 letters, and space."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """What one file says of one slide."""

    path: Path
    """The file."""
    format: AnnotationFormat
    """Who wrote it."""
    areas: tuple[NamedArea, ...]
    """Its outlines in level-0 pixels from the slide's corner, valid and not empty."""
    mpp: float | None
    """Micrometres per level-0 pixel where they were drawn, if the file says so."""

    @property
    def classes(self) -> tuple[str | None, ...]:
        """Every class, in the file's order; None where outlines have none."""
        return tuple(dict.fromkeys(area.name for area in self.areas))


def read_annotations(path: Path, bounds: Level0Box | None = None) -> Annotations:
    """Read the outlines drawn on one slide.

    Outlines that cross themselves are mended (see `sound`); points, lines, arrows and outlines
    without an area are passed over.

    Args:
        path: ASAP XML, ImageScope XML, QuPath GeoJSON or Camelyon JSON, whatever its name.
        bounds: the slide's scanned part, where it says so: QuPath counts from its corner, the
            others from the slide's.

    Raises:
        AnnotationError: the file cannot be read, is none of these, or holds what is no outline;
            the message names file and element.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AnnotationError(
            f"annotation file {path} cannot be read ({error.strerror or error}); check its path "
            f"and permissions"
        ) from error
    if content.lstrip(_BEFORE_TEXT).startswith(b"<"):
        return _from_xml(content, path)
    return _from_json(content, path, bounds)


def _from_xml(content: bytes, path: Path) -> Annotations:
    root = parsed_xml(content, path)
    if root.tag == "ASAP_Annotations":
        return Annotations(path, "asap", _not_empty(asap_areas(root, path)), None)
    if root.tag == "Annotations":
        mpp = imagescope_mpp(root, path)
        return Annotations(path, "imagescope", _not_empty(imagescope_areas(root, path)), mpp)
    raise AnnotationError(
        f"annotation file {path} is XML of neither ASAP nor ImageScope (its root is <{root.tag}>); "
        f"export it again from one of them, or as GeoJSON"
    )


def _from_json(content: bytes, path: Path, bounds: Level0Box | None) -> Annotations:
    try:
        document: Any = json.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        raise AnnotationError(
            f"annotation file {path} is neither XML nor JSON ({error}); give ASAP XML, ImageScope "
            f"XML, QuPath GeoJSON or Camelyon JSON"
        ) from error
    if isinstance(document, dict) and "type" not in document and set(CLASSES) & document.keys():
        areas = _not_empty(camelyon_areas(document, path))
        return Annotations(path, "camelyon-json", areas, None)
    return Annotations(path, "geojson", _not_empty(polygons_of(document, path, bounds)), None)


def _not_empty(areas: Iterable[NamedArea]) -> tuple[NamedArea, ...]:
    return tuple(area for area in areas if not area.area.is_empty)
