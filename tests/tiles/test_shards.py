"""Shard files against the Zarr v3 sharding specification, read by zarr-python."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr
from numcodecs.zstd import Zstd
from zarr.codecs import BytesCodec, ZstdCodec

from wsi_tower.errors import CorruptStoreError
from wsi_tower.slides import Streams
from wsi_tower.tiles.shards import (
    CHUNKS_PER_SHARD,
    ShardFile,
    ShardFiles,
    ShardReader,
    joined_digest,
    shard_path,
)

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 4


@pytest.fixture
def pixels() -> np.ndarray:
    """More tiles than one shard holds."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (CHUNKS_PER_SHARD + 3, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def array(tmp_path: Path, pixels: np.ndarray) -> Path:
    """An array whose metadata zarr wrote and whose shards we wrote."""
    path = tmp_path / "store" / "tiles" / "pixels"
    zarr.create_array(
        store=path,
        shape=pixels.shape,
        dtype="uint8",
        chunks=(1, SIDE, SIDE, 3),
        shards=(CHUNKS_PER_SHARD, SIDE, SIDE, 3),
        serializer=BytesCodec(endian=None),
        chunk_key_encoding={"name": "default", "separator": "."},
        compressors=ZstdCodec(level=3),
    )
    chunks = [Zstd(level=3).encode(tile.tobytes()) for tile in pixels]
    shards = [ShardFile(path, 0), ShardFile(path, 1)]
    for first in range(0, len(chunks), 64):
        batch = chunks[first : first + 64]
        counts = np.array([len(chunk) for chunk in batch])
        shards[first // CHUNKS_PER_SHARD].append(Streams(memoryview(b"".join(batch)), counts))
    for shard in shards:
        shard.finish()
        shard.settle()
    digest = joined_digest(shard.digest for shard in shards)
    assert digest == ShardReader(path, len(pixels), ShardFiles()).content_digest()
    return path


def test_zarr_reads_every_chunk_that_we_wrote(array: Path, pixels: np.ndarray) -> None:
    stored = zarr.open_array(array, mode="r")
    np.testing.assert_array_equal(stored[:], pixels)


def test_two_shards_are_two_files(array: Path) -> None:
    files = set(array.iterdir()) - {array / "zarr.json"}
    assert files == {shard_path(array, 0), shard_path(array, 1)}


def test_rows_are_read_at_random_by_many_threads(array: Path, pixels: np.ndarray) -> None:
    reader = ShardReader(array, len(pixels), ShardFiles())
    rows = np.random.default_rng(1).permutation(len(pixels))[:300]
    with ThreadPoolExecutor(8) as threads:
        chunks = list(threads.map(lambda row: reader.read(int(row)), rows))
    for row, chunk in zip(rows, chunks, strict=True):
        assert Zstd().decode(chunk) == pixels[row].tobytes()
    reader.close()


def test_a_reader_travels_to_another_process(array: Path, pixels: np.ndarray) -> None:
    reader = ShardReader(array, len(pixels), ShardFiles())
    reader.read(0)
    arrived = pickle.loads(pickle.dumps(reader))
    assert arrived.read(CHUNKS_PER_SHARD) == reader.read(CHUNKS_PER_SHARD)


@pytest.mark.parametrize("keep", [0, 10, -1])
def test_a_cut_off_shard_is_named(array: Path, pixels: np.ndarray, keep: int) -> None:
    path = shard_path(array, 1)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptStoreError, match=r"store store, shard 1.*--overwrite"):
        ShardReader(array, len(pixels), ShardFiles()).read(CHUNKS_PER_SHARD)


def test_a_missing_shard_is_named(array: Path, pixels: np.ndarray) -> None:
    shard_path(array, 0).unlink()
    with pytest.raises(CorruptStoreError, match="shard 0"):
        ShardReader(array, len(pixels), ShardFiles()).read(5)


def test_a_chunk_that_was_never_written_is_named(array: Path, pixels: np.ndarray) -> None:
    with pytest.raises(CorruptStoreError, match=f"tile row {len(pixels)} is missing"):
        ShardReader(array, len(pixels) + 1, ShardFiles()).read(len(pixels))


def test_files_shared_by_many_arrays_stay_within_their_bound(
    array: Path, pixels: np.ndarray
) -> None:
    files = ShardFiles(limit=1)
    reader = ShardReader(array, len(pixels), files)
    rows = np.random.default_rng(2).permutation(len(pixels))[:200].tolist()
    with ThreadPoolExecutor(4) as threads:
        chunks = list(threads.map(reader.read, [*rows, 0, CHUNKS_PER_SHARD, 1]))
    assert Zstd().decode(chunks[-2]) == pixels[CHUNKS_PER_SHARD].tobytes()
    assert len(files) == 1
    reader.close()
    assert len(files) == 0


def test_a_shard_is_opened_once(array: Path, pixels: np.ndarray) -> None:
    files = ShardFiles()
    readers = [ShardReader(array, len(pixels), files) for _ in range(3)]
    first = files.shard(array, (str(array), 0))
    for reader in readers:
        reader.read(7)
    assert files.shard(array, (str(array), 0)) is first


def test_a_shard_that_the_disk_altered_is_refused(tmp_path: Path) -> None:
    shard = ShardFile(tmp_path / "pixels", 0)
    shard.append(Streams(memoryview(b"eleven byte"), np.array([11])))
    shard.finish()
    with shard_path(tmp_path / "pixels", 0).open("r+b") as file:
        file.seek(7)
        file.write(b"!")
    with pytest.raises(CorruptStoreError, match=r"c\.0\.0\.0\.0 does not hold what was"):
        shard.settle()
