"""Macenko et al. 2009 (doi 10.1109/ISBI.2009.5193250): a slide's two dyes, found and exchanged.

In optical density every pixel is a sum of the two dyes, so that all pixels lie in the wedge between
their directions. The wedge's plane is that of the two largest singular vectors; its edges are the
1st and 99th percentile of the angles within it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np

from wsi_tower.errors import StainError
from wsi_tower.stain.density import channel_densities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.stain.density import White
    from wsi_tower.stain.reinhard import Triple

__all__ = ["StainVectors"]

_EDGE_PERCENT = 1.0
"""Percent of pixels beyond each edge of the wedge: the publication's α."""
_TOP_PERCENT = 99.0
"""Percentile of a dye's amount that counts as its most."""
_LEAST_DEGREES = 3.0
"""Angle between dyes below which there is one dye only, and noise."""


@dataclass(frozen=True, slots=True)
class StainVectors:
    """Directions of haematoxylin and eosin in optical density, and how much there is of each."""

    haematoxylin: Triple
    """Optical density of red, green and blue, of length 1."""
    eosin: Triple
    """The same."""
    most: tuple[float, float]
    """99th percentile of the amount of either."""

    @classmethod
    def of(cls, tissue: NDArray[np.uint8], white: White) -> Self:
        """The dyes of tissue pixels (N, 3), red first.

        Raises:
            StainError: they show one dye only.
        """
        density = _densities(tissue, white).reshape(-1, 3).astype(np.float64)
        vectors = _wedge(density)
        amounts = density @ np.linalg.pinv(vectors)
        blue, pink = np.percentile(amounts, _TOP_PERCENT, axis=0)
        return cls(_triple(vectors[0]), _triple(vectors[1]), (_rounded(blue), _rounded(pink)))

    def normalised(
        self, rgb: NDArray[np.uint8], target: StainVectors, white: White
    ) -> NDArray[np.uint8]:
        """A picture with these dyes as if it had been stained with those of ``target``.

        What lies outside the plane of the two dyes, such as pen, is lost.

        Args:
            rgb: (..., 3), red first.
            target: the dyes that it gets.
            white: grey levels of its bare glass, which become those of `REFERENCE_WHITE`.
        """
        amount = np.diag(np.array(target.most) / np.maximum(self.most, 1e-6))
        exchange = np.linalg.pinv(self._matrix()) @ amount @ target._matrix()
        density = cv2.transform(_densities(rgb, white), exchange.T)
        np.multiply(density, -math.log(10), out=density)
        light = np.exp(density, out=density)
        light *= REFERENCE_WHITE + 1
        light -= 1
        np.clip(np.rint(light, out=light), 0, 255, out=light)
        return light.astype(np.uint8).reshape(rgb.shape)

    def _matrix(self) -> NDArray[np.float64]:
        """A row a dye: (2, 3)."""
        return np.array([self.haematoxylin, self.eosin])


REFERENCE_WHITE = 243.0
"""Grey level that bare glass gets."""


def _densities(rgb: NDArray[np.uint8], white: White) -> NDArray[np.float32]:
    """Optical densities of a picture (..., 3) as one row of pixels: (1, N, 3)."""
    pixels = rgb.reshape(1, -1, 3)
    planes = [np.ascontiguousarray(pixels[..., channel]) for channel in range(3)]
    return np.asarray(cv2.merge(channel_densities(planes, white)), np.float32)


def _wedge(density: NDArray[np.float64]) -> NDArray[np.float64]:
    """Haematoxylin, then eosin, as rows of length 1: (2, 3).

    Raises:
        StainError: both are one.
    """
    _, directions = np.linalg.eigh(density.T @ density)
    plane = directions[:, :0:-1]  # eigenvalues rise: the last two, the largest first
    plane[:, 0] *= np.sign(plane[:, 0].sum()) or 1  # towards absorbing, so that no angle wraps
    across = density @ plane
    angles = np.arctan2(across[:, 1], across[:, 0])
    low, high = np.percentile(angles, (_EDGE_PERCENT, 100 - _EDGE_PERCENT))
    apart = math.degrees(high - low)
    if apart < _LEAST_DEGREES:
        raise StainError(
            f"the tissue shows one dye only: the directions of the two are {apart:.1f}° apart; "
            f"take --stain reinhard, or none"
        )
    edges = np.array([[math.cos(angle), math.sin(angle)] for angle in (low, high)]) @ plane.T
    # Haematoxylin is blue: it takes more of the red light than eosin does.
    dyes: NDArray[np.float64] = edges[np.argsort(-edges[:, 0])]
    return dyes


def _triple(vector: NDArray[np.float64]) -> Triple:
    red, green, blue = (_rounded(value) for value in vector)
    return red, green, blue


def _rounded(value: float) -> float:
    return round(float(value), 6)
