"""Closed lines around and within a mask: marching squares, half-way between unlike pixels.

Between four neighbouring pixels a line runs from the middle of one side to the middle of another,
tissue on its left; pixels that touch at a corner only are apart. What takes time is the length of
the lines, not the size of the mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.tissue.mask import Mask

__all__ = ["rings_of"]

# Sides of a square of four pixels, from its middle, as (y, x) in half pixels.
_TOP, _RIGHT, _BOTTOM, _LEFT = (-1, 0), (0, 1), (1, 0), (0, -1)
# From where to where, for every set of tissue pixels: 1 top left, 2 top right, 4 and 8 below.
_LINES = {
    1: [(_LEFT, _TOP)],
    2: [(_TOP, _RIGHT)],
    3: [(_LEFT, _RIGHT)],
    4: [(_BOTTOM, _LEFT)],
    5: [(_BOTTOM, _TOP)],
    6: [(_TOP, _RIGHT), (_BOTTOM, _LEFT)],
    7: [(_BOTTOM, _RIGHT)],
    8: [(_RIGHT, _BOTTOM)],
    9: [(_LEFT, _TOP), (_RIGHT, _BOTTOM)],
    10: [(_TOP, _BOTTOM)],
    11: [(_LEFT, _BOTTOM)],
    12: [(_RIGHT, _LEFT)],
    13: [(_RIGHT, _TOP)],
    14: [(_TOP, _LEFT)],
}


def rings_of(mask: Mask) -> list[NDArray[np.float64]]:
    """The closed lines, each (points, 2) as x and y in mask pixels from its corner.

    The last point is not the first again. Outer lines and those of holes run opposite ways.
    """
    # A border of nothing closes the rings of tissue that runs out of the picture.
    starts, ends = _lines(np.pad(mask, 1).view(np.uint8))
    order = np.argsort(starts)
    starts, ends = starts[order], ends[order]
    following = np.searchsorted(starts, ends)
    across = 2 * (mask.shape[1] + 2)
    points = np.stack([starts % across, starts // across], axis=1) / 2
    return [points[ring] for ring in _cycles(following)]


def _lines(padded: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each piece of line starts and ends: numbers of points on a grid of half pixels."""
    upper, lower = padded[:-1], padded[1:]
    cases = upper[:, :-1] + 2 * upper[:, 1:] + 4 * lower[:, :-1] + 8 * lower[:, 1:]
    middles = np.flatnonzero((cases > 0) & (cases < 15))
    found = cases.ravel()[middles]
    y, x = np.divmod(middles, cases.shape[1])
    across = 2 * padded.shape[1]
    number = 2 * y * across + 2 * x
    starts, ends = [], []
    for case, lines in _LINES.items():
        here = number[found == case]
        for (from_y, from_x), (to_y, to_x) in lines:
            starts.append(here + (from_y * across + from_x))
            ends.append(here + (to_y * across + to_x))
    return np.concatenate(starts), np.concatenate(ends)


def _cycles(following: NDArray[np.int64]) -> list[list[int]]:
    """The cycles of a permutation."""
    after = following.tolist()
    cycles = []
    for first in range(len(after)):
        cycle = []
        place = first
        while after[place] >= 0:
            cycle.append(place)
            after[place], place = -1, after[place]
        if cycle:
            cycles.append(cycle)
    return cycles
