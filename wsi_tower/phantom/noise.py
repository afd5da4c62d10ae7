"""Random fields: smooth ones over a whole slide, and periodic ones for atlases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from wsi_tower.geometry import Level0Box

__all__ = ["Field", "SmoothField", "Weights", "fractal_noise", "periodic_noise"]

Field: TypeAlias = NDArray[np.float32]
"""One number a pixel, height × width, or one a point."""


class Weights(NamedTuple):
    """Control points near some points, and what each of them weighs: N × 4 along each axis."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    y: Field
    x: Field


@dataclass(frozen=True, slots=True)
class SmoothField:
    """A random field over the plane that changes over a given length: a cubic B-spline surface.

    Any box or point of it can be had at any time, and neighbouring boxes meet without a seam.
    """

    lattice: Field
    """Random control points: rows × columns."""
    spacing_um: float
    """Micrometres between control points."""

    @classmethod
    def over(
        cls, rng: np.random.Generator, extent_um: tuple[float, float], spacing_um: float
    ) -> Self:
        """A field of mean 0 and deviation near 1 over width × height, and a little beyond."""
        width, height = (math.ceil(side / spacing_um) + 4 + 2 * _BEYOND for side in extent_um)
        # A uniform cubic B-spline keeps 0.479 of white control points' variance along each axis.
        lattice = rng.standard_normal((height, width)) / 0.479
        return cls(lattice.astype(np.float32), spacing_um)

    def over_box(self, box: Level0Box, mpp: float) -> Field:
        """The field at the pixels of a box: height × width."""
        row, weights_y = self._pixel_weights(box.y, box.height, mpp)
        column, weights_x = self._pixel_weights(box.x, box.width, mpp)
        patch = self.lattice[row : row + weights_y.shape[1], column : column + weights_x.shape[1]]
        field = weights_y[:, : patch.shape[0]] @ patch @ weights_x[:, : patch.shape[1]].T
        return np.asarray(field, np.float32)

    def at(self, x_um: NDArray[Any], y_um: NDArray[Any]) -> Field:
        """The field at points: as many values."""
        return self.weighted(self.weights(x_um, y_um))

    def weights(self, x_um: NDArray[Any], y_um: NDArray[Any]) -> Weights:
        """What control points weigh at points: the same for all fields of a slide and spacing."""
        row, weights_y = _point_weights(self._position(y_um), self.lattice.shape[0])
        column, weights_x = _point_weights(self._position(x_um), self.lattice.shape[1])
        return Weights(row[:, :, None], column[:, None, :], weights_y, weights_x)

    def weighted(self, weights: Weights) -> Field:
        """The field at the points of some weights: as many values."""
        patch = self.lattice[weights.row, weights.column]
        return np.asarray(np.einsum("ni,nij,nj->n", weights.y, patch, weights.x), np.float32)

    def _position(self, along_um: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(along_um, np.float64) / self.spacing_um + _BEYOND

    def _pixel_weights(self, start_l0: int, count: int, mpp: float) -> tuple[int, Field]:
        """First control point that matters, and pixels × control points of basis values."""
        position = self._position((start_l0 + np.arange(count) + 0.5) * mpp)
        first = int(position[0])
        knot = position.astype(np.int64)
        weights = np.zeros((count, int(knot[-1]) - first + 4), np.float32)
        columns = (knot - first)[:, None] + np.arange(4)
        np.put_along_axis(weights, columns, _basis(position - knot), axis=1)
        return first, weights


_BEYOND = 2
"""Control points before the origin, so that points a little outside are known, too."""


def _point_weights(
    position: NDArray[np.float64], control_points: int
) -> tuple[NDArray[np.int64], Field]:
    """Four control points and their weights for every point: N × 4 each."""
    knot = np.clip(position.astype(np.int64), 0, control_points - 4)
    return knot[:, None] + np.arange(4), _basis(np.clip(position - knot, 0, 1))


def _basis(t: NDArray[np.float64]) -> Field:
    """Values of the four cubic B-splines that reach a point: N × 4."""
    basis = np.empty((len(t), 4), np.float32)
    squared, cubed, rest = t * t / 6, t * t * t / 6, 1 - t
    basis[:, 0] = rest * rest * rest / 6
    basis[:, 1] = 3 * cubed - 6 * squared + 4 / 6
    basis[:, 2] = 3 * (squared - cubed) + t / 2 + 1 / 6
    basis[:, 3] = cubed
    return basis


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
