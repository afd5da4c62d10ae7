"""The file's own JPEG tiles: bit-exact, and what they say when they are damaged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import openslide
import pytest
import tifffile

from tests.slides.builders import page_of, picture, pyramid, write_rgb_jpeg_aperio, write_tiled
from wsi_tower.errors import UnreadableSlideError
from wsi_tower.geometry import LevelSize
from wsi_tower.jpeg import complete, decode
from wsi_tower.slides import CompressedLevel, Slide, open_slide

if TYPE_CHECKING:
    from pathlib import Path


def tiles_of(slide: Slide, level: int = 0) -> CompressedLevel:
    tiles = slide.compressed_level(level)
    assert tiles is not None
    return tiles


def assert_tiles_are_openslide_s(path: Path, tile: LevelSize) -> None:
    """Every whole tile of level 0 against OpenSlide's reading of the same place."""
    with open_slide(path) as slide, openslide.OpenSlide(path) as reference:
        tiles = tiles_of(slide)
        assert tiles.tile == tile
        for row in range(reference.dimensions[1] // tile.height):
            for column in range(reference.dimensions[0] // tile.width):
                corner = (column * tile.width, row * tile.height)
                expected = reference.read_region(corner, 0, (tile.width, tile.height))
                found = tiles.pixels(tiles.index(column, row))
                assert np.array_equal(found, np.asarray(expected)[..., :3])


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("CMU-1-Small-Region.svs", 240),
        ("CMU-1-Small-Region_pyramid_jpeg.tif", 256),
        ("asap/example.tif", 512),
    ],
)
def test_tiles_of_real_slides_are_exact(shared_data: Path, name: str, side: int) -> None:
    path = shared_data / "slides" / name
    with tifffile.TiffFile(path) as file:
        side = page_of(file).tilewidth if side == 512 else side
    assert_tiles_are_openslide_s(path, LevelSize(side, side))


@pytest.mark.parametrize("side", [240, 256, 512])
def test_rgb_tiles_with_shared_tables_are_exact(tmp_path: Path, side: int) -> None:
    path = write_rgb_jpeg_aperio(tmp_path / "a.svs", picture(600, 530), side)
    with open_slide(path) as slide:
        tiles = tiles_of(slide)
        assert tiles.family.colour == "rgb"
        assert tiles.family.tables
    assert_tiles_are_openslide_s(path, LevelSize(side, side))


def test_streams_are_the_file_s_own_bytes(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "a.tif", pyramid(picture()), compression="jpeg")
    content = path.read_bytes()
    with open_slide(path) as slide, tifffile.TiffFile(path) as file:
        for level, page in enumerate(file.pages):
            tiles = tiles_of(slide, level)
            assert len(tiles.offsets) == tiles.columns * tiles.rows
            for number, start in enumerate(page.dataoffsets):
                stream = content[start : start + page.databytecounts[number]]
                assert tiles.read(number) == stream


def test_streams_complete_to_the_pixels(tmp_path: Path) -> None:
    path = write_rgb_jpeg_aperio(tmp_path / "a.svs", picture())
    with open_slide(path) as slide:
        tiles = tiles_of(slide)
        stream = complete(tiles.read(7), tiles.family.tables, tiles.family.colour)
        assert np.array_equal(decode(stream), tiles.pixels(7))


@pytest.mark.parametrize("compression", ["lzw", "deflate", None])
def test_other_tiles_are_none(tmp_path: Path, compression: str | None) -> None:
    path = write_tiled(tmp_path / "a.tif", [picture()], compression=compression)
    for reader in ("openslide", "tiffslide"):
        with open_slide(path, reader=reader) as slide:
            assert slide.compressed_level(0) is None


def test_grey_jpeg_tiles_are_none_and_still_read(tmp_path: Path) -> None:
    grey = picture()[..., 0]
    path = write_tiled(tmp_path / "a.tif", [grey], compression="jpeg", photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        stored = page_of(file).asarray()
    for reader in ("openslide", "tiffslide"):
        with open_slide(path, reader=reader) as slide:
            assert slide.compressed_level(0) is None
            assert np.array_equal(slide.overview(1).rgb[..., 1], stored)


def broken(path: Path, tag: str, number: int, value: int) -> Path:
    """Set one value of a tag of the first page."""
    with tifffile.TiffFile(path, mode="r+") as file:
        values = list(page_of(file).tags[tag].value)
        values[number] = value
        page_of(file).tags[tag].overwrite(values)
    return path


def test_tiles_beyond_the_end_are_noticed_when_opening(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "a.tif", pyramid(picture()), compression="jpeg")
    broken(path, "TileOffsets", 9, 1 << 30)
    with pytest.raises(
        UnreadableSlideError, match=r"a\.tif is cut off: .* byte 10737\d+ of a file"
    ):
        open_slide(path)


def test_a_file_cut_off_while_it_is_open_is_noticed(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "a.tif", [picture()], compression="jpeg")
    with open_slide(path) as slide:
        tiles = tiles_of(slide)
        os.truncate(path, int(tiles.offsets[9]) + 10)
        with pytest.raises(UnreadableSlideError, match=r"column 3, row 1: it ends at byte"):
            tiles.read(9)


def test_a_tile_of_another_size_is_named(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "a.tif", [picture()], compression="jpeg")
    other = write_rgb_jpeg_aperio(tmp_path / "other.svs", picture(), 32)
    with tifffile.TiffFile(other) as file:
        stream = (page_of(file).jpegtables or b"")[:-2]
        start, count = page_of(file).dataoffsets[0], page_of(file).databytecounts[0]
        stream += other.read_bytes()[start + 2 : start + count]
    end = path.stat().st_size
    with path.open("ab") as file:
        file.write(stream)
    broken(broken(path, "TileOffsets", 0, end), "TileByteCounts", 0, len(stream))
    with open_slide(path) as slide, pytest.raises(UnreadableSlideError, match="32 × 32 px, not 64"):
        tiles_of(slide).read(0)


def test_a_tile_cut_short_is_named(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "a.tif", [picture()], compression="jpeg")
    broken(path, "TileByteCounts", 0, 400)
    with open_slide(path) as slide, pytest.raises(UnreadableSlideError, match="cut off"):
        tiles_of(slide).pixels(0)


def test_unscanned_tiles_are_white(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "a.tif", [picture()], compression="jpeg")
    broken(broken(path, "TileOffsets", 0, 0), "TileByteCounts", 0, 0)
    for reader in ("openslide", "tiffslide"):
        with open_slide(path, reader=reader) as slide:
            assert (tiles_of(slide).pixels(0) == 255).all()
            assert (slide.overview(1).rgb[:64, :64] == 255).all()


def test_what_was_decoded_is_kept_within_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsi_tower.slides import compressed

    tile_bytes = 64 * 64 * 3
    monkeypatch.setattr(compressed, "_LEAST_CACHE_BYTES", 3 * tile_bytes)
    monkeypatch.setattr(compressed, "_MOST_CACHE_BYTES", 3 * tile_bytes)
    path = write_tiled(tmp_path / "a.tif", [picture()], compression="jpeg")
    with open_slide(path) as slide:
        tiles = tiles_of(slide)
        for number in range(len(tiles.offsets)):
            tiles.pixels(number)
        assert tiles._decoded.held_bytes == 3 * tile_bytes
