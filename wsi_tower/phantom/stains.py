"""From amounts of stain to colour: Beer-Lambert with haematoxylin, eosin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np

if TYPE_CHECKING:
    from wsi_tower.phantom.noise import Field
    from wsi_tower.slides import Rgb

__all__ = ["Staining"]

_HAEMATOXYLIN = (0.56, 0.73, 0.39)
_EOSIN = (0.12, 0.82, 0.56)
"""Unit vectors of optical density for red, green and blue: the H&E pair of G. Landini's Colour
Deconvolution, by the method of A. C. Ruifrok and D. A. Johnston (2001)."""


@dataclass(frozen=True, slots=True)
class Staining:
    """How one slide was stained and how its scanner saw it."""

    vectors: Field
    """Optical density of one unit of haematoxylin and of eosin: 2 × 3, unit rows."""
    strengths: tuple[float, float]
    """Factors on the amounts of haematoxylin and eosin."""
    glass: tuple[int, int, int]
    """Colour of bare glass."""

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Self:
        """A slide's own staining: vectors turned a little, amounts and lamp brightness varied."""
        vectors = np.array([_HAEMATOXYLIN, _EOSIN]) + rng.normal(0, 0.035, (2, 3))
        vectors = np.clip(vectors, 0.02, None)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        haematoxylin, eosin = np.exp(rng.uniform(-0.3, 0.36, 2))
        red, green, blue = (rng.uniform(236, 246) + rng.uniform(-2, 2, 3)).round().astype(int)
        return cls(
            vectors.astype(np.float32),
            (float(haematoxylin), float(eosin)),
            (int(red), int(green), int(blue)),
        )

    def rgb(self, haematoxylin: Field, eosin: Field) -> Rgb:
        """The colour of amounts of stain.

        Args:
            haematoxylin: optical density along its vector: height × width.
            eosin: likewise.

        Returns:
            height × width × 3.
        """
        amounts = np.stack([haematoxylin * self.strengths[0], eosin * self.strengths[1]], axis=-1)
        # ln 10: optical densities are decadic.
        light = np.asarray(self.glass, np.float32) * cv2.exp(
            amounts @ (self.vectors * np.float32(-np.log(10)))
        )
        colour: Rgb = np.clip(light + 0.5, 0, 255).astype(np.uint8)
        return colour
