"""Tiles that a TIFF slide leaves out because nothing was scanned there.

Such tiles have no bytes. OpenSlide shows them as background; tifffile fills them with zeros, which
would be black tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.slides.info import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wsi_tower.geometry import LevelBox, LevelSize
    from wsi_tower.slides.info import Rgb
    from wsi_tower.slides.tiff import TiffPage

__all__ = ["UnscannedTiles", "unscanned_levels"]


@dataclass(frozen=True, eq=False)
class UnscannedTiles:
    """Which tiles of one level have no bytes."""

    tile: LevelSize
    """Size of a tile."""
    missing: NDArray[np.bool_]
    """Rows × columns of tiles."""

    def whiten(self, region: Rgb, box: LevelBox) -> None:
        """Make white, in place, what of ``region``, read from ``box``, was never scanned."""
        rows = (box.y + np.arange(box.height)) // self.tile.height
        columns = (box.x + np.arange(box.width)) // self.tile.width
        region[self.missing[np.ix_(rows, columns)]] = BACKGROUND


def unscanned_levels(pages: Mapping[int, TiffPage]) -> dict[int, UnscannedTiles]:
    """The levels that leave tiles out, of those that a page holds as it is."""
    found = {}
    for number, page in pages.items():
        missing = _missing(page)
        if page.tile and missing is not None and missing.any():
            found[number] = UnscannedTiles(page.tile, missing)
    return found


def _missing(page: TiffPage) -> NDArray[np.bool_] | None:
    """Rows × columns of tiles without bytes; None where the counts are not one a tile."""
    if page.tile is None:
        return None
    rows = -(-page.size.height // page.tile.height)
    columns = -(-page.size.width // page.tile.width)
    _, byte_counts = page.segments()
    return (byte_counts == 0).reshape(rows, columns) if len(byte_counts) == rows * columns else None
