"""Zarr v3 arrays, written directly: a JSON file of metadata, and files of sharded chunks.

zarr-python reads what is written here, and writes the same; but creating an array and filling it
take it ten milliseconds however small it is, and a slide has a dozen of them.

Specification: Zarr v3 core; sharding codec 1.0. A shard is its chunks' bytes one after another;
then the index, an array of little-endian uint64 pairs (offset, byte count) with one pair a chunk
and 2⁶⁴-1 for a missing one; then the CRC-32C of the index.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "MISSING",
    "ArrayLayout",
    "create_array",
    "create_group",
    "index_tail",
    "write_shard",
    "zstd_codecs",
]

MISSING = np.uint64(2**64 - 1)
"""Offset and byte count of a chunk that a shard does not hold: all of it is the fill value."""
_CRC_BYTES = 4
_ZSTD_LEVEL = 3


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """How an array lies on the disk."""

    shape: tuple[int, ...]
    """Of the array."""
    dtype: np.dtype[Any]
    """Of its values, little-endian on the disk."""
    chunk: tuple[int, ...]
    """Shape of what is encoded as one."""
    shard: tuple[int, ...] | None = None
    """Shape of a file, in whole chunks; None: a chunk a file."""
    codecs: Sequence[Mapping[str, Any]] | None = None
    """What a chunk goes through, as the specification writes it; None: bytes, then zstd."""
    separator: str = "."
    """Between the numbers in a file's name; ``/`` makes a folder of each but the last."""
    fill_value: int = 0
    """Of chunks that are missing."""
    dimension_names: tuple[str, ...] | None = None
    """A name an axis."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Plain values that go with the array."""

    def metadata(self) -> dict[str, Any]:
        """The content of ``zarr.json``."""
        codecs = list(self.codecs or zstd_codecs(self.dtype, _ZSTD_LEVEL))
        named = {} if self.dimension_names is None else {"dimension_names": self.dimension_names}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": self.shape,
            "data_type": self.dtype.name,
            "chunk_grid": _named("regular", chunk_shape=self.shard or self.chunk),
            "chunk_key_encoding": _named("default", separator=self.separator),
            "fill_value": self.fill_value,
            "codecs": codecs if self.shard is None else [_sharding(self.chunk, codecs)],
            "attributes": dict(self.attributes),
            "storage_transformers": [],
            **named,
        }

    def file(self, folder: Path, place: Sequence[int]) -> Path:
        """The file of a shard, or of a chunk where there are no shards, at a place of the grid."""
        return folder / self.separator.join(("c", *map(str, place)))


def create_array(folder: Path, layout: ArrayLayout) -> None:
    """Make the folder of an array, without any values yet.

    Raises:
        OSError: it is there already, or the disk refused.
    """
    folder.mkdir(parents=True)
    _write_metadata(folder, layout.metadata())


def create_group(folder: Path, attributes: Mapping[str, Any] | None = None) -> None:
    """Make a folder a group.

    Raises:
        OSError: it is one already, or the disk refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    group = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}
    _write_metadata(folder, group)


def write_shard(
    folder: Path, layout: ArrayLayout, place: Sequence[int], values: NDArray[Any]
) -> None:
    """Write a shard of an array that goes through the default codecs.

    Chunks with nothing but the fill value are left out, as is a shard of nothing else; those that
    reach beyond the array are filled up.

    Args:
        folder: of the array.
        layout: the array's.
        place: of the shard in the grid of shards.
        values: from the shard's first corner; no larger than the shard.

    Raises:
        OSError: the disk refused.
    """
    assert layout.codecs is None, "only the default ones are applied here"
    assert layout.shard is not None
    counts = [side // part for side, part in zip(layout.shard, layout.chunk, strict=True)]
    index = np.full((int(np.prod(counts)), 2), MISSING, np.uint64)
    zstd, chunks, end = Zstd(level=_ZSTD_LEVEL), [], 0
    for number, spot in enumerate(itertools.product(*map(range, counts))):
        chunk = _whole_chunk(values, spot, layout)
        if chunk is not None:
            chunks.append(zstd.encode(chunk))
            index[number] = end, len(chunks[-1])
            end += len(chunks[-1])
    if chunks:
        path = layout.file(folder, place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join([*chunks, index_tail(index)]))


def index_tail(index: NDArray[np.uint64]) -> bytes:
    """The end of a shard file: its index and the checksum of that.

    Args:
        index: offset and byte count of every chunk: (chunks, 2).
    """
    content = index.astype("<u8").tobytes()
    checksum: int = google_crc32c.value(content)
    return content + checksum.to_bytes(_CRC_BYTES, "little")


def zstd_codecs(dtype: np.dtype[Any], level: int) -> list[dict[str, Any]]:
    """Codecs of chunks that are bytes compressed by zstd."""
    as_bytes = _named("bytes", endian="little") if dtype.itemsize > 1 else {"name": "bytes"}
    return [as_bytes, _named("zstd", level=level, checksum=False)]


def _write_metadata(folder: Path, metadata: Mapping[str, Any]) -> None:
    with (folder / "zarr.json").open("x", encoding="utf-8") as file:
        json.dump(metadata, file, indent=2)


def _whole_chunk(
    values: NDArray[Any], spot: Sequence[int], layout: ArrayLayout
) -> NDArray[Any] | None:
    """A chunk at a spot of the shard, filled up to its full shape; None where all is the fill."""
    parts = [
        slice(number * side, (number + 1) * side)
        for number, side in zip(spot, layout.chunk, strict=True)
    ]
    part = values[tuple(parts)]
    if not (part != layout.fill_value).any():
        return None
    chunk = np.full(layout.chunk, layout.fill_value, layout.dtype.newbyteorder("<"))
    chunk[tuple(slice(side) for side in part.shape)] = part
    return chunk


def _sharding(chunk: tuple[int, ...], codecs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return _named(
        "sharding_indexed",
        chunk_shape=chunk,
        codecs=codecs,
        index_codecs=[_named("bytes", endian="little"), {"name": "crc32c"}],
        index_location="end",
    )


def _named(name: str, **configuration: object) -> dict[str, Any]:
    return {"name": name, "configuration": configuration}
