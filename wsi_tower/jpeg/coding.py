"""Decoding and encoding of complete JPEG streams by libjpeg-turbo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import cv2
import numpy as np
import simplejpeg

from wsi_tower.jpeg.stream import JpegError, JpegHead

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["REDUCTIONS", "Reduction", "decode", "decode_reduced", "encode"]

Reduction: TypeAlias = Literal[1, 2, 4, 8]
"""Pixels that become one, along each side."""
REDUCTIONS: tuple[Reduction, ...] = (8, 4, 2, 1)
"""What a decoder of blocks of 8 × 8 coefficients can do without computing every pixel."""

# How far the decoder itself reduces. Against area-averaging of whole pixels it is off by 0.4 grey
# levels in the mean with whole chroma, and by 0.5 with chroma halved both ways, nearly all of it
# colour that whole decoding smooths and this does not. With chroma halved one way only, libjpeg
# reduces both components alike and loses colour: up to 2.1 levels. One step less of it, averaged
# for the rest, brings 0.8 or less (benchmarks/reduced.py measures all of them).
_BY_THE_DECODER: dict[str, dict[int, int]] = {
    "444": {2: 2, 4: 4, 8: 8},
    "420": {2: 2, 4: 4, 8: 8},
    "422": {2: 1, 4: 2, 8: 4},
}


def decode(
    stream: bytes, *, fast: bool = False, into: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Pixels of a complete stream: height × width × 3, bit-exact with libjpeg's default.

    Args:
        stream: a complete stream.
        fast: use the fast transform and repeat chroma instead of smoothing it: brightness is off
            by a grey level here and there, colours by more at edges.
        into: contiguous memory that takes the pixels; it must have their size.

    Raises:
        JpegError: the stream is damaged.
    """
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            stream, "RGB", fastdct=fast, fastupsample=fast, buffer=into
        )
    except ValueError as error:
        raise JpegError(f"the JPEG stream is damaged: {error}") from error
    return pixels


def decode_reduced(stream: bytes, head: JpegHead, reduction: Reduction) -> NDArray[np.uint8]:
    """Pixels of a complete stream, blocks of reduction × reduction averaged into one.

    The decoder does as much of it as keeps colours right, which saves up to half the time: from
    the low frequencies of a block it makes fewer pixels, a little sharper than averages.

    Args:
        stream: a complete stream.
        head: its head; both sides are multiples of ``reduction``.
        reduction: pixels that become one, along each side.

    Raises:
        JpegError: the stream is damaged.
    """
    if reduction == 1:
        return decode(stream)
    within = _BY_THE_DECODER.get(head.subsampling, {}).get(reduction, 1)
    try:
        # The decoder takes the smallest of its scales that gives at least this size.
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            stream, "RGB", min_height=head.height // within, min_width=head.width // within
        )
    except ValueError as error:
        raise JpegError(f"the JPEG stream is damaged: {error}") from error
    size = (head.width // reduction, head.height // reduction)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode(pixels: NDArray[np.uint8], *, quality: int, subsampling: str) -> bytes:
    """A complete stream of an image of height × width × 3.

    Args:
        pixels: RGB, 8 bits a channel.
        quality: 1 to 100, as libjpeg scales it.
        subsampling: chroma subsampling: ``444``, ``422`` or ``420``.
    """
    stream: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels),
        quality=quality,
        colorspace="RGB",
        colorsubsampling=subsampling,
    )
    return stream
