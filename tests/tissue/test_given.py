"""Masks that a person gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import shapely
from PIL import Image

from wsi_tower.annotations import write_geojson
from wsi_tower.errors import MaskError
from wsi_tower.geometry import Level0Box, Level0Size, Mpp
from wsi_tower.slides import Overview
from wsi_tower.tissue import TissueMask, TissueSettings, given_mask, tissue_outlines

if TYPE_CHECKING:
    from pathlib import Path

SIZE = Level0Size(1600, 800)
PITCH_L0 = 16.0
GREEN_PEN = (40, 155, 130)


def taken(path: Path, bounds: Level0Box | None = None, size: Level0Size = SIZE) -> TissueMask:
    rgb = np.full((50, 100, 3), 245, np.uint8)
    rgb[:, 80:95] = GREEN_PEN
    return given_mask(path, size, bounds, Mpp(0.5, 0.5), Overview(rgb, PITCH_L0), TissueSettings())


@pytest.mark.parametrize("scale", [1, 3, 0.5])
@pytest.mark.parametrize("value", [1, 255])
def test_a_picture_is_stretched_over_the_slide(tmp_path: Path, scale: float, value: int) -> None:
    picture = np.zeros((int(50 * scale), int(100 * scale)), np.uint8)
    picture[: int(20 * scale), int(40 * scale) :] = value
    Image.fromarray(picture).save(tmp_path / "m.png")
    expected = np.zeros((50, 100), bool)
    expected[:20, 40:] = True
    np.testing.assert_array_equal(taken(tmp_path / "m.png").tissue, expected)


@pytest.mark.parametrize(
    "name", ["m.tif", "m.jpg", "rgba.png", "palette.png", "bits.png", "m16.png"]
)
def test_any_kind_of_picture_will_do(tmp_path: Path, name: str) -> None:
    picture = np.zeros((50, 100), np.uint8)
    picture[10:30, 20:60] = 255
    image = Image.fromarray(picture)
    if name == "rgba.png":
        opaque = np.full_like(picture, 255)
        image = Image.fromarray(np.dstack([picture, picture, picture, opaque]))
    elif name == "palette.png":
        image = Image.fromarray(picture // 255).convert("P")
    elif name == "bits.png":
        image = Image.fromarray(picture > 0)
    elif name == "m16.png":
        image = Image.fromarray(picture.astype(np.uint16) * 257)
    image.save(tmp_path / name)
    wrong = taken(tmp_path / name).tissue != (picture > 0)
    assert wrong.sum() <= (30 if name == "m.jpg" else 0)  # a JPEG's edge may be off by a pixel


def test_pen_and_density_are_read_but_the_person_decides(tmp_path: Path) -> None:
    Image.fromarray(np.ones((50, 100), np.uint8)).save(tmp_path / "m.png")
    mask = taken(tmp_path / "m.png")
    assert mask.tissue.all()
    assert mask.pen[:, 82:93].all()
    assert not mask.pen[:, :70].any()
    assert mask.optical_density[25, 87] > 30


def test_the_overview_beyond_the_slide_is_no_tissue(tmp_path: Path) -> None:
    Image.fromarray(np.ones((78, 158), np.uint8)).save(tmp_path / "m.png")
    tissue = taken(tmp_path / "m.png", size=Level0Size(1580, 780)).tissue
    assert tissue[:49, :99].all()
    assert not tissue[49].any()
    assert not tissue[:, 99].any()


def test_polygons_are_drawn_in_their_place_with_holes(tmp_path: Path) -> None:
    hole = shapely.box(480, 320, 800, 480)
    outer = shapely.box(320, 160, 1120, 640)
    area = shapely.Polygon(outer.exterior, [hole.exterior])
    write_geojson(tmp_path / "m.geojson", [area, shapely.box(560, 352, 640, 400)], "x", (0, 0, 0))
    tissue = taken(tmp_path / "m.geojson").tissue
    expected = np.zeros((50, 100), bool)
    expected[10:40, 20:70] = True
    expected[20:30, 30:50] = False
    expected[22:25, 35:40] = True  # the island in the hole
    np.testing.assert_array_equal(tissue, expected)


def test_polygons_count_from_the_corner_of_the_bounds(tmp_path: Path) -> None:
    write_geojson(tmp_path / "m.json", [shapely.box(0, 0, 160, 160)], "x", (0, 0, 0))
    tissue = taken(tmp_path / "m.json", Level0Box(320, 160, 900, 600)).tissue
    expected = np.zeros((50, 100), bool)
    expected[10:20, 20:30] = True
    np.testing.assert_array_equal(tissue, expected)


def test_a_polygon_that_runs_off_the_slide_is_cut(tmp_path: Path) -> None:
    write_geojson(tmp_path / "m.json", [shapely.box(-5000, -90, 800, 9000)], "x", (0, 0, 0))
    tissue = taken(tmp_path / "m.json").tissue
    assert tissue[:, :50].all()
    assert not tissue[:, 50:].any()


def test_polygons_beyond_the_slide_are_no_tissue(tmp_path: Path) -> None:
    write_geojson(tmp_path / "m.json", [shapely.box(-50, -50, 5000, 5000)], "x", (0, 0, 0))
    tissue = taken(tmp_path / "m.json", size=Level0Size(1590, 790)).tissue
    # The last pixels span 1584 to 1600: their centres at 1592 are off a slide of 1590.
    assert tissue[:49, :99].all()
    assert not tissue[49].any()
    assert not tissue[:, 99].any()


@pytest.mark.parametrize("seed", range(3))
def test_outlining_and_drawing_again_keeps_the_area(tmp_path: Path, seed: int) -> None:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((300, 400)), (0, 0), 4)
    tissue = noise > np.quantile(noise, 0.6)
    size, mpp = Level0Size(400 * 16, 300 * 16), Mpp(0.5, 0.5)
    overview = Overview(np.full((*tissue.shape, 3), 245, np.uint8), PITCH_L0)
    none = np.zeros(tissue.shape, np.uint8)
    mask = TissueMask(tissue, none.view(np.bool_), none, PITCH_L0, mpp)
    for _ in range(3):
        write_geojson(tmp_path / "m.geojson", tissue_outlines(mask, size), "Tissue", (0, 0, 0))
        mask = given_mask(tmp_path / "m.geojson", size, None, mpp, overview, TissueSettings())
    assert np.count_nonzero(mask.tissue) == pytest.approx(np.count_nonzero(tissue), rel=0.005)
    assert np.count_nonzero(mask.tissue != tissue) < 0.005 * np.count_nonzero(tissue)


def write_classes(path: Path, **areas: shapely.Polygon) -> None:
    """QuPath annotations by class; the class ``None`` is none."""
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(area),
            "properties": {} if name == "None" else {"classification": {"name": name}},
        }
        for name, area in areas.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


@pytest.mark.parametrize(
    "name",
    [
        *("Pen", "ARTEFACT", "artifact", "Background", "glass", "Ignore", "fold", "Blur", " dust "),
        *("Ignore*", "Necrosis*"),
    ],
)
def test_areas_of_classes_that_are_no_tissue_are_cut_out(tmp_path: Path, name: str) -> None:
    areas = {name: shapely.box(160, 160, 320, 320), "Tissue": shapely.box(0, 0, 240, 800)}
    areas["None"] = shapely.box(800, 0, 1600, 800)
    areas["Tumor"] = shapely.box(240, 0, 480, 800)
    write_classes(tmp_path / "m.geojson", **areas)
    expected = np.zeros((50, 100), bool)
    expected[:, :30] = expected[:, 50:] = True
    expected[10:20, 10:20] = False
    np.testing.assert_array_equal(taken(tmp_path / "m.geojson").tissue, expected)


@pytest.mark.parametrize("name", ["Pending", "Dust cells", "*lamina", "Stroma"])
def test_other_classes_are_tissue(tmp_path: Path, name: str) -> None:
    write_classes(tmp_path / "m.geojson", **{name: shapely.box(0, 0, 1600, 800)})
    assert taken(tmp_path / "m.geojson").tissue.all()


def test_a_mask_of_nothing_but_cut_out_classes_is_refused_naming_them(tmp_path: Path) -> None:
    box = shapely.box(0, 0, 160, 160)
    write_classes(tmp_path / "m.geojson", **{"Pen": box, "Ignore*": box})
    with pytest.raises(MaskError, match=r"m\.geojson holds no tissue.*\(Ignore\*, Pen\); outline"):
        taken(tmp_path / "m.geojson")


def test_a_picture_of_another_shape_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((60, 100), np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(MaskError, match=r"m\.png is 100 × 60 px.*1600 × 800 px; give a mask"):
        taken(tmp_path / "m.png")


BOUNDS = Level0Box(320, 160, 480, 480)


@pytest.mark.parametrize("side", [30, 90, 480])
def test_a_picture_of_the_bounds_is_placed_there(tmp_path: Path, side: int) -> None:
    picture = np.zeros((side, side), np.uint8)
    picture[: side // 3] = 255
    picture[:, : side // 2] = 255
    Image.fromarray(picture).save(tmp_path / "m.png")
    expected = np.zeros((50, 100), bool)
    expected[10:20, 20:50] = expected[10:40, 20:35] = True
    np.testing.assert_array_equal(taken(tmp_path / "m.png", BOUNDS).tissue, expected)


def test_a_picture_that_fits_slide_and_bounds_shows_the_slide(tmp_path: Path) -> None:
    Image.fromarray(np.ones((50, 100), np.uint8)).save(tmp_path / "m.png")
    assert taken(tmp_path / "m.png", Level0Box(320, 160, 960, 480)).tissue.all()


def test_a_picture_of_neither_shape_is_refused_naming_both(tmp_path: Path) -> None:
    Image.fromarray(np.ones((60, 100), np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(
        MaskError, match="1600 × 800 px, nor of its scanned part, 480 × 480 px"
    ) as e:
        taken(tmp_path / "m.png", BOUNDS)
    assert "whole slide, for example 100 × 50 px" in str(e.value)
    assert "scanned part, for example 100 × 100 px" in str(e.value)


@pytest.mark.parametrize("shape", [(51, 100), (50, 101), (6, 11), (505, 1000)])
def test_a_rounded_shape_is_taken(tmp_path: Path, shape: tuple[int, int]) -> None:
    Image.fromarray(np.ones(shape, np.uint8)).save(tmp_path / "m.png")
    assert taken(tmp_path / "m.png").tissue.all()


def test_files_that_cannot_be_used_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(np.ones((500, 1000), np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    (tmp_path / "broken.geojson").write_text("{")
    (tmp_path / "points.geojson").write_text(json.dumps({"type": "Point", "coordinates": [1, 1]}))
    for name in ("text.png", "cut.png", "missing.png", "broken.geojson", "points.geojson"):
        with pytest.raises(MaskError, match=name):
            taken(tmp_path / name)


def test_polygons_of_another_slide_are_refused(tmp_path: Path) -> None:
    write_geojson(tmp_path / "m.geojson", [shapely.box(5000, 0, 6000, 90)], "x", (0, 0, 0))
    with pytest.raises(MaskError, match=r"m\.geojson lies wholly outside.*x 5000 to 6000.*level-0"):
        taken(tmp_path / "m.geojson")
