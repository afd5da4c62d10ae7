"""Light and dye: the white of a slide, and the optical density of what lies on it.

Dyes absorb by a factor, so their amounts add up in optical density, the negative decimal logarithm
of the light that is left (Beer and Lambert). Relative to the slide's own white, a grey or shaded
background changes all three channels alike and drops out of every difference between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "DEFAULT_WHITE",
    "TISSUE_DENSITY",
    "White",
    "channel_densities",
    "mean_density",
    "white_level",
]

White: TypeAlias = tuple[float, float, float]
"""Grey levels of red, green and blue where nothing lies on the glass."""

DEFAULT_WHITE: White = (243.0, 243.0, 243.0)
"""White of a picture that shows no bare glass: what scanners usually give."""

TISSUE_DENSITY = 0.065
"""Mean optical density from which a pixel is tissue: the 0.15 of Macenko et al. 2009 in natural
logarithms. In each channel, as there, it would leave out pale eosin, which lets red light pass."""

_SAMPLES = 50_000
_DARKEST_WHITE = 160
_MAX_CAST = 24
"""Grey levels between the channels of a white: lamps and glass tint a background no further."""
_MAX_MAGENTA_CAST = 12
"""Grey levels that green may lie below red and blue: any further is eosin, not glass."""
_MIN_SHARE = 0.002
_PEAK_SHARE = 0.2
_PEAK_WIDTH = 5


def white_level(rgb: NDArray[np.uint8]) -> White:
    """Grey levels of bare glass: the brightest frequent shade among the near-neutral bright ones.

    Exact (255, 255, 255) is left out, since readers fill with it what was never scanned.

    Args:
        rgb: H × W × 3, red first.

    Returns:
        Red, green and blue; `DEFAULT_WHITE` where fewer than 0.2 % of the pixels could be glass.
    """
    step = max(1, int(np.sqrt(rgb.shape[0] * rgb.shape[1] / _SAMPLES)))
    sample = rgb[::step, ::step].reshape(-1, 3).astype(np.int16)
    glass = sample[_could_be_glass(sample)]
    if len(glass) < _MIN_SHARE * len(sample):
        return DEFAULT_WHITE
    grey = glass.sum(axis=1) // 3
    near = glass[np.abs(grey - _brightest_peak(grey)) <= _PEAK_WIDTH // 2]
    red, green, blue = np.median(near, axis=0)
    return float(red), float(green), float(blue)


def channel_densities(
    channels: Sequence[NDArray[np.uint8]], white: White
) -> tuple[NDArray[np.float32], ...]:
    """Optical density of each channel, negative where it is brighter than ``white``.

    Args:
        channels: red, green and blue planes, each H × W.
        white: their grey levels on bare glass.

    Returns:
        One H × W plane a channel. One grey level is added on both sides, so that black stays
        finite.
    """
    levels = np.arange(256, dtype=np.float32) + 1
    return tuple(
        np.asarray(cv2.LUT(channel, -np.log10(levels / np.float32(whole + 1))), np.float32)
        for channel, whole in zip(channels, white, strict=True)
    )


def mean_density(rgb: NDArray[np.uint8], white: White) -> NDArray[np.float32]:
    """Mean of the channels' optical densities: (N,) for N pixels (..., 3), red first."""
    pixels = rgb.reshape(1, -1, 3)
    planes = [np.ascontiguousarray(pixels[..., channel]) for channel in range(3)]
    red, green, blue = channel_densities(planes, white)
    return ((red + green + blue) * np.float32(1 / 3)).ravel()


def _could_be_glass(sample: NDArray[np.int16]) -> NDArray[np.bool_]:
    darkest, brightest = sample.min(axis=1), sample.max(axis=1)
    magenta = sample[:, 0] + sample[:, 2] - 2 * sample[:, 1]
    neutral = (brightest - darkest <= _MAX_CAST) & (magenta <= 2 * _MAX_MAGENTA_CAST)
    result: NDArray[np.bool_] = neutral & (darkest >= _DARKEST_WHITE) & (darkest < 255)
    return result


def _brightest_peak(grey: NDArray[np.int16]) -> int:
    # Pale tissue can outnumber bare glass, so the tallest peak is not always the glass.
    counts = np.bincount(grey, minlength=256)
    smooth = np.convolve(counts, np.ones(_PEAK_WIDTH), "same")
    reach = 2 * _PEAK_WIDTH + 1
    around = np.lib.stride_tricks.sliding_window_view(np.pad(smooth, _PEAK_WIDTH), reach).max(1)
    peaks = np.flatnonzero((smooth == around) & (smooth >= _PEAK_SHARE * smooth.max()))
    return int(peaks.max())
