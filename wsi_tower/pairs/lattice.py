"""Tiles of many slides sorted by the cells of a square lattice, and discs of cells in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Lattice", "covered_cells", "touched_cells"]

_MAX_CELLS_ALONG = 1 << 20
"""Cells along a slide at most: the cells of eight million slides can then be numbered in 63 bits,
and rounding moves a tile by less than 2⁻³⁰ of a cell."""
_GUARD = 1e-6
"""Part of a cell by which discs are widened or narrowed to be on the safe side of rounding."""


def touched_cells(radius: float) -> list[int]:
    """Cells that a disc around any point of the middle cell can touch, as `Lattice.discs` takes it.

    ``radius`` is in cells. One number a row from the topmost on: so many cells to either side of
    the middle column.
    """
    reach = radius + _GUARD
    last = math.floor(reach) + 1
    gaps = [max(abs(row) - 1, 0) for row in range(-last, last + 1)]
    return [math.floor(math.sqrt(reach**2 - gap**2)) + 1 for gap in gaps]


def covered_cells(radius: float) -> list[int]:
    """Cells that the disc around every point of the middle cell covers whole; perhaps none."""
    reach = radius - _GUARD
    last = math.floor(math.sqrt(max(reach**2 - 1, 0))) - 1
    spans = [abs(row) + 1 for row in range(-last, last + 1)]
    return [math.floor(math.sqrt(reach**2 - span**2)) - 1 for span in spans]


@dataclass(frozen=True, slots=True)
class Lattice:
    """The occupied cells of all slides, slide after slide and row by row."""

    side_um: float
    """Side of a cell."""
    order: NDArray[np.int64]
    """Tiles sorted by their cell: (N,)."""
    cell_of_tile: NDArray[np.int64]
    """Number of each tile's cell: (N,)."""
    ids: NDArray[np.int64]
    """Where each cell stands among all cells, empty ones too; increasing: (C,)."""
    firsts: NDArray[np.int64]
    """Place in ``order`` of each cell's first tile, and at last N: (C + 1,)."""
    slide_of_cell: NDArray[np.int64]
    """(C,)."""
    slide_ids: NDArray[np.int64]
    """Id of each slide's first cell: (S,)."""
    slide_columns: NDArray[np.int64]
    """Cells in a row of each slide: (S,)."""
    slide_firsts: NDArray[np.int64]
    """Place in ``order`` of each slide's first tile, and at last N: (S + 1,)."""

    @classmethod
    def over(cls, centres_um: Sequence[NDArray[np.float64]], side_um: float) -> Self:
        """Sort tiles into cells; ``centres_um`` has one (N_i, 2) a slide, N_i may be 0.

        The cells are larger than ``side_um`` where a slide would have too many in a row.
        """
        spans = np.array([np.ptp(one, axis=0) if len(one) else (0.0, 0.0) for one in centres_um])
        spans = spans.reshape(-1, 2)
        side_um = max(side_um, float(spans.max(initial=0)) / _MAX_CELLS_ALONG)
        columns, rows = (np.floor(spans / side_um).astype(np.int64) + 1).T
        slide_ids = np.cumsum(columns * rows) - columns * rows
        ids = [np.empty(0, np.int64)]
        for one, first, width in zip(centres_um, slide_ids, columns, strict=True):
            corner = one.min(axis=0, initial=np.inf)
            column, row = np.floor((one - corner) / side_um).astype(np.int64).T
            ids.append(first + row * width + column)
        return cls._sorted(side_um, ids, slide_ids, columns)

    @classmethod
    def _sorted(
        cls,
        side_um: float,
        ids_of_tiles: list[NDArray[np.int64]],
        slide_ids: NDArray[np.int64],
        slide_columns: NDArray[np.int64],
    ) -> Self:
        slide_firsts = np.cumsum([len(ids) for ids in ids_of_tiles])
        ids = np.concatenate(ids_of_tiles)
        order = np.argsort(ids, kind="stable")
        is_first = np.diff(ids[order], prepend=-1) > 0
        firsts = np.flatnonzero(is_first)
        cell_of_tile = np.empty_like(order)
        cell_of_tile[order] = np.cumsum(is_first) - 1
        cell_ids = ids[order[firsts]]
        return cls(
            side_um=side_um,
            order=order,
            cell_of_tile=cell_of_tile,
            ids=cell_ids,
            firsts=np.append(firsts, len(order)),
            slide_of_cell=np.searchsorted(slide_ids, cell_ids, side="right") - 1,
            slide_ids=slide_ids,
            slide_columns=slide_columns,
            slide_firsts=slide_firsts,
        )

    def discs(self, half_widths: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The tiles of a disc of cells around each cell: where runs in ``order`` start and stop.

        ``half_widths`` is that of `touched_cells` or `covered_cells`. Runs are in the order of
        ``order``, one a row of the disc, some of them empty: (C, R) and (C, R).
        """
        starts = np.empty((len(self.ids), len(half_widths)), np.int64)
        stops = np.empty_like(starts)
        columns = self.slide_columns[self.slide_of_cell]
        column = (self.ids - self.slide_ids[self.slide_of_cell]) % columns
        for row, half_width in enumerate(half_widths):
            row_ids = self.ids - column + (row - len(half_widths) // 2) * columns
            left = np.maximum(column - half_width, 0)
            right = np.minimum(column + half_width, columns - 1)
            starts[:, row] = self._first_at(row_ids + left)
            stops[:, row] = self._first_at(row_ids + right + 1)
        return starts, stops

    def beside(
        self, starts: NDArray[np.int64], stops: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rest of each cell's slide: what lies before, between and after such runs."""
        slides = self.slide_of_cell[:, None]
        return (
            np.concatenate([self.slide_firsts[slides], stops], axis=1),
            np.concatenate([starts, self.slide_firsts[slides + 1]], axis=1),
        )

    def _first_at(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place in ``order`` of the first tile in a cell of such an id or later, on its slide.

        Rows above and below the slide lead into other slides' ids; they hold no tile of this one.
        """
        places = self.firsts[np.searchsorted(self.ids, ids)]
        slides = self.slide_of_cell
        clipped: NDArray[np.int64] = np.clip(
            places, self.slide_firsts[slides], self.slide_firsts[slides + 1]
        )
        return clipped
