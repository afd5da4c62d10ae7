"""JPEG streams: complete, check, decode, encode; and the Zarr codec that stores them.

The codec lives in `wsi_tower.jpeg.codec`, found by zarr through its entry point, so that decoding
a tile costs no import of zarr.
"""

from wsi_tower.jpeg.coding import REDUCTIONS, Reduction, decode, decode_reduced, encode
from wsi_tower.jpeg.family import StreamFamily
from wsi_tower.jpeg.stream import JpegColour, JpegError, JpegHead, complete, read_head

__all__ = [
    "REDUCTIONS",
    "JpegColour",
    "JpegError",
    "JpegHead",
    "Reduction",
    "StreamFamily",
    "complete",
    "decode",
    "decode_reduced",
    "encode",
    "read_head",
]
