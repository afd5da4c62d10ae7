"""Windows' probabilities blended into bands of whole rows, from the top down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from wsi_tower.segment.windows import WindowGrid

__all__ = ["Band", "SeenWindow", "blended_bands"]


class SeenWindow(NamedTuple):
    """What a network says of a window, and how dark it is."""

    column: int
    """Of the window."""
    row: int
    """Of the window."""
    probabilities: NDArray[np.float32]
    """Of each class at each pixel: (K, window, window)."""
    density: NDArray[np.uint8]
    """Optical density of each pixel in hundredths: (window, window)."""


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """Rows of the picture that no later window changes."""

    top: int
    """Number of the first."""
    probabilities: NDArray[np.float32]
    """Of each class, 0 where no window lies: (K, rows, width). Valid until the next band."""
    density: NDArray[np.uint8]
    """Optical density in hundredths: (rows, width). Valid until the next band."""


def blended_bands(windows: Iterable[SeenWindow], grid: WindowGrid, classes: int) -> Iterator[Band]:
    """Bands that together are the whole picture, each as high as the step of the windows.

    Held at a time: one row of windows.

    Args:
        windows: any of the grid's, row by row.
        grid: the windows of the picture.
        classes: K.
    """
    canvas = _Canvas(grid, classes)
    row = 0
    for window in windows:
        while row < window.row:
            yield canvas.band(row)
            canvas.move_up()
            row += 1
        canvas.add(window)
    while row < grid.rows:
        yield canvas.band(row)
        canvas.move_up()
        row += 1


class _Canvas:
    """One row of windows; its lower part, which the next row shares, moves up when it is done."""

    def __init__(self, grid: WindowGrid, classes: int) -> None:
        self._grid = grid
        across = grid.columns * grid.step_px + grid.overlap_px
        self._sums = np.zeros((classes, grid.window_px, across), np.float32)
        self._density = np.zeros((grid.window_px, across), np.uint8)

    def add(self, window: SeenWindow) -> None:
        left = window.column * self._grid.step_px
        columns = slice(left, left + self._grid.window_px)
        weights = self._grid.weights(window.column, window.row)
        self._sums[:, :, columns] += window.probabilities * weights
        self._density[:, columns] = window.density

    def band(self, row: int) -> Band:
        """The rows that no later window changes, once all windows of a row are added."""
        grid = self._grid
        above = row * grid.step_px - grid.margin_px
        first = max(0, -above)
        last = grid.step_px if row < grid.rows - 1 else grid.size.height - above
        columns = slice(grid.margin_px, grid.margin_px + grid.size.width)
        return Band(
            above + first, self._sums[:, first:last, columns], self._density[first:last, columns]
        )

    def move_up(self) -> None:
        shared = self._grid.overlap_px
        for canvas in (self._sums, self._density):
            kept = canvas[..., canvas.shape[-2] - shared :, :].copy()
            canvas[:] = 0
            canvas[..., :shared, :] = kept
