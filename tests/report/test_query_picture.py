"""Pictures of an answer: everything is there, at one scale, whatever it is called."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.report.conftest import HOSTILE, UNDECODABLE
from wsi_tower.geometry import Mpp
from wsi_tower.report import QueryPanel, query_picture, similarity_colours, similarity_picture
from wsi_tower.slides import Overview

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUERY, HIT, LIKE, UNLIKE = (200, 30, 40), (30, 160, 60), (40, 60, 200), (180, 0, 180)


def panel(
    colour: tuple[int, int, int], side_um: float | None = 100.0, shape: tuple[int, int] = (64, 64)
) -> QueryPanel:
    picture = np.full((*shape, 3), colour, np.uint8)
    return QueryPanel(picture, ("1  slide", "distance 0.4 at 1.00, 2.00 mm", "breast"), side_um)


def drawn(png: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def area(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> int:
    return int((picture == colour).all(axis=2).sum())


def test_every_hit_is_drawn_as_large_as_the_others() -> None:
    one, twelve = (
        area(drawn(query_picture("t", [panel(QUERY)], [panel(HIT)] * count)), HIT)
        for count in (1, 12)
    )
    assert twelve == 12 * one
    assert one == 256 * 256


def test_a_tile_of_half_the_side_fills_a_quarter() -> None:
    picture = drawn(query_picture("t", [panel(QUERY)], [panel(HIT), panel(LIKE, 50.0)]))
    assert area(picture, LIKE) == area(picture, HIT) // 4


def test_examples_stand_below_the_query() -> None:
    picture = drawn(
        query_picture(
            "t", [panel(QUERY)], [panel(HIT)], like=[panel(LIKE)] * 2, unlike=[panel(UNLIKE)]
        )
    )
    rows = {
        colour: np.flatnonzero((picture == colour).all(axis=2).any(axis=1))
        for colour in (QUERY, LIKE, UNLIKE)
    }
    assert rows[QUERY].max() < rows[LIKE].min() < rows[LIKE].max() < rows[UNLIKE].min()
    assert area(picture, LIKE) == 2 * area(picture, UNLIKE)


def test_a_region_is_a_mosaic_of_nine_at_most() -> None:
    picture = drawn(query_picture("t", [panel(QUERY)] * 30, [panel(HIT)]))
    assert area(picture, QUERY) == 9 * (420 // 3) ** 2


@pytest.mark.parametrize("name", [HOSTILE, UNDECODABLE, "a" * 300, "line\nbreak", ""])
def test_names_of_any_kind_are_drawn(name: str) -> None:
    one = QueryPanel(np.zeros((8, 8, 3), np.uint8), (name, name, name), 10.0)
    drawn(query_picture(name, [one], [one] * 5))


def test_slides_without_a_common_scale_and_no_hits_are_drawn() -> None:
    wide = panel(QUERY, None, (40, 80))
    picture = drawn(query_picture("t", [wide], []))
    assert area(picture, QUERY) == pytest.approx(420 * 210, rel=0.02)


def test_a_map_shows_near_tiles_in_the_last_colour() -> None:
    overview = Overview(np.full((100, 200, 3), 255, np.uint8), pitch_l0=10.0)
    boxes_l0 = np.array([[0, 0, 500, 500], [500, 0, 500, 500], [1000, 500, 500, 500]])
    png = similarity_picture(
        HOSTILE, overview, Mpp(0.5, 0.5), boxes_l0, np.array([0.0, 1.0, 2.0]), asked=[1]
    )
    picture = drawn(png)
    near = np.array(similarity_colours(2)[-1][:3]) * 0.72 + 255 * 0.28
    far = np.array(similarity_colours(2)[0][:3]) * 0.72 + 255 * 0.28
    for shade in (near, far):
        assert (np.abs(picture - shade).max(axis=2) <= 3).sum() > 1000


def test_a_map_of_equal_tiles_is_drawn() -> None:
    overview = Overview(np.zeros((10, 10, 3), np.uint8), pitch_l0=10.0)
    boxes_l0 = np.array([[0, 0, 50, 50]])
    drawn(similarity_picture("t", overview, Mpp(0.5, 0.5), boxes_l0, np.array([1.0])))


def test_colours_go_from_dark_to_light() -> None:
    colours = np.array(similarity_colours(100))
    brightness = colours[:, :3] @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) > -0.5).all()
    assert (colours[:, 3] == 255).all()
