"""Overlapping windows over a picture, and how much each counts for each of its pixels.

The picture is cut into squares, each seen by a window that reaches half an overlap beyond it on
every side. Across the rim between two squares the weight of one window falls linearly as the
other's rises, over half an overlap: the weights of a pixel always add up to 1, and a quarter of the
overlap along a window's rim, where a network lacks what lies beyond, counts nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.geometry import LevelBox, LevelSize

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["WindowGrid"]


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """The windows of one picture."""

    size: LevelSize
    """Of the picture."""
    window_px: int
    """Side of a window."""
    overlap_px: int
    """Pixels that neighbours share; at most half of ``window_px``."""

    @property
    def step_px(self) -> int:
        """Pixels from one window to the next."""
        return self.window_px - self.overlap_px

    @property
    def margin_px(self) -> int:
        """Pixels that a window reaches beyond its square, to the left and upwards."""
        return self.overlap_px // 2

    @property
    def columns(self) -> int:
        """Windows in a row."""
        return -(-self.size.width // self.step_px)

    @property
    def rows(self) -> int:
        """Rows of windows."""
        return -(-self.size.height // self.step_px)

    def box(self, column: int, row: int) -> LevelBox:
        """A window's place in the picture; may reach beyond it."""
        left, top = column * self.step_px - self.margin_px, row * self.step_px - self.margin_px
        return LevelBox(left, top, self.window_px, self.window_px)

    def weights(self, column: int, row: int) -> NDArray[np.float32]:
        """How much a window counts for each of its pixels: (window, window)."""
        across, down = self._ramps(column, self.columns), self._ramps(row, self.rows)
        return np.outer(down, across).astype(np.float32)

    def touched(self, tissue: NDArray[np.bool_], mask_px: float) -> NDArray[np.bool_]:
        """Windows that count for a pixel with tissue: (rows, columns).

        Args:
            tissue: a mask over the whole picture.
            mask_px: pixels of the picture per pixel of the mask.
        """
        found = np.zeros((self.rows, self.columns), np.bool_)
        down = [self._reach(row, mask_px) for row in range(self.rows)]
        across = [self._reach(column, mask_px) for column in range(self.columns)]
        for row, rows in enumerate(down):
            band = np.asarray(tissue[rows].any(axis=0))
            if band.any():
                found[row] = [band[columns].any() for columns in across]
        return found

    def _ramps(self, number: int, count: int) -> NDArray[np.float64]:
        """Weights along one axis; the outermost windows count in full to the picture's rim."""
        place = np.arange(self.window_px) - self.margin_px + 0.5
        width = max(self.overlap_px / 2, 1e-6)
        rising = np.clip(place / width + 0.5, 0, 1)
        falling = 1 - np.clip((place - self.step_px) / width + 0.5, 0, 1)
        if number == 0:
            rising[:] = 1
        if number == count - 1:
            falling[:] = 1
        weights: NDArray[np.float64] = rising * falling
        return weights

    def _reach(self, number: int, mask_px: float) -> slice:
        """Mask pixels along one axis that a window counts for, and one more on either side."""
        quarter = self.overlap_px / 4
        first = (number * self.step_px - quarter) / mask_px - 1
        end = ((number + 1) * self.step_px + quarter) / mask_px + 1
        return slice(max(0, int(np.floor(first))), max(0, int(np.ceil(end))))
