"""How fast tiles leave a slide and a store, beside OpenSlide on the same slide in the same run.

    make bench                     # a phantom of 20 × 20 mm at 0.5 µm/px, made once
    python -m benchmarks.tiling --slide my.svs --repeats 5

Prints a table and writes ``benchmarks/results/tiling.json``. Every figure is the median of the
repeats, run in turn so that a drifting machine touches all alike; the ratio is to OpenSlide's
one-thread loop of the same repeat. Warm page cache; process start-up is not counted.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import openslide

from benchmarks.results import RESULTS, write_results
from wsi_tower.phantom import PhantomSettings, write_phantom
from wsi_tower.phantom.recipe import GENERATOR
from wsi_tower.slides import SlideEntry, open_slide
from wsi_tower.tiles import PixelMode, TileJob, TileSettings, TileStore, tile_slide
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
SEED = 1
TILES_TO_READ = 2000
"""Tiles of the loops that read one by one."""


@dataclass(frozen=True)
class Measurement:
    """One way to handle tiles, measured."""

    name: str
    """What was done."""
    tiles_per_second: float
    """Median over the repeats."""
    ratio: float
    """Median ratio to OpenSlide's loop of the same repeat."""


@click.command()
@click.option("--slide", type=click.Path(path_type=Path), help="A slide; default: a phantom.")
@click.option("--repeats", type=int, default=3, show_default=True)
def main(slide: Path | None, repeats: int) -> None:
    """Measure tiling and reading."""
    slide = slide or _phantom()
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        ways = _ways(slide, Path(folder))
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats):
            for name, way in ways.items():
                rates[name].append(way())
    measured = [_measurement(name, rates) for name in ways]
    _print(measured)
    _write(slide, measured, repeats)


def _phantom() -> Path:
    path = RESULTS / f"{GENERATOR}-20mm.svs"
    if not path.exists():
        click.echo("Writing the phantom (once, minutes) …")
        path.parent.mkdir(exist_ok=True)
        settings = PhantomSettings(1, width_um=20_000, height_um=20_000, mpp=0.5, seed=SEED)
        write_phantom(path, settings, 0)
    return path


BASELINE = "OpenSlide, read_region a tile, 1 thread"


def _ways(slide: Path, folder: Path) -> dict[str, Callable[[], float]]:
    """Every way by name; each returns tiles a second. Stores that are read are made first."""
    modes: tuple[PixelMode, ...] = ("native", "jpeg", "lossless")
    stores = {mode: _tile(slide, folder / f"read-{mode}", mode)[1] for mode in modes}
    rows = np.random.default_rng(SEED).permutation(len(stores["native"]))[:TILES_TO_READ]
    ways: dict[str, Callable[[], float]] = {BASELINE: partial(_openslide, slide, stores["native"])}
    for mode in modes:
        ways[f"tile --pixels {mode}, end to end"] = partial(_tile_again, slide, folder, mode)
        ways[f"store.pixels[row], {mode}, random rows, 1 thread"] = partial(
            _read, stores[mode], rows
        )
    ways["tile --pixels none (tissue and grid only)"] = partial(_tile_again, slide, folder, "none")
    return ways


def _tile(slide: Path, folder: Path, mode: PixelMode) -> tuple[float, TileStore]:
    """Tiles a second of a whole tiling, and its store."""
    workspace = Workspace(folder).prepared()
    with open_slide(slide) as opened:
        settings = TileSettings(mpp=opened.mpp.mean, pixels=mode)
    began = time.perf_counter()
    outcome = tile_slide(TileJob(SlideEntry(slide.stem, str(slide)), workspace, settings))
    seconds = time.perf_counter() - began
    return outcome.tiles / seconds, TileStore.open(workspace.tile_store(slide.stem))


def _tile_again(slide: Path, folder: Path, mode: PixelMode) -> float:
    place = folder / "again"
    rate, store = _tile(slide, place, mode)
    store.close()
    shutil.rmtree(place)
    return rate


def _openslide(slide: Path, store: TileStore) -> float:
    corners = store.xy_l0[:TILES_TO_READ]
    with openslide.OpenSlide(slide) as opened:
        began = time.perf_counter()
        for x_l0, y_l0 in corners:
            np.asarray(opened.read_region((int(x_l0), int(y_l0)), 0, (256, 256)))
        return len(corners) / (time.perf_counter() - began)


def _read(store: TileStore, rows: np.ndarray) -> float:
    began = time.perf_counter()
    for row in rows:
        store.pixels[int(row)]
    return len(rows) / (time.perf_counter() - began)


def _measurement(name: str, rates: dict[str, list[float]]) -> Measurement:
    ratios = [rate / base for rate, base in zip(rates[name], rates[BASELINE], strict=True)]
    return Measurement(name, statistics.median(rates[name]), statistics.median(ratios))


def _print(measured: list[Measurement]) -> None:
    click.echo(f"{'':<52}{'tiles/s':>10}{'ratio':>8}")
    for one in measured:
        click.echo(f"{one.name:<52}{one.tiles_per_second:>10,.0f}{one.ratio:>7.1f}×")


def _write(slide: Path, measured: list[Measurement], repeats: int) -> None:
    record = {
        "slide": slide.name,
        "slide_bytes": slide.stat().st_size,
        "seed": SEED,
        "repeats": repeats,
        "measured": [asdict(one) for one in measured],
    }
    write_results("tiling", record)


if __name__ == "__main__":
    main()
