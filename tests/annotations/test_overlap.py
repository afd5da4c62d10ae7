"""Fractions of tiles under an area, by hand and against shapely one tile at a time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Polygon, box

from wsi_tower.annotations import covered_fractions
from wsi_tower.annotations.outlines import area_within, sound

if TYPE_CHECKING:
    from numpy.typing import NDArray


def grid(side: int, columns: int, rows: int) -> NDArray[np.int64]:
    x, y = np.meshgrid(np.arange(columns) * side, np.arange(rows) * side)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def wavy(corners: int, radius: float, seed: int = 0) -> Polygon:
    """An outline as irregular as a hand's, around (50 000, 50 000)."""
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    walk = rng.normal(size=corners).cumsum() / np.sqrt(corners)
    radii = radius * (1 + 0.1 * np.sin(23 * angles) + 0.02 * walk)
    points = 50_000 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return Polygon(points)


def test_by_hand() -> None:
    # A square of 15 px over tiles of 10 px: a whole, two halves, a quarter, and none.
    found = covered_fractions(box(0, 0, 15, 15), grid(10, 3, 2), 10)
    assert found.tolist() == [1, 0.5, 0, 0.5, 0.25, 0]


def test_holes_and_islands_count() -> None:
    holed = Polygon(box(0, 0, 20, 10).exterior, [box(12, 2, 17, 4).exterior])
    found = covered_fractions(MultiPolygon([holed, box(25, 0, 30, 10)]), grid(10, 3, 1), 10)
    assert found == pytest.approx([1, 0.9, 0.5])
    assert found[0] == 1


def test_a_tile_is_wholly_inside_or_below_one() -> None:
    # A hole of a millionth of a pixel's side is still a hole.
    holed = Polygon(box(0, 0, 10, 10).exterior, [box(5, 5, 5.000001, 5.000001).exterior])
    assert covered_fractions(holed, grid(10, 1, 1), 10)[0] < 1
    assert covered_fractions(box(0, 0, 10, 10), grid(10, 1, 1), 10)[0] == 1


def test_nothing_covers_nothing() -> None:
    assert covered_fractions(MultiPolygon(), grid(10, 2, 1), 10).tolist() == [0, 0]
    assert len(covered_fractions(box(0, 0, 1, 1), np.empty((0, 2), np.int64), 10)) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=3, max_size=12, unique=True
    ),
    st.integers(3, 25),
)
def test_tiles_sum_up_to_the_area_and_agree_with_shapely(
    corners: list[tuple[int, int]], side: int
) -> None:
    area = area_within(corners)
    xy_l0 = grid(side, -(-61 // side), -(-61 // side))
    found = covered_fractions(area, xy_l0, side)
    one_by_one = [box(x, y, x + side, y + side).intersection(area).area for x, y in xy_l0.tolist()]
    assert found * side**2 == pytest.approx(one_by_one, abs=1e-6)
    assert found.sum() * side**2 == pytest.approx(area.area, abs=1e-6)


def test_cutting_an_outline_of_many_corners_changes_nothing() -> None:
    area = wavy(5000, 3000)
    xy_l0 = 46_000 + grid(500, 16, 16)
    found = covered_fractions(area, xy_l0, 500)
    one_by_one = [box(x, y, x + 500, y + 500).intersection(area).area for x, y in xy_l0.tolist()]
    assert found * 500**2 == pytest.approx(one_by_one, abs=1e-3)
    assert set(np.flatnonzero(found == 1)) == {
        row for row, (x, y) in enumerate(xy_l0.tolist()) if area.covers(box(x, y, x + 500, y + 500))
    }


def test_a_whole_slide_takes_seconds() -> None:
    # 200 704 tiles under an outline of 20 000 corners and 300 small ones.
    small = [
        shapely.Point(x, y).buffer(300, quad_segs=25)
        for x, y in np.random.default_rng(1).uniform(400, 20_000, (300, 2))
    ]
    area = sound(shapely.union_all([wavy(20_000, 20_000), *small]))
    began = time.process_time()
    found = covered_fractions(area, grid(224, 448, 448), 224)
    assert time.process_time() - began < 10
    assert found.sum() * 224**2 == pytest.approx(area.area, rel=1e-9)
