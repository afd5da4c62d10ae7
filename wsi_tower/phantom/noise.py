"""Random fields: smooth ones over a whole slide, and periodic ones for atlases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from wsi_tower.geometry import Level0Box

__all__ = ["Field", "SmoothField", "fractal_noise", "periodic_noise"]

Field: TypeAlias = NDArray[np.float32]
"""One number a pixel: height × width."""


@dataclass(frozen=True, slots=True)
class SmoothField:
    """A random field over the plane that changes over a given length: a cubic B-spline surface.

    Any box of it can be had at any time, and neighbouring boxes meet without a seam.
    """

    lattice: Field
    """Random control points: rows × columns."""
    spacing_l0: float
    """Level-0 pixels between control points."""

    @classmethod
    def over(cls, rng: np.random.Generator, extent_l0: tuple[int, int], spacing_l0: float) -> Self:
        """A field of mean 0 and standard deviation near 1 over width × height from the origin."""
        width, height = (math.ceil(side / spacing_l0) + 4 for side in extent_l0)
        # A uniform cubic B-spline keeps 0.479 of white control points' variance along each axis.
        lattice = rng.standard_normal((height, width)) / 0.479
        return cls(lattice.astype(np.float32), spacing_l0)

    def __call__(self, box: Level0Box) -> Field:
        """The field at the pixels of a box inside the extent: height × width."""
        row, weights_y = _spline_weights(box.y, box.height, self.spacing_l0)
        column, weights_x = _spline_weights(box.x, box.width, self.spacing_l0)
        patch = self.lattice[row : row + weights_y.shape[1], column : column + weights_x.shape[1]]
        field = weights_y[:, : patch.shape[0]] @ patch @ weights_x[:, : patch.shape[1]].T
        return np.asarray(field, np.float32)


def _spline_weights(start_l0: int, count: int, spacing_l0: float) -> tuple[int, Field]:
    """First control point that matters, and pixels × control points of basis values."""
    position = (start_l0 + np.arange(count) + 0.5) / spacing_l0
    first = int(position[0])
    knot = position.astype(np.int64)
    t = position - knot
    basis = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    weights = np.zeros((count, int(knot[-1]) - first + 4), np.float32)
    columns = (knot - first)[:, None] + np.arange(4)
    np.put_along_axis(weights, columns, basis.astype(np.float32) / 6, axis=1)
    return first, weights


def fractal_noise(rng: np.random.Generator, side: int, cells: int, octaves: int) -> Field:
    """Noise of mean 0 whose octaves halve in size and in strength: side × side.

    Args:
        rng: source of randomness.
        side: rows and columns of the result.
        cells: features across the side in the coarsest octave.
        octaves: how many to add.
    """
    total: Field = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        lattice = rng.standard_normal((cells * 2**octave + 3,) * 2).astype(np.float32)
        total += 0.5**octave * cv2.resize(lattice, (side, side), interpolation=cv2.INTER_CUBIC)
    return total


def periodic_noise(
    rng: np.random.Generator, side_px: int, wavelength_px: tuple[float, float]
) -> Field:
    """Gaussian noise of mean 0 and deviation 1 that repeats after ``side_px``: side × side.

    Args:
        rng: source of randomness.
        side_px: rows and columns of the result.
        wavelength_px: shortest wavelength that passes along x and along y.
    """
    white = rng.standard_normal((side_px, side_px), dtype=np.float32)
    spectrum = np.fft.rfft2(white)
    along_x = (np.fft.rfftfreq(side_px) * wavelength_px[0]).astype(np.float32)
    along_y = (np.fft.fftfreq(side_px) * wavelength_px[1]).astype(np.float32)
    spectrum *= np.exp(-(along_x[None, :] ** 2) - along_y[:, None] ** 2)
    spectrum[0, 0] = 0
    noise: Field = np.fft.irfft2(spectrum, s=white.shape).astype(np.float32)
    return noise / max(float(noise.std()), 1e-12)
