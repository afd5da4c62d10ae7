"""What other programs read: QuPath, the Digital Slide Archive, readers of OME-TIFF."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
import tifffile

from wsi_tower.annotations import read_geojson_polygons
from wsi_tower.geometry import Level0Box, LevelSize
from wsi_tower.ngff import write_instance_bands
from wsi_tower.segment.exports import DsaWriter, FoundObject, GeoJsonWriter, write_ome_tiff

if TYPE_CHECKING:
    from pathlib import Path

SQUARE = shapely.Polygon(
    [(1010, 2020), (1030, 2020), (1030, 2050), (1010, 2050)],
    [[(1015, 2030), (1020, 2030), (1020, 2035), (1015, 2035)]],
)


def found(number: int = 1) -> FoundObject:
    return FoundObject(number, "nucleus", (0, 200, 240), SQUARE, 36.25, 0.4321, 0.9)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_geojson_is_one_collection_however_many(count: int) -> None:
    file = io.StringIO()
    writer = GeoJsonWriter(file, None)
    for number in range(1, count + 1):
        writer.add(found(number))
    writer.finish()
    told = json.loads(file.getvalue())
    assert told["type"] == "FeatureCollection"
    assert [one["properties"]["name"] for one in told["features"]] == ["1", "2", "3"][:count]


def test_geojson_counts_from_the_scanned_part_as_qupath_does(tmp_path: Path) -> None:
    path, bounds = tmp_path / "a.geojson", Level0Box(1000, 2000, 500, 500)
    with path.open("w", encoding="utf-8") as file:
        writer = GeoJsonWriter(file, bounds)
        writer.add(found())
        writer.finish()
    (feature,) = json.loads(path.read_text(encoding="utf-8"))["features"]
    outer, hole = feature["geometry"]["coordinates"]
    assert np.min(outer, axis=0).tolist() == [10, 20]
    assert np.min(hole, axis=0).tolist() == [15, 30]
    assert feature["properties"]["objectType"] == "detection"
    assert feature["properties"]["classification"]["name"] == "nucleus"
    assert feature["properties"]["measurements"]["Area µm^2"] == 36.25
    ((name, area),) = read_geojson_polygons(path, bounds)
    assert name == "nucleus"
    assert area.equals(SQUARE)


@pytest.mark.parametrize("count", [0, 2])
def test_dsa_gets_closed_polylines_with_holes(count: int) -> None:
    file = io.StringIO()
    writer = DsaWriter(file, "dark on a")
    for number in range(count):
        writer.add(found(number + 1))
    writer.finish()
    told: dict[str, Any] = json.loads(file.getvalue())
    assert told["name"] == "dark on a"
    assert len(told["elements"]) == count
    for element in told["elements"]:
        assert element["type"] == "polyline"
        assert element["closed"] is True
        assert len(element["points"]) == 4
        assert [len(hole) for hole in element["holes"]] == [4]
        assert {point[2] for point in element["points"]} == {0}
        assert np.min(element["points"], axis=0).tolist() == [1010, 2020, 0]


def test_ome_tiff_has_the_levels_and_the_pixel_size(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 90_000, (1300, 700)).astype(np.uint32)
    write_instance_bands(
        tmp_path / "a.zarr",
        [labels[:600], labels[600:]],
        size=LevelSize(700, 1300),
        pixel_um=(0.5, 0.25),
        name="a",
        more={},
    )
    write_ome_tiff(tmp_path / "a.ome.tif", tmp_path / "a.zarr", "a", (0.5, 0.25))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        (series,) = file.series
        assert [level.shape for level in series.levels] == [
            (1300, 700),
            (650, 350),
            (325, 175),
            (163, 88),
        ]
        assert np.array_equal(series.levels[0].asarray(), labels)
        assert np.array_equal(series.levels[1].asarray(), labels[::2, ::2])
        assert series.levels[0].keyframe.is_tiled
        pixels = ET.fromstring(str(file.ome_metadata))[0][0]
    assert (pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit")) == ("0.5", "µm")
    assert pixels.get("PhysicalSizeY") == "0.25"
