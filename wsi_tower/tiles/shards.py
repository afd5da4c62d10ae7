"""Shard files of Zarr v3, written from chunks that are already encoded, and read at random.

How they are laid out stands in `wsi_tower.arrays`. zarr-python reads and writes the same, but
decodes and encodes on the way and reads the index again at each access.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

import google_crc32c
import numpy as np

from wsi_tower.arrays import MISSING, index_tail
from wsi_tower.errors import CorruptStoreError
from wsi_tower.records import content_hasher

if TYPE_CHECKING:
    from collections.abc import Iterable
    from io import FileIO
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.slides import Streams

__all__ = [
    "CHUNKS_PER_SHARD",
    "ShardFile",
    "ShardFiles",
    "ShardReader",
    "joined_digest",
    "shard_path",
]

CHUNKS_PER_SHARD = 1024
"""20 shards for a slide of 20 000 tiles; about 20 MB each with JPEG tiles of 256 px."""
_INDEX_BYTES = CHUNKS_PER_SHARD * 16
_CRC_BYTES = 4
_READ_BYTES = 1 << 22

Key: TypeAlias = tuple[str, int]
"""Folder of an array, and number of a shard in it."""


def shard_path(array: Path, shard: int) -> Path:
    """The file of a shard of an array of tiles, (N, T, T, 3) with whole tiles a chunk."""
    return array / f"c.{shard}.0.0.0"


class ShardFile:
    """One shard that is being written: append chunks, finish it, settle it."""

    def __init__(self, array: Path, shard: int) -> None:
        """Raises OSError where the disk refuses."""
        path = shard_path(array, shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: FileIO = path.open("w+b", buffering=0)
        self._hasher = content_hasher()
        self._index: NDArray[np.uint64] = np.full((CHUNKS_PER_SHARD, 2), MISSING, np.uint64)
        self.chunks = 0
        self.stored_bytes = 0

    def append(self, streams: Streams) -> None:
        """Write the next chunks.

        Raises:
            OSError: the disk refused.
        """
        after = self.chunks + len(streams.byte_counts)
        assert after <= CHUNKS_PER_SHARD, "a shard has room for so many chunks"
        ends = self.stored_bytes + np.cumsum(streams.byte_counts)
        self._index[self.chunks : after, 0] = ends - streams.byte_counts
        self._index[self.chunks : after, 1] = streams.byte_counts
        self._write(streams.joined)
        self.stored_bytes += len(streams.joined)
        self.chunks = after

    @property
    def digest(self) -> bytes:
        """Of what was written so far."""
        return self._hasher.digest()

    def finish(self) -> None:
        """Write the index.

        Raises:
            OSError: the disk refused.
        """
        self._write(index_tail(self._index))

    def settle(self) -> None:
        """Flush the finished file to the disk, read it back, and close it.

        Raises:
            OSError: the disk refused.
            CorruptStoreError: it does not hold what was written.
        """
        with self._file as file:
            os.fsync(file.fileno())
            file.seek(0)
            if _file_digest(file) != self.digest:
                raise CorruptStoreError(
                    f"{file.name} does not hold what was just written to it; check the disk, then "
                    f"run the same command again"
                )

    def close(self) -> None:
        """Give back the file, finished or not."""
        self._file.close()

    def _write(self, content: bytes | memoryview) -> None:
        self._hasher.update(content)
        rest = memoryview(content)
        while rest:
            # Unbuffered, the system may take a part; on a full disk it takes some and then refuses.
            rest = rest[self._file.write(rest) :]


class _OpenShard:
    """A shard file and its index.

    The file is closed with the last reference: a thread that is still reading keeps it open.
    """

    __slots__ = ("_descriptor", "index")

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file cannot be opened, ValueError where it is damaged."""
        self._descriptor = os.open(path, os.O_RDONLY)
        start = os.fstat(self._descriptor).st_size - _INDEX_BYTES - _CRC_BYTES
        tail = os.pread(self._descriptor, _INDEX_BYTES + _CRC_BYTES, max(start, 0))
        index, checksum = tail[:_INDEX_BYTES], tail[_INDEX_BYTES:]
        if start < 0 or google_crc32c.value(index).to_bytes(_CRC_BYTES, "little") != checksum:
            raise ValueError("its index is damaged")
        self.index = np.frombuffer(index, "<u8").reshape(-1, 2)

    def chunk(self, position: int) -> bytes | None:
        """An encoded chunk, or None where it is missing or cut off."""
        offset, count = self.index[position].tolist()
        if count >= 2**63:
            return None
        chunk = os.pread(self._descriptor, count, offset)
        return chunk if len(chunk) == count else None

    def __del__(self) -> None:
        descriptor = getattr(self, "_descriptor", -1)
        if descriptor >= 0:
            os.close(descriptor)


