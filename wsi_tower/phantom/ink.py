"""A felt-pen stroke on the cover glass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np

from wsi_tower.phantom.cover import Patch, Raster, seen_through
from wsi_tower.phantom.noise import fractal_noise

if TYPE_CHECKING:
    from shapely.geometry import Polygon

    from wsi_tower.geometry import Level0Box
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
_RIM_CELLS = 1.5
"""Standard deviation of the blur that softens a stroke's rim."""


@dataclass(frozen=True, slots=True)
class PenStroke:
    """A stroke, and how much ink lies where."""

    colour: PenColour
    """The pen's colour."""
    _ink: Patch

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, outline_um: Polygon, colour: PenColour, mpp: float
    ) -> Self:
        """A stroke with soft rims and streaks."""
        raster = Raster.around(outline_um, _PITCH_UM)
        side = max(raster.columns, raster.rows)
        streaks = np.clip(0.85 + 0.12 * fractal_noise(rng, side, 24, 3), 0.5, 1)
        cover = cv2.GaussianBlur(raster.painted(outline_um), (0, 0), _RIM_CELLS) / 255
        cover = (cover * streaks[: raster.rows, : raster.columns]).astype(np.float32)
        return cls(colour, Patch.made(raster, cover, outline_um, mpp))

    @property
    def outline_l0(self) -> Polygon:
        """Where there is ink, in level-0 pixels."""
        return self._ink.outline_l0

    def touches(self, box: Level0Box) -> bool:
        """Whether any ink reaches into a box."""
        return self._ink.touches(box)

    def over(self, rgb: Rgb, box: Level0Box) -> Rgb:
        """The colours of a box, height × width × 3, seen through the ink."""
        return seen_through(rgb, self._ink.cover(box), INK[self.colour])
