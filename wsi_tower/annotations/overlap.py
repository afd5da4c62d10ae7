"""How much of each tile an area covers: exact areas, not pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from wsi_tower.annotations.outlines import Area

__all__ = ["covered_fractions"]

_CORNERS_A_PIECE = 128
"""Corners above which an area is cut in two: cutting a tile out of thousands takes long."""
_LEAST_SIDE_L0 = 1.0
"""Side of a piece that is never cut further, however many corners it has."""


def covered_fractions(area_l0: Area, xy_l0: NDArray[np.int64], side_l0: int) -> NDArray[np.float64]:
    """Fraction of each tile that lies within an area.

    Args:
        area_l0: valid, in level-0 pixels; it may be empty.
        xy_l0: top-left corners of the tiles: (N, 2).
        side_l0: side of a tile.

    Returns:
        0 to 1, exact to rounding, and exactly 1 where a tile lies wholly within: float64 (N,).
    """
    fractions = np.zeros(len(xy_l0))
    if area_l0.is_empty or not len(xy_l0):
        return fractions
    x, y = xy_l0.T.astype(np.float64)
    boxes = shapely.box(x, y, x + side_l0, y + side_l0)
    tree = shapely.STRtree(boxes)
    pieces = np.array(list(_pieces(area_l0)))
    piece, tile = tree.query(pieces, predicate="intersects")
    common = shapely.area(shapely.intersection(boxes[tile], pieces[piece]))
    fractions += np.bincount(tile, common, len(boxes)) / side_l0**2
    # Sums over pieces round; what is wholly inside is asked of the whole area.
    parts = shapely.get_parts(area_l0)
    fractions = np.clip(fractions, 0, np.nextafter(1, 0))
    fractions[np.unique(tree.query(parts, predicate="covers")[1])] = 1
    return fractions


def _pieces(area: BaseGeometry) -> Iterator[BaseGeometry]:
    """The area in disjoint pieces of few corners each, by halving boxes around them."""
    waiting = list(shapely.get_parts(area))
    while waiting:
        piece = waiting.pop()
        left, top, right, bottom = piece.bounds
        longest = max(right - left, bottom - top)
        if shapely.get_num_coordinates(piece) <= _CORNERS_A_PIECE or longest < _LEAST_SIDE_L0:
            yield piece
            continue
        x, y = (left + right) / 2, (top + bottom) / 2
        is_wide = right - left >= bottom - top
        first = (left, top, x, bottom) if is_wide else (left, top, right, y)
        second = (x, top, right, bottom) if is_wide else (left, y, right, bottom)
        for half in (first, second):
            cut = shapely.intersection(piece, shapely.box(*half))
            waiting += [part for part in shapely.get_parts(cut) if part.area > 0]
