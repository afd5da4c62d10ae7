from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from wsi_tower.errors import SettingsError
from wsi_tower.geometry import Level0Size
from wsi_tower.phantom import PhantomSettings


def test_the_default_slide_has_room_for_tiles_ten_millimetres_apart() -> None:
    assert PhantomSettings().size == Level0Size(14_000, 11_000)


def test_every_third_slide_has_a_pen_and_the_colours_take_turns() -> None:
    settings = PhantomSettings(slides=15)
    colours = [settings.pen_colour(index) for index in range(15)]
    assert colours[:6] == [None, None, "green", None, None, "red"]
    assert colours[8::3] == ["blue", "black", "green"]


def test_pens_can_be_left_out() -> None:
    settings = PhantomSettings(pen_every=0)
    assert [settings.pen_colour(index) for index in range(4)] == [None] * 4


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"slides": 0}, "0 phantom slides; ask for 1"),
        ({"width_um": 0.0}, "width is 0 mm"),
        ({"height_um": -5000.0}, "height is -5 mm"),
        ({"width_um": math.nan}, "width is nan mm"),
        ({"width_um": math.inf}, "width is inf mm"),
        ({"height_um": 400_001.0}, "height is 400.001 mm; choose more than 0 and up to 400 mm"),
        ({"mpp": 0.05}, "pixel size is 0.05 µm/px; choose more than 0.05"),
        ({"mpp": 100.5}, "pixel size is 100.5"),
        ({"mpp": math.nan}, "pixel size is nan"),
        ({"mpp": -1.0}, "pixel size is -1"),
        ({"width_um": 255.0}, "255 × 11000 px at 1 µm/px is smaller than one tile of 256 px"),
        ({"tile_px": 240}, "tiles of 240 px; choose one of 64, 128"),
        ({"jpeg_quality": 0}, "JPEG quality is 0; choose 1 to 100"),
        ({"jpeg_quality": 101}, "JPEG quality is 101"),
        ({"seed": -1}, "seed is -1"),
        ({"pen_every": -1}, "give 0 for none"),
        ({"pen_colours": ()}, "give one or more of green"),
        ({"pen_colours": ("pink",)}, "'pink'"),
        ({"tumour_outlines": Path("a.geojson")}, "a.geojson have no pixel size; give that of"),
        ({"tumour_outlines_mpp": 0.25}, "size of 0.25 µm/px but no file; give the GeoJSON"),
        (
            {"tumour_outlines": Path("a.geojson"), "tumour_outlines_mpp": 0.0},
            "pixel size of the tumour outlines is 0 µm/px; choose more than 0.05",
        ),
        (
            {"tumour_outlines": Path("a.geojson"), "tumour_outlines_mpp": math.nan},
            "pixel size of the tumour outlines is nan",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_value(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        PhantomSettings(**wrong)
    assert said in str(caught.value)
