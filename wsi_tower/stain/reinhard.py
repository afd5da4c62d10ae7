"""Reinhard et al. 2001 in L*a*b*: pictures get the mean and spread of a reference's colours.

The publication (doi 10.1109/38.946629) works in lαβ; the similarity paper (Gildenblat and Klaiman
2019) normalises in LAB, which is CIE L*a*b* under D65 here, by OpenCV: within half a unit of
the formulas, and there and back within two grey levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np

from wsi_tower.stain.density import TISSUE_DENSITY, mean_density

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.stain.density import White

__all__ = ["LabStatistics", "Triple"]

Triple = tuple[float, float, float]
_LEAST_STD = 1e-3
"""Spread below which a channel is of one value, and keeps it."""


@dataclass(frozen=True, slots=True)
class LabStatistics:
    """Mean and standard deviation of tissue in L*a*b*."""

    mean: Triple
    """Of L* (0 to 100), a* and b*."""
    std: Triple
    """Of the same."""

    @classmethod
    def of(cls, tissue: NDArray[np.uint8], white: White) -> Self:
        """Statistics of tissue pixels (N, 3), red first; ``white`` plays no part."""
        del white
        lab = _lab(tissue.reshape(1, -1, 3)).reshape(-1, 3).astype(np.float64)
        return cls(_triple(lab.mean(axis=0)), _triple(lab.std(axis=0)))

    def normalised(
        self, rgb: NDArray[np.uint8], target: LabStatistics, white: White
    ) -> NDArray[np.uint8]:
        """A picture whose tissue has these statistics, brought to those of ``target``.

        Bare glass stays as it is, with a soft edge; moved like tissue, it would turn green.

        Args:
            rgb: (..., 3), red first.
            target: what the tissue's statistics become.
            white: grey levels of bare glass.
        """
        own = np.array(self.std)
        scale = np.where(own > _LEAST_STD, np.array(target.std) / np.maximum(own, _LEAST_STD), 1)
        shift = np.array(target.mean) - np.array(self.mean) * scale
        lab = _lab(rgb.reshape(1, -1, 3))
        lab *= scale.astype(np.float32)
        lab += shift.astype(np.float32)
        back = cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)
        np.clip(back, 0, 1, out=back)
        back *= 255
        share = np.clip(mean_density(rgb, white) * np.float32(1 / TISSUE_DENSITY), 0, 1)
        back = rgb.reshape(-1, 3) + share[:, None] * (back.reshape(-1, 3) - rgb.reshape(-1, 3))
        levels: NDArray[np.uint8] = np.rint(back).astype(np.uint8)
        return levels.reshape(rgb.shape)


def _lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    levels = rgb.astype(np.float32)
    levels *= np.float32(1 / 255)
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_RGB2Lab), np.float32)


def _triple(values: NDArray[np.float64]) -> Triple:
    first, second, third = (round(float(value), 4) for value in values)
    return first, second, third
