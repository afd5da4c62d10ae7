"""Every way of storing pixels against OpenSlide's, for every kind of tile that slides hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import openslide
import pytest

from tests.slides.builders import (
    APERIO,
    drop_tiles,
    picture,
    write_rgb_jpeg_aperio,
    write_tiled,
    write_ycbcr_jpeg_aperio,
)
from tests.slides.conformance import area_means
from tests.tiles.conftest import job_for
from wsi_tower.tiles import TileStore, tile_slide

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wsi_tower.slides import Rgb
    from wsi_tower.workspace import Workspace

OWN_GRID = (240, 256, 512, 1024)
MARGIN_PX = 77
"""The slide reaches so far beyond whole tiles: its last tiles are padded."""
OTHER_GRID = {"tile_px": 96, "overlap_px": 8}
"""A grid that lies across the file's tiles, and reaches into the padded ones."""
COPYING_ERROR = {"jpeg": 3.0, "lossless": 0.0, "none": 0.0}
"""Mean absolute error in grey levels: of JPEG at quality 90 on such blobs, and of nothing."""


@dataclass(frozen=True)
class Format:
    """How a slide holds its tiles."""

    write: Callable[[Path, Rgb, int], Path]
    """From a path without suffix, pixels and the side of tiles."""
    is_native: bool
    """Whether its tiles can be copied."""


def jpeg(subsampling: tuple[int, int]) -> Callable[[Path, Rgb, int], Path]:
    def write(path: Path, image: Rgb, side: int) -> Path:
        options = {"compression": "jpeg", "subsampling": subsampling, "tile": (side, side)}
        return write_tiled(path.with_suffix(".tif"), [image], **options)

    return write


def shared_tables(subsampling: str) -> Callable[[Path, Rgb, int], Path]:
    def write(path: Path, image: Rgb, side: int) -> Path:
        return write_ycbcr_jpeg_aperio(path.with_suffix(".svs"), image, side, subsampling)

    return write


def rgb(path: Path, image: Rgb, side: int) -> Path:
    return write_rgb_jpeg_aperio(path.with_suffix(".svs"), image, side)


def packed(compression: str) -> Callable[[Path, Rgb, int], Path]:
    def write(path: Path, image: Rgb, side: int) -> Path:
        options = {"compression": compression, "tile": (side, side)}
        return write_tiled(path.with_suffix(".tif"), [image], **options)

    return write


def jpeg2000(path: Path, image: Rgb, side: int) -> Path:
    options = {"compression": 33005, "compressionargs": {"level": 0}, "description": APERIO}
    return write_tiled(path.with_suffix(".svs"), [image], tile=(side, side), **options)


FORMATS = {
    "jpeg-444": Format(jpeg((1, 1)), is_native=True),
    "jpeg-420": Format(jpeg((2, 2)), is_native=True),
    "jpeg-444-shared-tables": Format(shared_tables("444"), is_native=True),
    "jpeg-420-shared-tables": Format(shared_tables("420"), is_native=True),
    "jpeg-rgb": Format(rgb, is_native=True),
    "jpeg-2000": Format(jpeg2000, is_native=False),
    "lzw": Format(packed("lzw"), is_native=False),
    "deflate": Format(packed("deflate"), is_native=False),
}
NATIVE = [name for name, one in FORMATS.items() if one.is_native]


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """A slide of a format with tiles of a side, written once."""
    folder = tmp_path_factory.mktemp("formats")
    written: dict[tuple[str, int], Path] = {}

    def slide(name: str, side: int) -> Path:
        if (name, side) not in written:
            size = 2 * max(side, 256) + MARGIN_PX
            image = picture(size, size - 31)
            written[name, side] = FORMATS[name].write(folder / f"{name}-{side}", image, side)
        return written[name, side]

    return slide


def tiled(slide: Path, workspace: Workspace, **settings: object) -> TileStore:
    tile_slide(job_for(slide, workspace, min_tissue=0.0, mpp=0.5, **settings))
    return TileStore.open(workspace.tile_store(slide.stem))


