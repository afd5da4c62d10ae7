"""JPEG streams: complete, check, decode, encode; and the Zarr codec that stores them.

The codec lives in `wsi_tower.jpeg.codec`, found by zarr through its entry point, so that decoding
a tile costs no import of zarr.
"""

from wsi_tower.jpeg.stream import (
    JpegColour,
    JpegError,
    JpegHead,
    complete,
    decode,
    encode,
    has_head,
    read_head,
)

__all__ = [
    "JpegColour",
    "JpegError",
    "JpegHead",
    "complete",
    "decode",
    "encode",
    "has_head",
    "read_head",
]
