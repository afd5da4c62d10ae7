"""The record of where tissue lies on a slide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from wsi_tower.geometry import Mpp

__all__ = ["Mask", "TissueMask"]

Mask: TypeAlias = NDArray[np.bool_]
"""Height × width, true where."""


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Where tissue and pen lie, on one grid from the slide's corner."""

    tissue: Mask
    """True on tissue."""
    pen: Mask
    """True on pen marks; only a mask that a person gave can have tissue there as well."""
    optical_density: NDArray[np.uint8]
    """Optical density, the mean of red, green and blue, in hundredths."""
    pitch_l0: float
    """Level-0 pixels per mask pixel, the same along x and y."""
    mpp: Mpp
    """Micrometres per level-0 pixel."""

    @property
    def pixel_um(self) -> float:
        """Side of a mask pixel in micrometres: the geometric mean of both axes."""
        return self.pitch_l0 * self.mpp.mean

    @property
    def tissue_mm2(self) -> float:
        """Area of the tissue in square millimetres."""
        return float(np.count_nonzero(self.tissue)) * self.pixel_um**2 / 1e6
