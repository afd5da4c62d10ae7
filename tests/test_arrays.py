"""Arrays that are written directly are those that zarr-python would have written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import ZstdCodec

from wsi_tower.arrays import ArrayLayout, create_array, create_group, index_tail, write_shard

if TYPE_CHECKING:
    from pathlib import Path

DTYPES = ("uint8", "int64", "float32", "float64", "uint32")
LAYOUTS = [
    ArrayLayout((7,), np.dtype("float32"), (4,), (8,)),
    ArrayLayout((5, 2), np.dtype("int64"), (5, 2), (5, 2)),
    ArrayLayout(
        (70, 90), np.dtype("uint8"), (16, 16), (80, 96), separator="/", dimension_names=("y", "x")
    ),
    ArrayLayout((70, 90), np.dtype("uint32"), (70, 90), attributes={"pitch_l0": 2.5}),
]


def made_by_zarr(folder: Path, layout: ArrayLayout) -> dict[str, Any]:
    zarr.create_array(
        store=folder,
        shape=layout.shape,
        dtype=layout.dtype,
        chunks=layout.chunk,
        shards=layout.shard,
        compressors=ZstdCodec(level=3),
        fill_value=0,
        chunk_key_encoding={"name": "default", "separator": layout.separator},
        dimension_names=layout.dimension_names,
        attributes=dict(layout.attributes),
    )
    return read_metadata(folder)


def read_metadata(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: str(layout.shape))
def test_the_metadata_are_those_of_zarr(tmp_path: Path, layout: ArrayLayout) -> None:
    create_array(tmp_path / "ours", layout)
    assert read_metadata(tmp_path / "ours") == made_by_zarr(tmp_path / "theirs", layout)


@settings(deadline=None, max_examples=40)
@given(
    dtype=st.sampled_from(DTYPES),
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    chunk=st.integers(3, 16),
    files=st.integers(1, 3),
    emptied=st.floats(0, 1),
)
def test_zarr_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: str,
    height: int,
    width: int,
    chunk: int,
    files: int,
    emptied: float,
) -> None:
    """Whatever the shape: edges are filled up, and chunks of nothing left out."""
    folder = tmp_path_factory.mktemp("arrays") / "array"
    values = np.arange(1, height * width + 1).reshape(height, width).astype(dtype)
    values[: int(emptied * height)] = 0
    rows = -(-height // (files * chunk)) * chunk
    layout = ArrayLayout(
        (height, width), values.dtype, (chunk, chunk), (rows, -(-width // chunk) * chunk)
    )
    create_array(folder, layout)
    for number, top in enumerate(range(0, height, rows)):
        write_shard(folder, layout, (number, 0), values[top : top + rows])
    read = zarr.open_array(folder, mode="r")
    assert read.dtype == values.dtype
    np.testing.assert_array_equal(read[:], values)


def test_a_shard_of_nothing_has_no_file(tmp_path: Path) -> None:
    layout = ArrayLayout((8, 8), np.dtype("uint8"), (4, 4), (8, 8))
    create_array(tmp_path / "a", layout)
    write_shard(tmp_path / "a", layout, (0, 0), np.zeros((8, 8), np.uint8))
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["zarr.json"]


def test_the_end_of_a_shard_by_hand() -> None:
    """One chunk of 3 bytes at the start: 0 and 3 as little-endian uint64, then their CRC-32C."""
    tail = index_tail(np.array([[0, 3]], np.uint64))
    assert tail[:16] == bytes(8) + bytes([3, 0, 0, 0, 0, 0, 0, 0])
    assert int.from_bytes(tail[16:], "little") == crc32c(tail[:16])


def crc32c(content: bytes) -> int:
    """Castagnoli's polynomial, reflected, bit by bit (RFC 3720, appendix B.4)."""
    checksum = 0xFFFFFFFF
    for byte in content:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ (0x82F63B78 if checksum & 1 else 0)
    return checksum ^ 0xFFFFFFFF


def test_groups_and_arrays_are_found_and_not_overwritten(tmp_path: Path) -> None:
    create_group(tmp_path / "root", {"kind": "test"})
    create_array(tmp_path / "root" / "a", LAYOUTS[0])
    root = zarr.open_group(tmp_path / "root", mode="r")
    assert root.attrs["kind"] == "test"
    assert [name for name, _ in root.arrays()] == ["a"]
    with pytest.raises(FileExistsError):
        create_group(tmp_path / "root")
    with pytest.raises(FileExistsError):
        create_array(tmp_path / "root" / "a", LAYOUTS[0])
