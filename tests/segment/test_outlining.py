"""Outlines of objects: whole across bands, holes kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsi_tower.segment.exports import BandOutliner, outlining
from wsi_tower.segment.objects import label_objects
from wsi_tower.tissue import mask_outlines

if TYPE_CHECKING:
    from numpy.typing import NDArray

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def outlined(
    ids: NDArray[np.uint32], height: int, simplify_px: float = 0.0
) -> dict[int, shapely.MultiPolygon]:
    outliner = BandOutliner(simplify_px)
    found = [
        one
        for top in range(0, len(ids), height)
        for one in outliner.take(top, ids[top : top + height])
    ]
    found += outliner.finish()
    assert len(dict(found)) == len(found)
    return dict(found)


@settings(max_examples=100)
@given(MASKS, st.integers(1, 9))
def test_every_object_has_the_outline_that_it_has_in_one_piece(
    mask: NDArray[np.bool_], height: int
) -> None:
    ids = label_objects(mask).astype(np.uint32)
    found = outlined(ids, height)
    assert sorted(found) == list(range(1, ids.max() + 1))
    y, x = np.mgrid[: ids.shape[0], : ids.shape[1]] + 0.5
    for number, outline in found.items():
        assert outline.equals(mask_outlines(ids == number, 0))
        assert len(outline.geoms) == 1
        assert (shapely.contains_xy(outline, x, y) == (ids == number)).all()


def test_holes_are_kept() -> None:
    ids = np.zeros((12, 12), np.uint32)
    ids[1:11, 1:11] = 7
    ids[4:8, 4:8] = 0
    (outline,) = outlined(ids, 5)[7].geoms
    assert len(outline.interiors) == 1
    # Each of the corners is cut by an eighth of a pixel, outside and in.
    assert outline.area == pytest.approx(100 - 16 - 4 / 8 + 4 / 8)


def test_simplifying_moves_a_line_no_farther_than_told() -> None:
    y, x = np.mgrid[:80, :80]
    ids = ((x - 40) ** 2 + (y - 40) ** 2 < 30**2).astype(np.uint32)
    exact, simple = outlined(ids, 33)[1], outlined(ids, 33, 1.0)[1]
    assert shapely.hausdorff_distance(exact.boundary, simple.boundary, densify=0.2) <= 1.0 + 1e-9
    assert len(shapely.get_coordinates(simple)) < len(shapely.get_coordinates(exact)) / 3


def test_a_region_too_large_to_hold_is_outlined_on_fewer_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlining, "_LARGEST_PX", 400)
    ids = np.zeros((64, 64), np.uint32)
    ids[7:55, 5:61] = 3
    outline = outlined(ids, 10)[3]
    assert outline.area == pytest.approx(48 * 56, rel=0.1)
    assert np.abs(np.array(outline.bounds) - (5, 7, 61, 55)).max() <= 3
