"""40x slides to 20x and 10x: how fast, against decoding at reduced scale alone, and how exact.

    python -m benchmarks.reduced                    # a phantom of 40 960² px at 0.25 µm/px

The slide is copied with each chroma subsampling into a file without the levels that would serve 20x
and 10x: where a level has the resolution asked for, it is read. Prints two tables and writes
``benchmarks/results/reduced.json``: speed of ``tile --pixels jpeg`` against decoding the same
source tiles at the scale that `wsi_tower.jpeg` chooses and encoding the result, all in memory; and
mean and largest error of that scale, and of the decoder's own, against averaging every whole block
of exactly decoded pixels.
"""

from __future__ import annotations

import tempfile
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cv2
import numpy as np
import simplejpeg
import tifffile

from benchmarks.phantoms import SEED, phantom_slide
from benchmarks.results import RESULTS, write_results
from benchmarks.rounds import Way, in_turn, print_table
from benchmarks.work import file_streams, rate_of, run_tile, store_of, tile_rate
from wsi_tower.geometry import LevelBox
from wsi_tower.jpeg import Reduction, decode, decode_reduced, encode, read_head
from wsi_tower.slides import open_slide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsi_tower.slides import Slide

SIDE_PX = 40_960
MPP = 0.25
SUBSAMPLINGS = ("444", "422", "420")
REDUCTIONS: tuple[Reduction, ...] = (2, 4)
TILE_PX = 256
ERROR_TILES = 400
LIMIT_TILES = 800


@click.command()
@click.option("--repeats", type=int, default=5, show_default=True)
@click.option("--side-px", type=int, default=SIDE_PX, show_default=True)
def main(repeats: int, side_px: int) -> None:
    """Measure reduced decoding."""
    slide = phantom_slide(side_px, MPP)
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        folder = Path(name)
        run_tile([slide], folder / "grid", "--mpp", str(MPP), "--pixels", "none")
        with store_of(slide, folder / "grid") as store:
            xy_l0 = store.xy_l0
        copies = {one: _copy(slide, folder / f"{one}.tif", one) for one in SUBSAMPLINGS}
        ways = [
            way
            for subsampling, reduction in product(SUBSAMPLINGS, REDUCTIONS)
            for way in _ways(copies[subsampling], xy_l0, subsampling, reduction, folder)
        ]
        measured = in_turn(ways, repeats)
        errors = list(_errors(copies, xy_l0))
    print_table(
        f"{slide.name}, two threads; a tile is one of {TILE_PX} px that comes out", measured
    )
    _print_errors(errors)
    record = {"slide": slide.name, "seed": SEED, "repeats": repeats, "errors": errors}
    write_results("reduced", record | {"measured": [one.to_json() for one in measured]})


def _copy(slide: Path, path: Path, subsampling: str) -> Path:
    """A slide's levels but those that would serve 20x and 10x, encoded anew, as a tiled TIFF."""
    with open_slide(slide) as opened, tifffile.TiffWriter(path, bigtiff=True) as file:
        for number, level in enumerate(opened.info.levels):
            if 1 < level.downsample <= max(REDUCTIONS):
                continue
            mpp = MPP * level.downsample
            file.write(
                _encoded(opened, number, subsampling),
                shape=(level.size.height, level.size.width, 3), dtype="uint8",
                tile=(TILE_PX, TILE_PX), photometric="ycbcr", subsampling=_factors(subsampling),
                compression="jpeg", subfiletype=int(number > 0), metadata=None,
                resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="centimeter",
            )  # fmt: skip
    return path


def _encoded(slide: Slide, level: int, subsampling: str) -> Iterator[bytes]:
    size = slide.info.levels[level].size
    for y, x in product(range(0, size.height, TILE_PX), range(0, size.width, TILE_PX)):
        pixels = slide.read_level_box(level, LevelBox(x, y, TILE_PX, TILE_PX))
        yield encode(pixels, quality=90, subsampling=subsampling)


def _factors(subsampling: str) -> tuple[int, int]:
    return {"444": (1, 1), "422": (2, 1), "420": (2, 2)}[subsampling]


