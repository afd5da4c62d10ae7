"""How fast `wsi-tower tile` is, beside the decoder alone and OpenSlide, on one slide in one run.

    python -m benchmarks.tiling                     # a phantom of 40 960² px, made once
    python -m benchmarks.tiling --slide my.svs

Prints a table and writes ``benchmarks/results/tiling.json``. Page cache warm. A row of ours is the
``seconds`` that ``tile --json`` reports, start of the process not counted: tissue, grid, outline,
thumbnail, pixels, and reading all of it back. A limit does nothing but decode, or decode and
encode, tiles of the same slide that lie in memory, by the same libraries; one of them writes its
result to a file, too, which is most of what `lossless` does beside computing.
"""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from pathlib import Path

import click
import numpy as np
import simplejpeg
from numcodecs.zstd import Zstd

from benchmarks.phantoms import SEED, phantom_slide
from benchmarks.results import RESULTS, write_results
from benchmarks.rounds import Way, in_turn, print_table
from benchmarks.work import file_streams, openslide_rate, rate_of, run_tile, store_of, tile_rate
from wsi_tower.slides import open_slide
from wsi_tower.tiles.encoding import ZSTD_LEVEL

SIDE_PX = 40_960
LIMIT_TILES = 3000
"""Tiles that the limits are measured on, spread over the slide."""


@click.command()
@click.option("--slide", type=click.Path(path_type=Path), help="A slide; default: a phantom.")
@click.option("--repeats", type=int, default=5, show_default=True)
def main(slide: Path | None, repeats: int) -> None:
    """Measure tiling."""
    slide = slide or phantom_slide(SIDE_PX)
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        measured = in_turn(_ways(slide, Path(folder)), repeats)
        tiles = run_tile([slide], Path(folder) / "none", "--pixels", "none")["slides"][0]["tiles"]
    print_table(f"{slide.name}, {tiles} tissue tiles, two threads where not said", measured)
    grid = next(one for one in measured if one.name.startswith("tile --pixels none"))
    click.echo(f"\nTissue and grid without pixels: {tiles / grid.tiles_per_second:.2f} s")
    record = {"slide": slide.name, "seed": SEED, "repeats": repeats, "tiles": tiles}
    write_results("tiling", record | {"measured": [one.to_json() for one in measured]})


def _ways(slide: Path, folder: Path) -> list[Way]:
    with open_slide(slide) as opened:
        mpp, level = str(opened.mpp.mean), opened.compressed_level(0)
        assert level is not None, "give a slide with JPEG tiles"
        subsampling, side_px = level.subsampling, level.tile.width
    options = ("--mpp", mpp, "--tile-px", str(side_px), "-j", "2")
    run_tile([slide], folder / "none", *options, "--pixels", "none")
    with store_of(slide, folder / "none") as store:
        xy_l0 = store.xy_l0
    spread = xy_l0[np.random.default_rng(SEED).permutation(len(xy_l0))[:LIMIT_TILES]]
    streams = file_streams(slide, spread)

    def end_to_end(mode: str) -> float:
        return tile_rate(slide, folder / mode, *options, "--pixels", mode)

    return [
        Way("decode, 1 thread", partial(rate_of, _decode, streams, 1)),
        Way("decode", partial(rate_of, _decode, streams, 2)),
        Way("decode and encode JPEG", partial(rate_of, _Recode(subsampling), streams, 2)),
        Way("decode and compress (zstd)", partial(rate_of, _compress, streams, 2)),
        Way("the same, and write the file", partial(_written_rate, streams, folder / "file")),
        Way("OpenSlide, read_region, 1 thread", partial(openslide_rate, slide, spread, side_px, 1)),
        Way("OpenSlide, read_region", partial(openslide_rate, slide, spread, side_px, 2)),
        Way("tile --pixels native", partial(end_to_end, "native"), "decode", 3),
        Way("tile --pixels jpeg", partial(end_to_end, "jpeg"), "decode and encode JPEG", 0.8),
        Way(
            "tile --pixels lossless", partial(end_to_end, "lossless"),
            "decode and compress (zstd)", 0.8,
        ),
        Way("tile --pixels none (tissue and grid)", partial(end_to_end, "none")),
    ]  # fmt: skip


def _written_rate(streams: list[bytes], path: Path) -> float:
    """Tiles a second of compressing and appending to one file, flushed to the disk at the end."""
    began = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        rate_of(lambda stream: file.write(_compress(stream)), streams, 2)
        os.fsync(file.fileno())
    rate = len(streams) / (time.perf_counter() - began)
    path.unlink()
    return rate


def _decode(stream: bytes) -> np.ndarray:
    pixels: np.ndarray = simplejpeg.decode_jpeg(stream, "RGB")
    return pixels


class _Recode:
    """Decode, and encode as ``--pixels jpeg`` does by default."""

    def __init__(self, subsampling: str) -> None:
        self._subsampling = subsampling

    def __call__(self, stream: bytes) -> bytes:
        encoded: bytes = simplejpeg.encode_jpeg(
            _decode(stream), quality=90, colorsubsampling=self._subsampling
        )
        return encoded


def _compress(stream: bytes) -> bytes:
    return bytes(Zstd(level=ZSTD_LEVEL).encode(_decode(stream)))


if __name__ == "__main__":
    main()
