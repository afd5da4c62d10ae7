"""The Zarr codec ``wsi_tower.jpeg``: a chunk of one image is one JPEG stream.

Codec metadata (Zarr v3, array → bytes)::

    {"name": "wsi_tower.jpeg", "configuration": {
        "colour": "ycbcr" | "rgb",      how to read the streams' components
        "tables": "…base64…",           tables that the streams share; "" where each has its own
        "quality": 90,                  used when zarr-python itself writes a chunk
        "subsampling": "420"}}

Shared tables stand here once instead of in every chunk: for small tiles they would be a tenth of
the array.
"""

from __future__ import annotations

import asyncio
import base64
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from zarr.abc.codec import ArrayBytesCodec

from wsi_tower.jpeg.coding import decode, encode
from wsi_tower.jpeg.stream import JpegColour, JpegError, complete

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.common import JSON

__all__ = ["CODEC_NAME", "JpegCodec"]

CODEC_NAME = "wsi_tower.jpeg"


@dataclass(frozen=True)
class JpegCodec(ArrayBytesCodec):
    """One image a chunk; the chunk's shape is (1, height, width, 3) or (height, width, 3)."""

    is_fixed_size = False

    colour: JpegColour = "ycbcr"
    """What the components of the streams mean."""
    tables: bytes = b""
    """Tables that the streams share, as a stream of their own."""
    quality: int = 90
    """Quality of chunks that are encoded here."""
    subsampling: str = "420"
    """Chroma subsampling of chunks that are encoded here."""

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """From the codec's metadata."""
        configuration = cast("dict[str, JSON]", data.get("configuration") or {})
        return cls(
            colour=cast("JpegColour", configuration.get("colour", "ycbcr")),
            tables=base64.b64decode(cast("str", configuration.get("tables", ""))),
            quality=cast("int", configuration.get("quality", 90)),
            subsampling=cast("str", configuration.get("subsampling", "420")),
        )

    def to_dict(self) -> dict[str, JSON]:
        """The codec's metadata."""
        return {
            "name": CODEC_NAME,
            "configuration": {
                "colour": self.colour,
                "tables": base64.b64encode(self.tables).decode(),
                "quality": self.quality,
                "subsampling": self.subsampling,
            },
        }

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known beforehand."""
        raise NotImplementedError

    def decode_chunk(self, stream: bytes) -> NDArray[np.uint8]:
        """Pixels of one chunk: height × width × 3."""
        return decode(complete(stream, self.tables, self.colour))

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        pixels = await asyncio.to_thread(self.decode_chunk, chunk_bytes.to_bytes())
        if pixels.size != math.prod(chunk_spec.shape):
            raise JpegError(f"a chunk of {chunk_spec.shape} holds an image of {pixels.shape}")
        return chunk_spec.prototype.nd_buffer.from_numpy_array(pixels.reshape(chunk_spec.shape))

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        if self.colour != "ycbcr":
            # libjpeg-turbo's encoder writes YCbCr, which this array's metadata would misread.
            raise JpegError("an array of copied RGB tiles cannot be written to; make a new one")
        pixels = chunk_array.as_numpy_array().reshape(chunk_spec.shape[-3:])
        stream = await asyncio.to_thread(
            encode, pixels, quality=self.quality, subsampling=self.subsampling
        )
        return chunk_spec.prototype.buffer.from_bytes(stream)
