"""What lies under each tile: tissue, pen, density; and how sharp a tile is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.tissue.mask import TissueMask

__all__ = ["TileQuality", "focus_measure", "tile_quality"]

_INT32_SAFE_PIXELS = 1 << 30


@dataclass(frozen=True, slots=True)
class TileQuality:
    """One value a tile; whatever of a tile lies beyond the mask counts as bare glass."""

    tissue_fraction: NDArray[np.float32]
    """Share of the tile's area that is tissue; (N,)."""
    pen_fraction: NDArray[np.float32]
    """Share of the tile's area that is pen; (N,)."""
    mean_od: NDArray[np.float32]
    """Mean optical density over the tile's area; (N,)."""


def tile_quality(mask: TissueMask, xy_l0: NDArray[np.int64], footprint_l0: int) -> TileQuality:
    """Measure the area under every tile.

    Exact: a mask pixel counts by the area that it shares with the tile.

    Args:
        mask: tissue, pen and density.
        xy_l0: top-left corners in level-0 pixels; (N, 2).
        footprint_l0: side of a tile in level-0 pixels.
    """
    low = np.asarray(xy_l0, np.float64) / mask.pitch_l0
    high = low + footprint_l0 / mask.pitch_l0
    return TileQuality(
        _means(mask.tissue.view(np.uint8), low, high),
        _means(mask.pen.view(np.uint8), low, high),
        _means(mask.optical_density, low, high) / np.float32(100),
    )


def focus_measure(rgb: NDArray[np.uint8]) -> float:
    """Sharpness of a picture: variance of the Laplacian of its grey levels.

    Comparable only between pictures of one pixel size; tiles are measured at 2 µm/px.

    Args:
        rgb: H × W × 3.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return float(np.var(cv2.Laplacian(grey, cv2.CV_32F, ksize=1), dtype=np.float64))


def _means(
    values: NDArray[np.uint8], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Means over boxes given by opposite corners (x, y) in mask pixels; 0 beyond the mask."""
    top = int(values.max(initial=0))
    depth = cv2.CV_32S if values.size * top < _INT32_SAFE_PIXELS else cv2.CV_64F
    table = np.asarray(cv2.integral(values, sdepth=depth))
    sums = (
        _integral_at(table, high[:, 0], high[:, 1])
        - _integral_at(table, low[:, 0], high[:, 1])
        - _integral_at(table, high[:, 0], low[:, 1])
        + _integral_at(table, low[:, 0], low[:, 1])
    )
    area = np.prod(high - low, axis=1)
    means: NDArray[np.float32] = np.clip(sums / area, 0, top).astype(np.float32)
    return means


def _integral_at(
    table: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The integral of the values from the corner to each point: bilinear in a pixel, so exact."""
    (left, share_x), (top, share_y) = (
        _split(position, size - 1) for position, size in ((x, table.shape[1]), (y, table.shape[0]))
    )
    flat = table.ravel()
    index = top * table.shape[1] + left
    below = index + table.shape[1]
    upper = flat[index] * (1 - share_x) + flat[index + 1] * share_x
    lower = flat[below] * (1 - share_x) + flat[below + 1] * share_x
    result: NDArray[np.float64] = upper * (1 - share_y) + lower * share_y
    return result


def _split(
    position: NDArray[np.float64], pixels: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The pixel that holds a position clipped to the mask, and how far into it."""
    inside = np.clip(position, 0, pixels)
    whole = np.minimum(inside.astype(np.int64), pixels - 1)
    return whole, inside - whole