class ShardFiles:
    """Shard files held open with their indices: any number of arrays may share them.

    Bounded, for a cohort has more shards than a process may have open files: the one opened first
    goes first. Safe to use from several threads, and to pickle: it arrives empty.
    """

    def __init__(self, limit: int = 512) -> None:
        """``limit`` is how many to hold, 16 kB of memory each."""
        self.limit = limit
        self._open: dict[Key, _OpenShard] = {}
        self._opening = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def shard(self, array: Path, key: Key) -> _OpenShard:
        """A shard of an array, opened where it is not held.

        Raises:
            CorruptStoreError: it cannot be opened, or its index is damaged.
        """
        found = self._open.get(key)
        if found is not None:
            return found
        path = shard_path(array, key[1])
        try:
            opened = _OpenShard(path)
        except OSError as error:
            why = f"{path.name} cannot be opened ({error.strerror})"
            raise _corrupt(array, key[1], why) from error
        except ValueError as error:
            raise _corrupt(array, key[1], str(error)) from error
        with self._opening:
            while len(self._open) >= self.limit:
                self._open.pop(next(iter(self._open)))
            self._open[key] = opened
        return opened

    def release(self, folder: str) -> None:
        """Close the shards of an array."""
        with self._opening:
            for key in [key for key in self._open if key[0] == folder]:
                del self._open[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class ShardReader:
    """Reads chunks of an array at random. Safe in threads and to pickle, as its files are."""

    def __init__(self, array: Path, chunks: int, files: ShardFiles) -> None:
        self._array = array
        self._folder = str(array)
        self._files = files
        self.chunks = chunks

    def read(self, row: int) -> bytes:
        """The encoded chunk of a row.

        Raises:
            CorruptStoreError: the shard is missing, cut off, or its index is damaged.
        """
        shard, position = divmod(row, CHUNKS_PER_SHARD)
        chunk = self._files.shard(self._array, (self._folder, shard)).chunk(position)
        if chunk is None:
            raise _corrupt(self._array, shard, f"tile row {row} is missing or cut off")
        return chunk

    def content_digest(self) -> str:
        """Digest of all shards, as `joined_digest` gave it when they were written.

        Raises:
            CorruptStoreError: one cannot be read.
        """
        shards = -(-self.chunks // CHUNKS_PER_SHARD)
        return joined_digest([self._shard_digest(shard) for shard in range(shards)])

    def close(self) -> None:
        """Give back the files."""
        self._files.release(self._folder)

    def _shard_digest(self, shard: int) -> bytes:
        path = shard_path(self._array, shard)
        try:
            with path.open("rb", buffering=0) as file:
                return _file_digest(file)
        except OSError as error:
            why = f"{path.name} cannot be read ({error.strerror})"
            raise _corrupt(self._array, shard, why) from error


def _file_digest(file: FileIO) -> bytes:
    """Digest of the rest of a file."""
    digester, memory = content_hasher(), memoryview(bytearray(_READ_BYTES))
    while count := file.readinto(memory):
        digester.update(memory[:count])
    return digester.digest()


def joined_digest(digests: Iterable[bytes]) -> str:
    """Digest of an array by those of its shards."""
    joined = content_hasher()
    for digest in digests:
        joined.update(digest)
    return joined.digest().hex()


def _corrupt(array: Path, shard: int, why: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"store {array.parent.parent.name}, shard {shard} of its pixels: {why}; remake it with "
        f"`wsi-tower tile … --overwrite`"
    )
