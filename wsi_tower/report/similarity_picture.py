"""One slide painted by how alike its tiles are to what was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsi_tower.report.tile_map import PaintedTiles, TileScale, tile_map, tile_shades

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from wsi_tower.geometry import Mpp
    from wsi_tower.slides import Overview

__all__ = ["similarity_colours", "similarity_picture"]


def similarity_colours(count: int) -> list[tuple[int, int, int, int]]:
    """Colours of steps from far to near: red, green, blue and opacity, 0 to 255."""
    return tile_shades(count)


def similarity_picture(
    title: str,
    overview: Overview,
    mpp: Mpp,
    boxes_l0: NDArray[np.int64],
    distances: NDArray[np.float64],
    asked: Sequence[int] = (),
) -> bytes:
    """The slide with its tiles in the colour of their distance.

    Args:
        title: what is shown, in words.
        overview: the whole slide.
        mpp: pixel size of level 0.
        boxes_l0: left, top, width and height of every tile in level-0 pixels: (N, 4).
        distances: of every tile: (N,).
        asked: rows of tiles that were asked about, to be outlined.

    Returns:
        A PNG file.
    """
    near, far = float(distances.min()), float(distances.max())
    far = far if far > near else near + 1.0
    scale = TileScale("distance to the query (yellow is alike)", near, far, low_is_bright=True)
    return tile_map(title, overview, mpp, PaintedTiles(boxes_l0, distances, asked), scale)
