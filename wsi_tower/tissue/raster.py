"""Polygons as pixels of a mask, by the rule of pixel centres.

OpenCV's ``fillPoly`` also sets every pixel that the rim touches, so a mask would grow by half a
pixel all around each time it is outlined and drawn again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.tissue.mask import Mask

__all__ = ["draw_polygon"]


def draw_polygon(canvas: Mask, polygon: shapely.Polygon, pitch_l0: float) -> None:
    """Set the pixels whose centres lie in a polygon; the others stay as they are.

    A centre on the rim counts where the polygon lies to its right, or below it, so polygons that
    share an edge share no pixel and leave none out.

    Args:
        canvas: H × W from the slide's corner, changed in place.
        polygon: in level-0 pixels, with holes; may reach beyond the canvas.
        pitch_l0: level-0 pixels per pixel of the canvas.
    """
    rows, columns = _crossings(polygon, pitch_l0, canvas.shape)
    if not rows.size:
        return
    top, left = int(rows.min()), int(columns.min())
    patch = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), np.bool_)
    # Even-odd rule: from left to right, each crossing leads into the polygon or out of it.
    np.logical_xor.at(patch, (rows - top, columns - left), True)
    np.logical_xor.accumulate(patch, axis=1, out=patch)
    # The last column lies behind the last crossing, and may lie beyond the canvas.
    height, width = patch.shape[0], patch.shape[1] - 1
    canvas[top : top + height, left : left + width] |= patch[:, :width]


def _crossings(
    polygon: shapely.Polygon, pitch_l0: float, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where rims cross the lines through the centres of rows.

    Returns:
        Rows, and the first columns whose centres are not left of the crossing (0 to width).
    """
    height, width = shape
    upper, lower = _edges(polygon, pitch_l0)
    first, end = (_ceiling(points[:, 1], height) for points in (upper, lower))
    counts = end - first
    edge = np.repeat(np.arange(len(counts)), counts)
    rows = first[edge] + np.arange(len(edge)) - (np.cumsum(counts) - counts)[edge]
    (x0, y0), (x1, y1) = upper[edge].T, lower[edge].T
    return rows, _ceiling(x0 + (rows - y0) / (y1 - y0) * (x1 - x0), width)


def _edges(
    polygon: shapely.Polygon, pitch_l0: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Upper and lower ends of all edges, (N, 2) each, in pixels from the first one's centre."""
    rings = [
        shapely.get_coordinates(ring) / pitch_l0 - 0.5
        for ring in (polygon.exterior, *polygon.interiors)
    ]
    starts = np.concatenate([ring[:-1] for ring in rings])
    ends = np.concatenate([ring[1:] for ring in rings])
    # Always downwards, so that neighbours round their common edge alike.
    is_down = (starts[:, 1] <= ends[:, 1])[:, None]
    return np.where(is_down, starts, ends), np.where(is_down, ends, starts)


def _ceiling(values: NDArray[np.float64], limit: int) -> NDArray[np.int64]:
    return np.clip(np.ceil(values), 0, limit).astype(np.int64)
