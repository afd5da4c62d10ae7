"""Discs of cells: no near tile is outside, no distant one inside, whatever is drawn from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_tower.pairs.candidates import Candidates
from wsi_tower.pairs.lattice import Lattice, covered_cells, touched_cells

radii = st.one_of(st.floats(0.01, 40), st.integers(1, 40).map(float))


def cells_of(half_widths: list[int]) -> set[tuple[int, int]]:
    middle = len(half_widths) // 2
    return {
        (column, row - middle)
        for row, half_width in enumerate(half_widths)
        for column in range(-half_width, half_width + 1)
    }


@given(radii)
def test_touched_cells_are_all_that_a_disc_reaches(radius: float) -> None:
    touched = cells_of(touched_cells(radius))
    reach = math.ceil(radius) + 2
    for column in range(reach + 1):
        for row in range(reach + 1):
            # Nearest points of two cells that lie so many columns and rows apart.
            gap = math.hypot(max(column - 1, 0), max(row - 1, 0))
            if gap <= radius:
                assert {(column, row), (-column, row), (column, -row), (-column, -row)} <= touched


@given(radii)
def test_covered_cells_lie_in_the_disc_of_every_point(radius: float) -> None:
    for column, row in cells_of(covered_cells(radius)):
        # Farthest points of two cells that lie so many columns and rows apart.
        assert math.hypot(abs(column) + 1, abs(row) + 1) <= radius


def test_a_disc_of_four_cells() -> None:
    # Touched: rows that begin 0, 0, 1, 2, 3 cells away leave √(3.9² − gap²) = 3.9, 3.9, 3.8, 3.4,
    # 2.5 beside them, begun cells counting. Covered: rows that end 1, 2, 3 cells away leave 3.8,
    # 3.4, 2.5, whole cells beyond the middle one counting.
    assert touched_cells(3.9) == [3, 4, 4, 4, 4, 4, 4, 4, 3]
    assert covered_cells(3.9) == [1, 2, 2, 2, 1]
    assert covered_cells(1.4) == []


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=25), max_size=4),
    st.integers(1, 20),
)
@settings(deadline=None)
def test_runs_hold_the_tiles_of_their_cells(places: list[list[tuple[int, int]]], side: int) -> None:
    slides = [np.array(one, np.float64).reshape(-1, 2) for one in places]
    lattice = Lattice.over(slides, side)
    firsts = np.cumsum([0, *map(len, slides)])
    half_widths = [0, 2, 0]
    starts, stops = lattice.discs(half_widths)
    rest = lattice.beside(starts, stops)
    for slide, centres in enumerate(slides):
        cells = (centres - centres.min(axis=0, initial=np.inf)) // side
        for number, cell in enumerate(cells):
            own = lattice.cell_of_tile[firsts[slide] + number]
            held = _tiles(lattice, starts[own], stops[own])
            offsets = (cells - cell).tolist()
            inside = [(x, y) in cells_of(half_widths) for x, y in offsets]
            assert held == {firsts[slide] + tile for tile in np.flatnonzero(inside)}
            others = _tiles(lattice, rest[0][own], rest[1][own])
            assert held | others == set(range(firsts[slide], firsts[slide + 1]))
            assert not held & others


def _tiles(lattice: Lattice, starts: np.ndarray, stops: np.ndarray) -> set[int]:
    runs = [lattice.order[start:stop].tolist() for start, stop in zip(starts, stops, strict=True)]
    assert sum(map(len, runs)) == len({tile for run in runs for tile in run})
    return {tile for run in runs for tile in run}


def test_cells_grow_where_a_slide_would_have_too_many() -> None:
    lattice = Lattice.over([np.array([[0.0, 0.0], [1e12, 1e12]])], 1e-3)
    assert lattice.side_um == pytest.approx(1e12 / 2**20)
    assert len(lattice.ids) == 2


@pytest.mark.parametrize("kind", ["near", "distant"])
def test_candidates_are_numbered_without_gaps(kind: str) -> None:
    centres = np.random.default_rng(5).uniform(0, 25_000, (3000, 2))
    candidates = Candidates([centres[:900], centres[900:]], kind, 5000)  # type: ignore[arg-type]
    anchors = np.array([0, 899, 900, 2999])
    counts = candidates.counts(anchors)
    listed = np.split(candidates.listed(anchors), np.cumsum(counts)[:-1])
    for anchor, count, tiles in zip(anchors, counts, listed, strict=True):
        fractions = (np.arange(count)[None] + 0.5) / count
        assert candidates.at(np.array([anchor]), fractions)[0].tolist() == tiles.tolist()
        assert len(set(tiles.tolist())) == count
        assert ((tiles < 900) == (anchor < 900)).all()
