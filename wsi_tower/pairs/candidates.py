"""For every tile a set of tiles that holds all its partners and few others, in linear memory.

A disc around an anchor touches a few neighbouring cells in each row of a lattice, and their tiles
are one run of the lattice's order. A handful of runs, kept once a cell, stand for thousands of
candidates. Distant candidates are all that lies beside the runs that are not distant for sure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from wsi_tower.pairs.lattice import Lattice, covered_cells, touched_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.pairs.settings import PairKind

__all__ = ["Candidates"]

_Numbers: TypeAlias = "NDArray[np.signedinteger[Any]]"

_DIVISIONS = (16, 8, 4, 2)
"""Cells to a radius, the finest first: finer cells follow the disc closer but are more."""
_RUNS_A_TILE = 2
"""Runs a tile, of 8 bytes each, above which the lattice is made coarser."""
_LESS = 1 / 64
"""By which a radius is shorter than its cells: a full one would touch one cell more all round."""


class Candidates:
    """Candidates for one kind of partner, for every tile of many slides."""

    def __init__(
        self, centres_um: Sequence[NDArray[np.float64]], kind: PairKind, radius_um: float
    ) -> None:
        """``centres_um`` has one (N_i, 2) a slide; ``radius_um`` bounds the kind."""
        for division in _DIVISIONS:
            lattice = Lattice.over(centres_um, radius_um / (division - _LESS))
            cells = _touched_or_covered(kind, radius_um / lattice.side_um)
            if len(lattice.ids) * len(cells) <= _RUNS_A_TILE * len(lattice.order):
                break
        starts, stops = lattice.discs(cells)
        if kind == "distant":
            starts, stops = lattice.beside(starts, stops)
        ends = np.cumsum(stops - starts, axis=1)
        number = np.int32 if len(lattice.order) < 2**31 else np.int64
        self._order: _Numbers = lattice.order.astype(number)
        self._cell_of_tile: _Numbers = lattice.cell_of_tile.astype(number)
        self._ends: _Numbers = ends.astype(number)
        """Candidates up to the end of each run: (cells, runs)."""
        self._shifts: _Numbers = (stops - ends).astype(number)
        """From those to places in the order: (cells, runs)."""

    def counts(self, anchors: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many candidates each anchor has, itself perhaps among them: (B,)."""
        counts: NDArray[np.int64] = self._ends[self._cell_of_tile[anchors], -1].astype(np.int64)
        return counts

    def at(self, anchors: NDArray[np.int64], fractions: NDArray[np.float64]) -> NDArray[np.int64]:
        """The candidates at such fractions of all: (B,) and (B, T) in [0, 1) give (B, T).

        Every anchor must have a candidate.
        """
        cells = self._cell_of_tile[anchors]
        ends = self._ends.take(cells, axis=0)  # three times as fast as [cells]
        places = (fractions * ends[:, -1:]).astype(np.int64)
        runs = (places[:, :, None] < ends[:, None, :]).argmax(axis=2)
        tiles: NDArray[np.int64] = self._order[places + self._shifts[cells[:, None], runs]].astype(
            np.int64
        )
        return tiles

    def listed(self, anchors: NDArray[np.int64]) -> NDArray[np.int64]:
        """All candidates, as many of each anchor as `counts` says: (sum of counts,)."""
        cells = self._cell_of_tile[anchors]
        lengths = np.diff(self._ends[cells], axis=1, prepend=0)
        totals = self._ends[cells, -1].astype(np.int64)
        places = np.arange(totals.sum()) - np.repeat(np.cumsum(totals) - totals, totals)
        places += np.repeat(self._shifts[cells].ravel(), lengths.ravel())
        tiles: NDArray[np.int64] = self._order[places].astype(np.int64)
        return tiles


def _touched_or_covered(kind: PairKind, radius: float) -> list[int]:
    """The disc of cells that holds all near tiles, or none that is distant; radius in cells."""
    return touched_cells(radius) if kind == "near" else covered_cells(radius)
