"""The Zarr codec ``wsi_tower.jpeg``."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype

from tests.slides.builders import picture
from wsi_tower.jpeg import JpegError, decode, encode
from wsi_tower.jpeg.codec import CODEC_NAME, JpegCodec

if TYPE_CHECKING:
    from pathlib import Path

TILES = np.stack([picture(32, 32, seed) for seed in range(5)])


def write(path: Path, codec: JpegCodec, **options: Any) -> zarr.Array[Any]:
    options = {"chunks": (1, 32, 32, 3), "shards": (4, 32, 32, 3)} | options
    return zarr.create_array(
        path,
        shape=TILES.shape,
        dtype=np.uint8,
        serializer=codec,
        compressors=None,
        fill_value=255,
        **options,
    )


@pytest.mark.parametrize("shards", [None, (4, 32, 32, 3)])
def test_a_written_array_reads_as_its_streams_decode(
    tmp_path: Path, shards: tuple[int, ...] | None
) -> None:
    array = write(tmp_path / "a.zarr", JpegCodec(quality=85, subsampling="444"), shards=shards)
    array[:] = TILES
    found = zarr.open_array(tmp_path / "a.zarr", mode="r")
    for row, tile in enumerate(TILES):
        stream = encode(tile, quality=85, subsampling="444")
        assert np.array_equal(found[row], decode(stream))


def test_zarr_finds_the_codec_by_its_entry_point(tmp_path: Path) -> None:
    array = write(tmp_path / "a.zarr", JpegCodec())
    array[:] = TILES
    code = (
        "import sys, zarr\n"
        f"array = zarr.open_array({str(tmp_path / 'a.zarr')!r}, mode='r')\n"
        "assert not any(name.startswith('wsi_tower.slides') for name in sys.modules)\n"
        "print(int(array[:].sum()))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) == int(np.asarray(array[:], np.int64).sum())


def test_a_chunk_never_written_is_white(tmp_path: Path) -> None:
    array = write(tmp_path / "a.zarr", JpegCodec())
    array[0] = TILES[0]
    assert (np.asarray(array[3]) == 255).all()


@pytest.mark.parametrize(
    "codec",
    [
        JpegCodec(),
        JpegCodec(colour="rgb", tables=b"\xff\xd8\x00\x01\xff\xd9", quality=75, subsampling="444"),
    ],
)
def test_metadata_survives_json(codec: JpegCodec) -> None:
    stored = json.loads(json.dumps(codec.to_dict()))
    assert stored["name"] == CODEC_NAME
    assert JpegCodec.from_dict(stored) == codec


def test_metadata_on_disk_is_what_the_format_says(tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", JpegCodec(tables=b"\xff\xd8\xff\xd9"), shards=None)
    (codec,) = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["codecs"]
    assert codec == {
        "name": "wsi_tower.jpeg",
        "configuration": {
            "colour": "ycbcr",
            "tables": "/9j/2Q==",
            "quality": 90,
            "subsampling": "420",
        },
    }


def test_an_array_of_copied_rgb_tiles_cannot_be_written_wrong(tmp_path: Path) -> None:
    array = write(tmp_path / "a.zarr", JpegCodec(colour="rgb"))
    with pytest.raises(JpegError, match="cannot be written to"):
        array[0] = TILES[0]


def test_a_chunk_of_another_size_is_named(tmp_path: Path) -> None:
    array = write(tmp_path / "a.zarr", JpegCodec(), shards=None)
    stream = encode(picture(16, 16), quality=90, subsampling="420")
    buffer = default_buffer_prototype().buffer.from_bytes(stream)
    asyncio.run(array.store_path.store.set("c/0/0/0/0", buffer))
    with pytest.raises(JpegError, match=r"holds an image of \(16, 16, 3\)"):
        _ = array[0]
