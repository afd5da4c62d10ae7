"""The one-value-a-tile arrays of a store, written and read as plain Zarr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.codecs import ZstdCodec

from wsi_tower.records import bytes_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import zarr
    from numpy.typing import NDArray
    from zarr.core.chunk_key_encodings import ChunkKeyEncodingLike

__all__ = ["FLAT_KEYS", "column_digest", "write_columns"]

_ROWS_PER_CHUNK = 1 << 16
FLAT_KEYS: ChunkKeyEncodingLike = {"name": "default", "separator": "."}
"""``c.0.0`` instead of ``c/0/0``: no folders, each of which is an inode on a cluster's disk."""


def write_columns(group: zarr.Group, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays of N rows, a file each."""
    for name, values in columns.items():
        chunk = (max(1, min(len(values), _ROWS_PER_CHUNK)), *values.shape[1:])
        rows = max(1, -(-len(values) // chunk[0])) * chunk[0]
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=chunk,
            shards=(rows, *values.shape[1:]),
            compressors=ZstdCodec(level=3),
            fill_value=0,
            chunk_key_encoding=FLAT_KEYS,
        )
        array[...] = values


def column_digest(values: NDArray[Any]) -> str:
    """Digest of an array's contents, the same on any machine."""
    little_endian = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
    return bytes_digest([str(values.shape).encode(), little_endian.tobytes()])
