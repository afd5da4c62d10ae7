"""What the colour of a single pixel says: tissue, pen, or neither.

Everything is judged in optical density relative to the slide's white, where dyes add up. With the
densities r, g and b of the three channels and their sum s:

- *stain* is 2g − r − b. Haematoxylin, eosin and blood take away green first, so it is positive for
  them, zero for every grey (glass, shade, dust, the cover slip's edge) and not positive for blue,
  green and black ink. It needs no threshold from the picture, so a picture that is all tissue, or
  all glass, is judged like any other.
- Green, blue and black ink leave green less than 0.435 of s, or red more than 0.42; in stained
  tissue green has more and red less, except where it is nearly black.
- Red ink takes green and blue alike and hardly any red; in blood and eosin, blue is well below.

Each ink has a sure and a weaker test; the weaker counts only around the sure (see `regions`), since
pale or very dark tissue passes it by chance.
"""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsi_tower.stain import channel_densities, white_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.stain import White
    from wsi_tower.tissue.mask import Mask
    from wsi_tower.tissue.settings import TissueSettings

__all__ = ["Sign", "read_colours"]

_STRIP_PIXELS = 1 << 18
"""Pixels judged at a time: bounds memory, and keeps the planes in the processor's cache."""
_BLUR_PX = 1.2
_BLUR_REACH = 2
_HUNDREDTHS = 100 / 3


class Sign(IntFlag):
    """What a pixel shows."""

    STAINED = 1
    SURELY_STAINED = 2
    COLD_PEN = 4
    SURELY_COLD_PEN = 8
    RED_PEN = 16
    SURELY_RED_PEN = 32


def read_colours(
    rgb: NDArray[np.uint8], settings: TissueSettings
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Judge every pixel of an overview by its colour.

    Args:
        rgb: H × W × 3.
        settings: the stain that counts.

    Returns:
        Signs (H × W, bits of `Sign`) and mean optical density (H × W, in hundredths).
    """
    white = white_level(rgb)
    height, width = rgb.shape[:2]
    signs = np.empty((height, width), np.uint8)
    density = np.empty((height, width), np.uint8)
    rows = max(1, _STRIP_PIXELS // max(1, width))
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        red, green, blue = _densities(rgb, strip, white)
        total = red + green + blue
        density[strip] = cv2.addWeighted(total, _HUNDREDTHS, total, 0, 0, dtype=cv2.CV_8U)
        signs[strip] = _stain_signs(green, total, settings)
        signs[strip] |= _cold_signs(red, green, blue, total)
        signs[strip] |= _red_signs(red, green, blue, total)
    return signs, density


def _densities(
    rgb: NDArray[np.uint8], strip: slice, white: White
) -> tuple[NDArray[np.float32], ...]:
    """Densities of some rows, blurred a little so that noise and single nuclei do not decide."""
    above = min(_BLUR_REACH, strip.start)
    padded = rgb[strip.start - above : strip.stop + _BLUR_REACH]
    side = 2 * _BLUR_REACH + 1
    smooth = cv2.GaussianBlur(padded, (side, side), _BLUR_PX)
    rows = slice(above, above + strip.stop - strip.start)
    channels = [np.asarray(plane, np.uint8) for plane in cv2.split(smooth[rows])]
    return channel_densities(channels, white)


def _stain_signs(
    green: NDArray[np.float32], total: NDArray[np.float32], settings: TissueSettings
) -> NDArray[np.uint8]:
    stain = 3 * green - total
    return _flag(stain > settings.faint_stain, Sign.STAINED) | _flag(
        stain > settings.sure_stain, Sign.SURELY_STAINED
    )


def _cold_signs(
    red: NDArray[np.float32],
    green: NDArray[np.float32],
    blue: NDArray[np.float32],
    total: NDArray[np.float32],
) -> NDArray[np.uint8]:
    colour = red - np.minimum(green, blue)
    weak = (green < 0.435 * total) | (red > 0.42 * total)
    weak &= blue < 0.40 * total
    weak &= (total > 0.6) | ((colour > 0.04) & (total > 0.12))
    blue_ink = (red > green) & (blue < 0.22 * total)
    green_ink = red - green > 0.08 * total
    coloured = (blue_ink | green_ink) & (colour > 0.06) & (total > 0.2)
    black = (green < 0.385 * total) & (total > 1.2)
    return _flag(weak, Sign.COLD_PEN) | _flag(weak & (coloured | black), Sign.SURELY_COLD_PEN)


def _red_signs(
    red: NDArray[np.float32],
    green: NDArray[np.float32],
    blue: NDArray[np.float32],
    total: NDArray[np.float32],
) -> NDArray[np.uint8]:
    lost_green = green - red
    weak = (blue > 0.72 * green) & (red < 0.21 * total) & (green > 0.40 * total)
    weak &= lost_green > 0.025
    sure = weak & (blue > 0.80 * green) & (red < 0.17 * total) & (lost_green > 0.10)
    return _flag(weak, Sign.RED_PEN) | _flag(sure, Sign.SURELY_RED_PEN)


def _flag(mask: Mask, sign: Sign) -> NDArray[np.uint8]:
    return mask.view(np.uint8) * np.uint8(sign)
