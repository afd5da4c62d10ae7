"""Pixels of any sound layout as 8-bit RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_tower.errors import UnsupportedSlideError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.slides.info import Rgb

__all__ = ["as_rgb", "on_white"]


def as_rgb(pixels: NDArray[Any], name: str) -> Rgb:
    """Grey, RGB or RGBA pixels of 8 bits as height × width × 3.

    Raises:
        UnsupportedSlideError: another number of channels or bits.
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or channels not in (1, 3, 4):
        raise UnsupportedSlideError(
            f"slide {name} has {channels} channels of {pixels.dtype}; wsi-tower reads grey, RGB "
            f"and RGBA of 8 bits, so convert it first"
        )
    if channels == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2)
    return on_white(pixels) if channels == 4 else np.ascontiguousarray(pixels)


def on_white(rgba: NDArray[np.uint8]) -> Rgb:
    """RGBA pixels laid over white: what was never scanned is transparent."""
    alpha = rgba[..., 3]
    rgb: Rgb = np.ascontiguousarray(rgba[..., :3])
    if alpha.min(initial=255) == 255:
        return rgb
    weight = alpha[..., None].astype(np.uint16)
    return ((rgb * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)
