"""GeoJSON in and out, against what QuPath writes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from shapely.geometry import MultiPolygon, Polygon, box

from wsi_tower.annotations import (
    annotation_feature,
    geojson_text,
    read_geojson_polygons,
    read_slide_polygons,
    write_geojson,
)
from wsi_tower.errors import AnnotationError
from wsi_tower.geometry import Level0Box

if TYPE_CHECKING:
    from pathlib import Path

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]}
POINT = {"type": "Point", "coordinates": [1, 2]}
BOW_TIE = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
EMPTY = {"type": "Polygon", "coordinates": []}
BOUNDS = Level0Box(100, 200, 1000, 1000)


def feature(geometry: Any, name: str | None = "Tumor") -> dict[str, Any]:
    properties = {} if name is None else {"classification": {"name": name, "colorRGB": -3670016}}
    return {"type": "Feature", "id": "x", "geometry": geometry, "properties": properties}


@pytest.mark.parametrize(
    "content",
    [
        {"type": "FeatureCollection", "features": [feature(SQUARE)]},
        [feature(SQUARE)],
        feature(SQUARE),
        SQUARE,
        {"type": "GeometryCollection", "geometries": [SQUARE, POINT]},
        [feature(POINT), feature(EMPTY), feature(None), feature(SQUARE)],
    ],
)
def test_every_form_gives_its_polygons_only(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(content))
    ((_, area),) = read_geojson_polygons(path)
    assert area.equals(box(0, 0, 10, 10))


def test_names_come_from_the_classification(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([feature(SQUARE), feature(SQUARE, None)]))
    assert [name for name, _ in read_geojson_polygons(path)] == ["Tumor", None]


def test_crossing_outlines_are_repaired(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(BOW_TIE))
    ((_, area),) = read_geojson_polygons(path)
    assert area.is_valid
    assert area.area == pytest.approx(50)  # two triangles of base 10 and height 5


def test_bounds_shift_what_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    write_geojson(path, box(100, 200, 110, 210), "Tissue", (0, 150, 0), BOUNDS)
    written = json.loads(path.read_text())["features"][0]["geometry"]["coordinates"][0]
    assert {tuple(point) for point in written} == {(0, 0), (10, 0), (10, 10), (0, 10)}
    ((_, area),) = read_geojson_polygons(path, BOUNDS)
    assert area.equals(box(100, 200, 110, 210))


def test_what_is_written_is_what_qupath_expects() -> None:
    holed = Polygon(box(0, 0, 9, 9).exterior, [box(2, 2, 4, 4).exterior])
    content = json.loads(
        geojson_text(MultiPolygon([holed, box(20, 0, 21, 1)]), "Tissue", (1, 2, 3))
    )
    assert content["type"] == "FeatureCollection"
    first, second = content["features"]
    assert first["type"] == "Feature"
    assert first["properties"]["objectType"] == "annotation"
    assert first["properties"]["classification"] == {"name": "Tissue", "color": [1, 2, 3]}
    assert len(first["geometry"]["coordinates"]) == 2
    assert second["geometry"]["type"] == "Polygon"


def test_nothing_written_is_nothing_read(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    write_geojson(path, MultiPolygon(), "Tissue", (0, 0, 0))
    assert read_geojson_polygons(path) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{not json",
        "3",
        '{"type": "Circle"}',
        '{"type": "FeatureCollection"}',
        '{"type": "Polygon", "coordinates": 3}',
        '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}',
        '{"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 2], [3, 3]]]}',
        '{"type": "Polygon", "coordinates": [[[NaN, 0], [1, 1], [2, 0], [NaN, 0]]]}',
        '{"type": "Polygon"}',
    ],
)
def test_what_is_no_geojson_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.geojson"
    path.write_text(text)
    with pytest.raises(AnnotationError, match=r"broken\.geojson.*export it again"):
        read_geojson_polygons(path)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="No such file"):
        read_geojson_polygons(tmp_path / "none.geojson")
    (tmp_path / "binary.json").write_bytes(b"\x89PNG\r\n\xff\xfe\x00")
    with pytest.raises(AnnotationError, match=r"binary\.json"):
        read_geojson_polygons(tmp_path / "binary.json")


def test_polygons_of_several_slides_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    features = [feature(SQUARE), feature(SQUARE), feature(SQUARE), feature(POINT), feature(SQUARE)]
    for one, slide in zip(features, ("b", 7, "b", "c", None), strict=True):
        if slide is not None:
            one["properties"]["slide"] = slide
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = read_slide_polygons(path)
    assert [(slide, len(areas)) for slide, areas in found.items()] == [
        ("b", 2),
        ("7", 1),
        (None, 1),
    ]


def test_a_feature_carries_what_else_is_known_of_it() -> None:
    made = annotation_feature(box(0, 0, 1.2345, 1), "Tumor", (200, 0, 0), metastasis="micro")
    assert made["properties"] == {
        "objectType": "annotation",
        "classification": {"name": "Tumor", "color": [200, 0, 0]},
        "metastasis": "micro",
    }
    assert max(x for x, _ in made["geometry"]["coordinates"][0]) == 1.23
