"""Pictures by number, from stores and folders, and what happens where they are damaged."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.conftest import stored
from wsi_tower.errors import SettingsError, TooFewTilesError, TrainingError, UnreadableSlideError
from wsi_tower.tiles import TileStore
from wsi_tower.training import FolderPictures, StorePictures
from wsi_tower.training.decoding import decoded

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.training.pictures import SoundPictures


def silent(message: str) -> None:
    pytest.fail(message)


def read(source: SoundPictures, numbers: list[int]) -> np.ndarray:
    shape = (len(numbers), source.side_px, source.side_px, source.channels)
    pixels = np.zeros(shape, np.uint8)
    source.read_into(np.array(numbers, np.int64), pixels)
    return pixels


# ------------------------------------------------------------------ stores


def test_tiles_are_numbered_through_all_stores(stores: list[Path]) -> None:
    first, second = (TileStore.open(path) for path in stores)
    with StorePictures.open(stores, decode="exact", warn=silent) as source:
        assert (len(source), source.side_px) == (len(first) + len(second), 256)
        assert source.firsts.tolist() == [0, len(first), len(source)]
        numbers = [len(source) - 1, 0, len(first), 0, len(first) - 1]
        expected = [second.pixels[-1], first.pixels[0], second.pixels[0], first.pixels[0]]
        np.testing.assert_array_equal(read(source, numbers), [*expected, first.pixels[-1]])
        assert source.stores[0]._files is source.stores[1]._files


def test_fast_decoding_is_near_exact(stores: list[Path]) -> None:
    with (
        StorePictures.open(stores, warn=silent) as fast,
        StorePictures.open(stores, decode="exact", warn=silent) as exact,
    ):
        numbers = list(range(len(fast)))
        difference = np.abs(read(fast, numbers).astype(int) - read(exact, numbers))
    assert 0 < difference.mean() < 2


def test_streams_decoded_elsewhere_are_the_same_pixels(stores: list[Path]) -> None:
    with StorePictures.open(stores, decode="exact", warn=silent) as source:
        numbers = np.arange(len(source))
        pixels = decoded(source.streams(numbers), torch.device("cpu")).permute(0, 2, 3, 1)
        difference = np.abs(pixels.numpy().astype(int) - read(source, numbers.tolist()))
    assert pixels.shape[1:] == (256, 256, 3)
    assert difference.max() <= 1


def test_lossless_tiles_have_no_streams(slides: list[Path], tmp_path: Path) -> None:
    paths = stored(slides[:1], tmp_path, pixels="lossless")
    with (
        StorePictures.open(paths, warn=silent) as source,
        pytest.raises(SettingsError, match="pixels lossless has no JPEG streams"),
    ):
        source.streams(np.array([0]))


def test_stores_must_be_alike(slides: list[Path], stores: list[Path], tmp_path: Path) -> None:
    small = stored(slides[1:], tmp_path / "small", tile_px=128)
    with pytest.raises(
        TrainingError, match=r"two\.zarr has tiles of 128 px and \S*one\.zarr of 256"
    ):
        StorePictures.open([stores[0], *small], mix=True, warn=silent)
    coarse = stored(slides[1:], tmp_path / "coarse", mpp=1.0)
    with pytest.raises(TrainingError, match=r"two\.zarr has 1 µm/px and \S*one\.zarr 0\.5.*--mix"):
        StorePictures.open([stores[0], *coarse], warn=silent)
    with StorePictures.open([stores[0], *coarse], mix=True, warn=silent) as mixed:
        assert len(mixed) > len(TileStore.open(stores[0]))


def test_no_store_at_all_is_said() -> None:
    with pytest.raises(TooFewTilesError, match="no tile store to train on"):
        StorePictures.open([], warn=silent)


@pytest.fixture
def damaged(stores: list[Path], tmp_path: Path) -> Path:
    """A store whose rows 2 and 3 are overwritten."""
    path = tmp_path / stores[0].name
    shutil.copytree(stores[0], path)
    shard = path / "tiles" / "pixels" / "c.0.0.0.0"
    content = bytearray(shard.read_bytes())
    index = np.frombuffer(content[-1024 * 16 - 4 : -4], "<u8").reshape(-1, 2)
    for row in (2, 3):
        start, count = (int(value) for value in index[row])
        content[start : start + count] = bytes(count)
    shard.write_bytes(content)
    return path


def test_a_damaged_tile_is_named_once_and_the_next_sound_one_taken(
    damaged: Path, stores: list[Path]
) -> None:
    messages: list[str] = []
    with (
        StorePictures.open([damaged], decode="exact", warn=messages.append) as source,
        TileStore.open(stores[0]) as sound,
    ):
        for _ in range(2):
            pixels = read(source, [3, 1, 2])
            np.testing.assert_array_equal(pixels, sound.pixels[[4, 1, 4]])
        assert source.dropped == {2, 3}
    assert sorted(message[:22] for message in messages) == [
        "slide one, tile row 2 ",
        "slide one, tile row 3 ",
    ]


def test_strict_stops_at_a_damaged_tile(damaged: Path) -> None:
    with (
        StorePictures.open([damaged], strict=True, warn=silent) as source,
        pytest.raises(TrainingError, match=r"slide one, tile row 2 cannot be read: .*--strict"),
    ):
        read(source, [0, 2])


def test_a_store_without_a_sound_tile_ends_the_search(stores: list[Path], tmp_path: Path) -> None:
    path = tmp_path / stores[0].name
    shutil.copytree(stores[0], path)
    shutil.rmtree(path / "tiles" / "pixels" / "c.0.0.0.0", ignore_errors=True)
    (path / "tiles" / "pixels" / "c.0.0.0.0").unlink()
    messages: list[str] = []
    with (
        StorePictures.open([path], warn=messages.append) as source,
        pytest.raises(TrainingError, match=r"none of the .* tiles can be read"),
    ):
        read(source, [0])
    assert len(messages) == len(TileStore.open(path))


def test_many_threads_read_what_one_reads(stores: list[Path]) -> None:
    with StorePictures.open(stores, warn=silent) as source:
        expected = read(source, list(range(12)))
        results: dict[int, np.ndarray] = {}

        def work(number: int) -> None:
            results[number] = read(source, list(range(12)))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 6
    assert all(np.array_equal(result, expected) for result in results.values())


# ------------------------------------------------------------------ folders


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    generator = np.random.default_rng(sum(shape))
    return generator.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def folder(path: Path, side_px: int = 16, **options: int) -> FolderPictures:
    return FolderPictures(path, side_px=side_px, strict=False, warn=silent, **options)


def test_an_image_gives_the_squares_that_lie_in_it(tmp_path: Path) -> None:
    rgb = noise(40, 35, 3)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    source = folder(tmp_path)
    # 2 × 2 squares of 16; 40 - 32 and 35 - 32 px are left, half of them before the first.
    assert (len(source), source.channels) == (4, 3)
    expected = [rgb[4:20, 1:17], rgb[4:20, 17:33], rgb[20:36, 1:17], rgb[20:36, 17:33]]
    np.testing.assert_array_equal(read(source, [0, 1, 2, 3]), expected)


def test_a_smaller_image_is_mirrored_at_its_edges(tmp_path: Path) -> None:
    grey = noise(12, 16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    (picture,) = read(folder(tmp_path), [0])
    assert picture.shape == (16, 16, 1)
    np.testing.assert_array_equal(picture[2:14, :, 0], grey)
    np.testing.assert_array_equal(picture[1, :, 0], grey[1])
    np.testing.assert_array_equal(picture[15, :, 0], grey[9])


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "jpg"])
def test_colours_and_greys_of_every_format(tmp_path: Path, suffix: str) -> None:
    # Flat halves, which JPEG keeps.
    rgb = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    Image.fromarray(rgb).save(tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(read(folder(tmp_path), [0])[0], rgb, atol=2)
    Image.fromarray(rgb[..., 0]).save(tmp_path / f"b.{suffix}")
    source = folder(tmp_path)
    assert source.channels == 3
    np.testing.assert_allclose(read(source, [1])[0], 200, atol=2)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled(tmp_path: Path, suffix: str, channels: int) -> None:
    deep = noise(16, 16, channels, dtype=np.uint16)
    deep[0, 0], deep[0, 1] = 0, 65535
    assert cv2.imwrite(str(tmp_path / f"a.{suffix}"), deep)
    source = folder(tmp_path)
    assert source.channels == channels
    expected = np.round(deep[..., ::-1] / 257).astype(int)
    difference = np.abs(read(source, [0])[0].astype(int) - expected)
    assert difference.max() <= 1
    assert read(source, [0])[0, 0, :2, 0].tolist() == [0, 255]


def test_cameras_of_12_bits_have_their_own_white(tmp_path: Path) -> None:
    deep = np.full((16, 16), 2048, np.uint16)
    deep[0] = 4095
    deep[1] = 5000
    assert cv2.imwrite(str(tmp_path / "a.png"), deep)
    picture = read(folder(tmp_path, white_16=4095), [0])[0, :, 0, 0]
    assert picture[:3].tolist() == [255, 255, 128]


def test_alpha_is_left_out(tmp_path: Path) -> None:
    rgba = noise(16, 16, 4)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(folder(tmp_path), [0])[0], rgba[..., :3])


def test_folders_below_are_searched_by_name_and_other_files_let_alone(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for number, name in enumerate(["b.png", "deep/a.PNG", "c.txt"]):
        with (tmp_path / name).open("wb") as file:
            Image.fromarray(np.full((16, 16), number, np.uint8)).save(file, "PNG")
    assert read(folder(tmp_path), [0, 1])[:, 0, 0, 0].tolist() == [0, 1]


def test_a_damaged_image_is_left_out_or_stops(tmp_path: Path) -> None:
    Image.fromarray(noise(16, 16)).save(tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes(b"no image")
    Image.fromarray(noise(16, 17)).save(tmp_path / "c.png")
    messages: list[str] = []
    source = FolderPictures(tmp_path, side_px=16, strict=False, warn=messages.append)
    assert len(messages) == 1
    assert "a.png is left out" in messages[0]
    with pytest.raises(UnreadableSlideError, match=r"a\.png cannot be read.*--strict"):
        FolderPictures(tmp_path, side_px=16, strict=True, warn=silent)
    # One that is damaged after it was listed is found out when it is read.
    (tmp_path / "c.png").write_bytes(b"no image")
    np.testing.assert_array_equal(read(source, [1]), read(source, [0]))
    assert "c.png, square 0 is left out" in messages[1]


def test_folders_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no folder of images"):
        folder(tmp_path / "nothing")
    with pytest.raises(TooFewTilesError, match=r"holds no image .*\.png"):
        folder(tmp_path)
    with pytest.raises(SettingsError, match="not 0 and 65535"):
        folder(tmp_path, side_px=0)