def _ways(
    copy: Path, xy_l0: np.ndarray, subsampling: str, reduction: Reduction, folder: Path
) -> list[Way]:
    mpp = MPP * reduction
    label = f"{subsampling} to {mpp:g} µm/px"
    limit = f"decode reduced and encode, {label}"
    options = ("--mpp", str(mpp), "--pixels", "jpeg", "-j", "2")
    groups = _groups(copy, xy_l0, reduction)
    return [
        Way(limit, partial(rate_of, _Reduce(reduction), groups, 2)),
        Way(
            f"decode whole and encode, {label}", partial(rate_of, _Reduce(reduction, 1), groups, 2)
        ),
        Way(f"tile, {label}", partial(tile_rate, copy, folder / "out", *options), limit, 0.8),
    ]


def _groups(copy: Path, xy_l0: np.ndarray, reduction: int) -> list[list[bytes]]:
    """Streams of the tiles that become one, for some of those."""
    side_l0 = TILE_PX * reduction
    whole = np.unique(xy_l0 // side_l0, axis=0) * side_l0
    chosen = np.random.default_rng(SEED).permutation(whole)[: LIMIT_TILES // reduction]
    steps = np.arange(0, side_l0, TILE_PX)
    offsets = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    streams = file_streams(copy, (chosen[:, None] + offsets).reshape(-1, 2))
    step = len(offsets)
    return [streams[first : first + step] for first in range(0, len(streams), step)]


class _Reduce:
    """Decode the tiles that become one, and encode as many pixels as they become."""

    def __init__(self, reduction: Reduction, within: Reduction | None = None) -> None:
        """``within``: how far they are reduced while decoded; None: as `wsi_tower.jpeg` does."""
        self._reduction, self._within = reduction, within

    def __call__(self, streams: list[bytes]) -> bytes:
        side = TILE_PX // self._reduction
        tile = np.empty((TILE_PX, TILE_PX, 3), np.uint8)
        for place, stream in enumerate(streams):
            if self._within == 1:
                pixels = _averaged(decode(stream), self._reduction)
            else:
                pixels = decode_reduced(stream, read_head(stream), self._reduction)
            y, x = divmod(place, self._reduction)
            tile[y * side : (y + 1) * side, x * side : (x + 1) * side] = pixels
        return encode(tile, quality=90, subsampling="444")


def _averaged(pixels: np.ndarray, reduction: int) -> np.ndarray:
    size = (pixels.shape[1] // reduction, pixels.shape[0] // reduction)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def _errors(copies: dict[str, Path], xy_l0: np.ndarray) -> Iterator[dict[str, Any]]:
    corners = np.random.default_rng(SEED).permutation(xy_l0)[:ERROR_TILES]
    for subsampling, copy in copies.items():
        streams = file_streams(copy, corners)
        for reduction in (2, 4, 8):
            means = [_block_means(decode(stream), reduction) for stream in streams]
            ours = [decode_reduced(one, read_head(one), reduction) for one in streams]
            own = [
                simplejpeg.decode_jpeg(
                    one, "RGB", min_height=TILE_PX // reduction, min_width=TILE_PX // reduction
                )
                for one in streams
            ]
            yield {
                "subsampling": subsampling,
                "reduction": reduction,
                "chosen_mean": _mean_error(ours, means),
                "decoder_mean": _mean_error(own, means),
            }


def _block_means(pixels: np.ndarray, reduction: int) -> np.ndarray:
    side = TILE_PX // reduction
    blocks = pixels.reshape(side, reduction, side, reduction, 3)
    means: np.ndarray = blocks.mean(axis=(1, 3), dtype=np.float64)
    return means


def _mean_error(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    errors = [np.abs(one - other).mean() for one, other in zip(found, expected, strict=True)]
    return round(float(np.mean(errors)), 3)


def _print_errors(errors: list[dict[str, Any]]) -> None:
    click.echo(
        f"\nMean absolute error against averaged whole pixels, grey levels, {ERROR_TILES} tiles\n"
        f"{'chroma':<8}{'reduction':>10}{'as chosen':>12}{'by the decoder alone':>24}"
    )
    for one in errors:
        click.echo(
            f"{one['subsampling']:<8}{one['reduction']:>10}{one['chosen_mean']:>12.2f}"
            f"{one['decoder_mean']:>24.2f}"
        )


if __name__ == "__main__":
    main()
