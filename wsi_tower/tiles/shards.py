"""Shard files of Zarr v3, written from chunks that are already encoded, and read at random.

Layout (Zarr v3, sharding codec 1.0): the chunks' bytes one after another; then the index, an array
of little-endian uint64 pairs (offset, byte count) with one pair a chunk and 2⁶⁴-1 for a missing
one; then the CRC-32C of the index. zarr-python reads and writes the same, but decodes and encodes
on the way and reads the index again at each access.
"""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

import google_crc32c
import numpy as np

from wsi_tower.errors import CorruptStoreError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["CHUNKS_PER_SHARD", "ShardReader", "ShardWriter", "shard_path"]

CHUNKS_PER_SHARD = 1024
"""20 shards for a slide of 20 000 tiles; about 20 MB each with JPEG tiles of 256 px."""
_MISSING = np.uint64(2**64 - 1)
_CRC_BYTES = 4


def shard_path(array: Path, shard: int) -> Path:
    """The file of a shard of an array of tiles, (N, T, T, 3) with whole tiles a chunk."""
    return array / f"c.{shard}.0.0.0"


class ShardWriter:
    """Appends encoded chunks to an array, shard after shard. Close it when done."""

    def __init__(self, array: Path) -> None:
        self._array = array
        self._file: BinaryIO | None = None
        self._index: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._hasher = hashlib.blake2b(digest_size=16)
        self.chunks = 0
        self.stored_bytes = 0

    def append(self, chunk: bytes) -> None:
        """Write the next chunk.

        Raises:
            OSError: the disk refused.
        """
        position = self.chunks % CHUNKS_PER_SHARD
        if position == 0:
            self._start()
        assert self._file is not None
        self._index[position] = (self._file.tell(), len(chunk))
        self._file.write(chunk)
        self._hasher.update(len(chunk).to_bytes(8, "little"))
        self._hasher.update(chunk)
        self.chunks += 1
        self.stored_bytes += len(chunk)

    def close(self) -> None:
        """Finish the last shard and flush it to the disk."""
        if self._file is None:
            return
        with self._file as file:
            index = self._index.astype("<u8").tobytes()
            file.write(index)
            file.write(google_crc32c.value(index).to_bytes(_CRC_BYTES, "little"))
            file.flush()
            os.fsync(file.fileno())
        self._file = None

    def discard(self) -> None:
        """Give back the file without finishing it."""
        if self._file is not None:
            self._file.close()

    @property
    def digest(self) -> str:
        """Digest of all chunks so far, lengths included."""
        return self._hasher.hexdigest()

    def _start(self) -> None:
        self.close()
        path = shard_path(self._array, self.chunks // CHUNKS_PER_SHARD)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._index = np.full((CHUNKS_PER_SHARD, 2), _MISSING, np.uint64)


class ShardReader:
    """Reads chunks of an array at random, with every index kept and files held open.

    Safe to use from several threads, and to pickle: files are opened again where it arrives.
    """

    def __init__(self, array: Path, chunks: int) -> None:
        self._array = array
        self.chunks = chunks
        self._descriptors: dict[int, int] = {}
        self._indices: dict[int, NDArray[np.uint64]] = {}
        self._opening = threading.Lock()

    def read(self, row: int) -> bytes:
        """The encoded chunk of a row.

        Raises:
            CorruptStoreError: the shard is missing, cut off, or its index is damaged.
        """
        shard, position = divmod(row, CHUNKS_PER_SHARD)
        if shard not in self._indices:
            with self._opening:
                if shard not in self._indices:
                    self._open(shard)
        offset, count = (int(value) for value in self._indices[shard][position])
        chunk = os.pread(self._descriptors[shard], count, offset) if count < 2**63 else b""
        if len(chunk) != count:
            raise self._corrupt(shard, f"tile row {row} is missing or cut off")
        return chunk

    def content_digest(self) -> str:
        """Digest of all chunks, as `ShardWriter.digest` gave it."""
        hasher = hashlib.blake2b(digest_size=16)
        for row in range(self.chunks):
            chunk = self.read(row)
            hasher.update(len(chunk).to_bytes(8, "little"))
            hasher.update(chunk)
        return hasher.hexdigest()

    def close(self) -> None:
        """Give back the files."""
        self._indices.clear()
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _open(self, shard: int) -> None:
        path = shard_path(self._array, shard)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise self._corrupt(
                shard, f"{path.name} cannot be opened ({error.strerror})"
            ) from error
        index_bytes = CHUNKS_PER_SHARD * 16
        start = os.fstat(descriptor).st_size - index_bytes - _CRC_BYTES
        tail = os.pread(descriptor, index_bytes + _CRC_BYTES, max(start, 0))
        index, checksum = tail[:index_bytes], tail[index_bytes:]
        if start < 0 or google_crc32c.value(index).to_bytes(_CRC_BYTES, "little") != checksum:
            os.close(descriptor)
            raise self._corrupt(shard, "its index is damaged")
        self._descriptors[shard] = descriptor
        self._indices[shard] = np.frombuffer(index, "<u8").reshape(-1, 2)

    def _corrupt(self, shard: int, why: str) -> CorruptStoreError:
        return CorruptStoreError(
            f"store {self._array.parent.parent.name}, shard {shard} of its pixels: {why}; remake "
            f"it with `wsi-tower tile … --overwrite`"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"array": self._array, "chunks": self.chunks}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __del__(self) -> None:
        self.close()