def expected_tiles(slide: Path, store: TileStore, scale: int = 1) -> list[Rgb]:
    """The store's tiles through OpenSlide itself, level-0 pixels averaged by ``scale``."""
    side = store.plan.tile_px * scale
    with openslide.OpenSlide(slide) as opened:
        regions = [
            np.asarray(opened.read_region((int(x), int(y)), 0, (side, side)).convert("RGB"))
            for x, y in store.xy_l0
        ]
    return [np.asarray(area_means(region, scale)) if scale > 1 else region for region in regions]


@pytest.mark.parametrize("side", OWN_GRID)
@pytest.mark.parametrize("name", NATIVE)
def test_copied_tiles_are_openslides_bit_for_bit(
    slides: Callable[[str, int], Path], workspace: Workspace, name: str, side: int
) -> None:
    slide = slides(name, side)
    with tiled(slide, workspace, pixels="native", tile_px=side) as store:
        assert len(store) == (2 if side > 256 else 512 // side) ** 2
        np.testing.assert_array_equal(store.pixels[:], expected_tiles(slide, store))


@pytest.mark.parametrize("pixels", COPYING_ERROR)
@pytest.mark.parametrize("side", [240, 256])
@pytest.mark.parametrize("name", FORMATS)
def test_tiles_across_the_files_own_are_openslides(
    slides: Callable[[str, int], Path], workspace: Workspace, name: str, side: int, pixels: str
) -> None:
    slide = slides(name, side)
    with tiled(slide, workspace, pixels=pixels, **OTHER_GRID) as store:
        right, lower = store.xy_l0.max(axis=0) + 96
        assert min(right, lower) > 2 * side, "tiles reach into the padded ones"
        found, expected = store.pixels[:].astype(int), expected_tiles(slide, store)
    assert np.abs(found - expected).mean() <= COPYING_ERROR[pixels]


@pytest.mark.parametrize("side", [240, 1024])
@pytest.mark.parametrize("name", NATIVE)
def test_decoding_at_reduced_scale_is_near_area_averages(
    slides: Callable[[str, int], Path], workspace: Workspace, name: str, side: int
) -> None:
    slide = slides(name, side)
    tile_slide(job_for(slide, workspace, min_tissue=0.0, mpp=1.0, tile_px=96, pixels="lossless"))
    with TileStore.open(workspace.tile_store(slide.stem)) as store:
        assert store.plan.reduction == 2
        expected = expected_tiles(slide, store, scale=2)
        error = np.abs(store.pixels[:] - np.array(expected)).mean()
    # Whole decoding smooths halved chroma and this does not. On tissue it is half a grey level.
    assert error <= (2.0 if "420" in name else 0.7)


@pytest.mark.parametrize("name", ["jpeg-2000", "lzw", "deflate"])
def test_what_is_no_jpeg_goes_the_general_way(
    slides: Callable[[str, int], Path], workspace: Workspace, name: str
) -> None:
    with tiled(slides(name, 256), workspace) as store:
        assert store.pixel_mode == "jpeg"
        assert "no JPEG tiles" in store.pixel_reason


@pytest.mark.parametrize("pixels", ["auto", "lossless", "none"])
def test_tiles_that_were_never_scanned_are_white(
    tmp_path: Path, workspace: Workspace, pixels: str
) -> None:
    slide = write_rgb_jpeg_aperio(tmp_path / "sparse.svs", picture(600, 600), 256)
    drop_tiles(slide, (4,))
    with tiled(slide, workspace, pixels=pixels, tile_px=256) as store:
        assert store.pixel_mode == ("jpeg" if pixels == "auto" else pixels)
        whole = expected_tiles(
            write_rgb_jpeg_aperio(tmp_path / "whole.svs", picture(600, 600), 256), store
        )
        assert (store.pixels[3] == 255).all()
        error = np.abs(store.pixels[:3].astype(int) - whole[:3]).mean()
    assert error <= COPYING_ERROR[store.pixel_mode]
    assert pixels != "auto" or "never scanned" in store.pixel_reason
