"""A felt-pen stroke on the cover glass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
import shapely

from wsi_tower.phantom.noise import fractal_noise

if TYPE_CHECKING:
    from shapely.geometry import Polygon

    from wsi_tower.geometry import Level0Box
    from wsi_tower.phantom.noise import Field
    from wsi_tower.phantom.settings import PenColour
    from wsi_tower.slides import Rgb

__all__ = ["PenStroke"]

INK: dict[PenColour, tuple[float, float, float]] = {
    "green": (0.10, 0.50, 0.32),
    "red": (0.80, 0.12, 0.16),
    "blue": (0.13, 0.25, 0.66),
    "black": (0.12, 0.12, 0.13),
}
"""Share of red, green and blue light that a full stroke lets through."""

_PITCH_UM = 12.5
_MAX_CELLS = 2000
"""Longest side of the raster that holds a stroke's cover."""


@dataclass(frozen=True, slots=True)
class PenStroke:
    """A stroke, and how much ink lies where."""

    outline_l0: Polygon
    """Where there is ink, in level-0 pixels."""
    colour: PenColour
    """The pen's colour."""
    _cover: Field
    """0 no ink to 1 full stroke, on a coarse raster."""
    _origin_l0: tuple[float, float]
    _pitch_l0: float

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, outline_um: Polygon, colour: PenColour, mpp: float
    ) -> Self:
        """A stroke with soft rims and streaks."""
        left, top, right, bottom = outline_um.bounds
        pitch_um = max(_PITCH_UM, max(right - left, bottom - top) / _MAX_CELLS)
        margin_um = 6 * pitch_um
        origin_um = (left - margin_um, top - margin_um)
        cells = [int((side + 2 * margin_um) / pitch_um) for side in (right - left, bottom - top)]
        canvas = np.zeros((cells[1], cells[0]), np.uint8)
        rings = [
            np.rint(((np.asarray(ring.coords) - origin_um) / pitch_um - 0.5) * 16).astype(np.int32)
            for ring in (outline_um.exterior, *outline_um.interiors)
        ]
        cv2.fillPoly(canvas, rings, 255, cv2.LINE_AA, 4)
        streaks = np.clip(0.85 + 0.12 * fractal_noise(rng, max(cells), 24, 3), 0.5, 1)
        cover = cv2.GaussianBlur(canvas, (0, 0), 1.5) * streaks[: cells[1], : cells[0]] / 255
        outline_l0 = shapely.transform(outline_um, lambda xy: xy / mpp)
        shapely.prepare(outline_l0)
        origin_l0 = (origin_um[0] / mpp, origin_um[1] / mpp)
        return cls(outline_l0, colour, cover.astype(np.float32), origin_l0, pitch_um / mpp)

    def touches(self, box: Level0Box) -> bool:
        """Whether any ink reaches into a box."""
        margin = 6 * self._pitch_l0
        frame = shapely.box(
            box.x - margin, box.y - margin, box.x + box.width + margin, box.y + box.height + margin
        )
        return bool(self.outline_l0.intersects(frame))

    def over(self, rgb: Rgb, box: Level0Box) -> Rgb:
        """The colours of a box, height × width × 3, seen through the ink."""
        x = ((box.x - self._origin_l0[0] + 0.5 + np.arange(box.width)) / self._pitch_l0) - 0.5
        y = ((box.y - self._origin_l0[1] + 0.5 + np.arange(box.height)) / self._pitch_l0) - 0.5
        grid_x, grid_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
        cover = cv2.remap(
            self._cover, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
        # Ink absorbs, so half a stroke lets the square root of its transmission through.
        transmission = cv2.exp(cover[..., None] * np.log(np.asarray(INK[self.colour], np.float32)))
        seen: Rgb = (rgb * transmission + 0.5).astype(np.uint8)
        return seen
