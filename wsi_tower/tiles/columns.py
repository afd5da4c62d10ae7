"""The one-value-a-tile arrays of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_tower.arrays import ArrayLayout, create_array, write_shard
from wsi_tower.records import bytes_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["column_digest", "write_columns"]

_ROWS_PER_CHUNK = 1 << 16


def write_columns(folder: Path, columns: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays of N rows into the folder of a group, a file each."""
    for name, values in columns.items():
        chunk = (max(1, min(len(values), _ROWS_PER_CHUNK)), *values.shape[1:])
        rows = max(1, -(-len(values) // chunk[0])) * chunk[0]
        layout = ArrayLayout(values.shape, values.dtype, chunk, (rows, *values.shape[1:]))
        create_array(folder / name, layout)
        write_shard(folder / name, layout, (0,) * values.ndim, values)


def column_digest(values: NDArray[Any]) -> str:
    """Digest of an array's contents, the same on any machine."""
    little_endian = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
    return bytes_digest([str(values.shape).encode(), little_endian.tobytes()])
