"""How much something covers each place of a slide: painted on a coarse raster, read at any box.

Pen, folds, blur and dust are far smoother than pixels are small, so a raster of a few micrometres
holds them. A pixel's value depends on its own position only: neighbouring boxes meet without seam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
import shapely

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry import Polygon

    from wsi_tower.geometry import Level0Box
    from wsi_tower.phantom.noise import Field
    from wsi_tower.slides import Rgb

__all__ = ["Patch", "Raster", "seen_through"]

_MARGIN_CELLS = 8
"""Cells around an area, for what is softened beyond its outline."""
_MAX_CELLS = 2000
"""Longest side of a raster."""
_FINER = 4
"""Parts of a cell, along each side, of which each is inside an area or not."""
_SHIFT = 4
"""Binary places behind the point of the coordinates that OpenCV paints."""


@dataclass(frozen=True, slots=True)
class Raster:
    """Square cells over an area and a little around it."""

    left_um: float
    """Left edge of the first column."""
    top_um: float
    """Top edge of the first row."""
    pitch_um: float
    """Side of a cell."""
    columns: int
    """Cells along x."""
    rows: int
    """Cells along y."""

    @classmethod
    def around(cls, area_um: Polygon, pitch_um: float) -> Self:
        """A raster of this pitch, or of the finest one that a large area allows."""
        left, top, right, bottom = area_um.bounds
        pitch_um = max(pitch_um, max(right - left, bottom - top) / _MAX_CELLS)
        margin_um = _MARGIN_CELLS * pitch_um
        columns, rows = (
            int((side_um + 2 * margin_um) / pitch_um) for side_um in (right - left, bottom - top)
        )
        return cls(left - margin_um, top - margin_um, pitch_um, columns, rows)

    def painted(self, area_um: Polygon) -> NDArray[np.uint8]:
        """How much of each cell an area fills, 0 to 255: rows × columns."""
        # OpenCV's own smooth rims are half a cell too wide.
        canvas = np.zeros((_FINER * self.rows, _FINER * self.columns), np.uint8)
        rings = [
            self._placed(np.asarray(ring.coords), _FINER)
            for ring in (area_um.exterior, *area_um.interiors)
        ]
        cv2.fillPoly(canvas, rings, 255, cv2.LINE_8, _SHIFT)
        cells = cv2.resize(canvas, (self.columns, self.rows), interpolation=cv2.INTER_AREA)
        return np.asarray(cells, np.uint8)

    def distance_um(self, line_um: NDArray[np.float64]) -> Field:
        """How far each cell lies from a line, N × 2: rows × columns."""
        away = np.full((self.rows, self.columns), 255, np.uint8)
        cv2.polylines(away, [self._placed(line_um, 1)], False, 0, 1, cv2.LINE_8, _SHIFT)
        # The precise mask's last digit depends on where the array lies in memory.
        cells = cv2.distanceTransform(away, cv2.DIST_L2, cv2.DIST_MASK_5)
        return np.asarray(self.pitch_um * cells, np.float32)

    def _placed(self, points_um: NDArray[np.float64], finer: int) -> NDArray[np.int32]:
        """Points as OpenCV takes them: centres of cells, or parts of them, are whole numbers."""
        cells = finer * (points_um - (self.left_um, self.top_um)) / self.pitch_um - 0.5
        return np.asarray(np.rint(cells * 2**_SHIFT), np.int32)


@dataclass(frozen=True, slots=True)
class Patch:
    """An area of a slide, and how much is covered where."""

    outline_l0: Polygon
    """Where there is something, in level-0 pixels."""
    _values: Field
    _origin_l0: tuple[float, float]
    _pitch_l0: float

    @classmethod
    def made(cls, raster: Raster, values: Field, outline_um: Polygon, mpp: float) -> Self:
        """A patch from its cover.

        Args:
            raster: where the values lie; all of what is covered.
            values: 0 to 1, rows × columns of the raster.
            outline_um: what the slide's truth names of it.
            mpp: micrometres per level-0 pixel.
        """
        outline_l0 = shapely.transform(outline_um, lambda xy: xy / mpp)
        origin_l0 = (raster.left_um / mpp, raster.top_um / mpp)
        return cls(outline_l0, values, origin_l0, raster.pitch_um / mpp)

    @property
    def bounds_l0(self) -> tuple[float, float, float, float]:
        """Left, top, right and lower end of where anything may be covered."""
        (left, top), (rows, columns) = self._origin_l0, self._values.shape
        return left, top, left + columns * self._pitch_l0, top + rows * self._pitch_l0

    def touches(self, box: Level0Box) -> bool:
        """Whether any of it reaches into a box."""
        # The raster is asked: GEOS indexes a shape at the first question and breaks where two
        # threads ask at once.
        pitch = self._pitch_l0
        left, top = (box.x - self._origin_l0[0]) / pitch, (box.y - self._origin_l0[1]) / pitch
        right, lower = left + box.width / pitch, top + box.height / pitch
        if right < 0 or lower < 0:
            return False
        # A pixel between two cells' centres has something of both.
        first_row, first_column = max(0, int(top) - 1), max(0, int(left) - 1)
        return bool(self._values[first_row : int(lower) + 2, first_column : int(right) + 2].any())

    def cover(self, box: Level0Box) -> Field:
        """0 where there is nothing to 1 where there is most: height × width."""
        x = (box.x + np.arange(box.width) + 0.5 - self._origin_l0[0]) / self._pitch_l0 - 0.5
        y = (box.y + np.arange(box.height) + 0.5 - self._origin_l0[1]) / self._pitch_l0 - 0.5
        grid_x, grid_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        cover = cv2.remap(
            self._values, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        return np.asarray(cover, np.float32)


def seen_through(rgb: Rgb, cover: Field, transmission: tuple[float, float, float]) -> Rgb:
    """Colours, height × width × 3, behind something that absorbs.

    Args:
        rgb: what lies behind.
        cover: 0 to 1, height × width.
        transmission: share of red, green and blue light that a full cover lets through.
    """
    # Half a cover lets the square root of its transmission through, as Beer and Lambert have it.
    share = cv2.exp(cover[..., None] * np.log(np.asarray(transmission, np.float32)))
    seen: Rgb = (rgb * share + 0.5).astype(np.uint8)
    return seen
