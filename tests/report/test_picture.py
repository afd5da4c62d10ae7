"""The picture of a slide: right colours in the right places, a true scale bar, whole files."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely
from PIL import Image

from wsi_tower.errors import StorageError
from wsi_tower.geometry import Mpp
from wsi_tower.report import tiling_picture, write_picture
from wsi_tower.report.caption import (
    INK,
    MIN_WIDTH_PX,
    STRIP_PX,
    Caption,
    fitted_words,
    length_label,
    round_length_um,
)
from wsi_tower.report.picture import (
    GRID_OPACITY,
    OUTLINE,
    TILE,
    TILE_OPACITY,
    TILE_OPACITY_IN_GRID,
    picture_facts,
)
from wsi_tower.slides import Overview

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

GREY = 200
HOLE = (4000, 3000, 6000, 5000)
NO_TISSUE = shapely.MultiPolygon()
NO_TILES = np.empty((0, 2), np.int64)


def overview(width: int = 1000, height: int = 800, pitch_l0: float = 10.0) -> Overview:
    return Overview(np.full((height, width, 3), GREY, np.uint8), pitch_l0)


def tissue(*boxes: tuple[int, int, int, int]) -> shapely.MultiPolygon:
    return shapely.MultiPolygon([shapely.box(*box) for box in boxes])


def pixels(image: Image.Image) -> NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)


def mixed(*opacities: float) -> NDArray[np.float64]:
    """Grey glass under one or more coats of the tile colour."""
    colour = np.full(3, GREY, np.float64)
    for opacity in opacities:
        colour = colour * (1 - opacity) + np.array(TILE) * opacity
    return colour


def test_outline_lies_on_the_edge_of_the_tissue() -> None:
    drawn = pixels(
        tiling_picture(overview(), tissue((2000, 1000, 6000, 5000)), NO_TILES, 100, Mpp(1, 1))
    )
    for x, y in ((200, 300), (600, 300), (400, 100), (400, 500)):
        around = drawn[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)
        assert np.abs(around - OUTLINE).sum(axis=1).min() < 40
    assert (drawn[300, 400] == GREY).all()
    assert (drawn[300, 100] == GREY).all()


def test_holes_are_outlined_too() -> None:
    rim, hole = (shapely.box(*box).exterior for box in ((2000, 1000, 8000, 7000), HOLE))
    hollow = shapely.Polygon(rim, [hole])
    drawn = pixels(
        tiling_picture(overview(), shapely.MultiPolygon([hollow]), NO_TILES, 100, Mpp(1, 1))
    )
    around = drawn[399:402, 399:402].reshape(-1, 3)
    assert np.abs(around - OUTLINE).sum(axis=1).min() < 40


def test_large_tiles_have_fill_and_hairlines() -> None:
    xy_l0 = np.array([[1000, 2000], [1400, 2000]], np.int64)
    drawn = pixels(tiling_picture(overview(), NO_TISSUE, xy_l0, 400, Mpp(1, 1)))
    inside = mixed(TILE_OPACITY_IN_GRID)
    assert np.abs(drawn[220, 120] - inside).max() <= 1
    assert np.abs(drawn[220, 160] - inside).max() <= 1
    border = mixed(TILE_OPACITY_IN_GRID, GRID_OPACITY)
    for x in (100, 140):
        assert np.abs(drawn[220, x] - border).max() <= 2
    assert (drawn[220, 99] == GREY).all()
    assert (drawn[220, 182] == GREY).all()


def test_tiny_tiles_are_filled_without_hairlines() -> None:
    columns, rows = np.meshgrid(np.arange(100), np.arange(200))
    xy_l0 = (np.stack([columns, rows], axis=-1).reshape(-1, 2) * 20).astype(np.int64)
    drawn = pixels(tiling_picture(overview(), NO_TISSUE, xy_l0, 20, Mpp(1, 1)))
    assert np.abs(drawn[:400, :200] - mixed(TILE_OPACITY)).max() <= 1
    assert (drawn[401:800, 201:] == GREY).all()


def test_tiles_thinner_than_a_pixel_still_show() -> None:
    drawn = pixels(
        tiling_picture(overview(), NO_TISSUE, np.array([[5012, 4012]], np.int64), 2, Mpp(1, 1))
    )
    assert np.abs(drawn[401, 501] - mixed(TILE_OPACITY)).max() <= 1


@pytest.mark.parametrize(
    ("width", "height", "longer"), [(4000, 2000, 1600), (1200, 900, 1200), (50, 200, 1000)]
)
def test_size_is_bounded_and_small_overviews_are_enlarged(
    width: int, height: int, longer: int
) -> None:
    image = tiling_picture(overview(width, height), NO_TISSUE, NO_TILES, 100, Mpp(1, 1))
    shown_width = round(longer * width / max(width, height))
    assert image.height == round(longer * height / max(width, height)) + STRIP_PX
    assert image.width == max(shown_width, MIN_WIDTH_PX)


def test_max_px_bounds_small_overviews_too() -> None:
    image = tiling_picture(overview(100, 400), NO_TISSUE, NO_TILES, 100, Mpp(1, 1), max_px=300)
    assert image.height == 300 + STRIP_PX


@pytest.mark.parametrize(
    ("limit_um", "length_um"),
    [(999, 500), (1000, 1000), (1999, 1000), (2000, 2000), (4999, 2000), (7, 5), (0.3, 0.2)],
)
def test_scale_bar_lengths_are_round(limit_um: float, length_um: float) -> None:
    assert round_length_um(limit_um) == pytest.approx(length_um)


@pytest.mark.parametrize(
    ("length_um", "label"),
    [(200, "200 µm"), (2000, "2 mm"), (10_000, "1 cm"), (0.5, "0.5 µm"), (127.744, "127.7 µm")],
)
def test_lengths_are_labelled_in_the_unit_people_use(length_um: float, label: str) -> None:
    assert length_label(length_um) == label


def test_scale_bar_is_as_long_as_it_says() -> None:
    # 1000 px of 10 level-0 px at 0.5 µm: 5 µm a pixel. At most 16 % of 5 mm is 800 µm, so the bar
    # says 500 µm and is 100 px long.
    drawn = pixels(tiling_picture(overview(), NO_TISSUE, NO_TILES, 100, Mpp(0.5, 0.5)))
    middle = drawn[800 + STRIP_PX // 2]
    ink = (middle == INK).all(axis=1)
    end = int(np.flatnonzero(ink)[-1])
    assert ink[end - 99 : end + 1].all()
    assert not ink[end - 105 : end - 99].any()


def test_a_caption_tells_the_tiles_and_the_slide() -> None:
    thin = "\N{NARROW NO-BREAK SPACE}"
    facts = picture_facts(1234, 128, Mpp(0.5, 0.5))
    assert facts == (f"1{thin}234 tiles of 128 µm", "slide at 0.5 µm/px")
    assert picture_facts(1, 64, Mpp(1, 1))[0] == "1 tile of 64 µm"


def test_without_tiles_a_caption_says_so_and_gives_no_size_of_them() -> None:
    assert picture_facts(0, 0.499, Mpp(0.499, 0.499)) == ("no tile", "slide at 0.499 µm/px")


def test_facts_make_room_for_the_title_from_the_last_one_on() -> None:
    title, facts = "CMU-1-Small-Region", ("47 tiles of 127.7 µm", "slide at 0.499 µm/px")
    caption = Caption(title, facts, 1.0)
    assert fitted_words(caption, 700) == (title, "47 tiles of 127.7 µm · slide at 0.499 µm/px")
    assert fitted_words(caption, 500) == (title, "47 tiles of 127.7 µm")
    assert fitted_words(caption, 300) == (title, "")
    cut, left = fitted_words(caption, 150)
    assert cut.startswith("CMU-")
    assert "…" in cut
    assert cut.endswith("gion")
    assert left == ""


def test_hostile_titles_are_drawn() -> None:
    for title in ("", "a\nb\0", "\udcff.svs", "x" * 4000, "组织 <b> \N{RIGHT-TO-LEFT OVERRIDE}"):
        image = tiling_picture(
            overview(), NO_TISSUE, NO_TILES, 100, Mpp(0.25, 0.25), title=title, max_px=200
        )
        assert image.width == MIN_WIDTH_PX


def test_twenty_thousand_tiles_are_drawn_quickly() -> None:
    columns, rows = np.meshgrid(np.arange(160), np.arange(125))
    xy_l0 = (np.stack([columns, rows], axis=-1).reshape(-1, 2) * 100).astype(np.int64)
    started = time.perf_counter()
    tiling_picture(overview(1600, 1600), tissue((0, 0, 16_000, 12_500)), xy_l0, 100, Mpp(0.5, 0.5))
    # 0.15 s on one quiet core; the bound leaves room for a busy machine.
    assert time.perf_counter() - started < 2


def test_written_picture_is_a_jpeg_of_the_same_size(tmp_path: Path) -> None:
    image = tiling_picture(overview(), NO_TISSUE, NO_TILES, 100, Mpp(1, 1))
    path = tmp_path / "pictures" / "a.jpg"
    write_picture(path, image)
    with Image.open(path) as read:
        assert (read.format, read.size) == ("JPEG", image.size)
    assert os.listdir(path.parent) == ["a.jpg"]  # noqa: PTH208 - names, hidden ones too


def test_full_disk_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="no space left"):
        write_picture(path, Image.new("RGB", (8, 8)))
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jpg"]
