"""Random reads of tiles from many stores, as training does them, against the decoder alone.

    python -m benchmarks.reads                      # 24 slides of 10 240² px, copies of one phantom

Rows of all stores are shuffled together and read in batches, with the shard files shared between
the stores. A limit decodes the same streams from memory. Where `benchmarks.peers` has installed
cuCIM, its batch reading of the slide stands in the same table. Prints a table and the growth of
resident memory, and writes ``benchmarks/results/reads.json``.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click
import numpy as np
import simplejpeg

from benchmarks.peers import CUCIM, peer_python, peer_rate
from benchmarks.phantoms import SEED, phantom_slide
from benchmarks.results import RESULTS, write_results
from benchmarks.rounds import Way, in_turn, print_table
from benchmarks.work import file_streams, rate_of, run_tile
from wsi_tower.tiles import ShardFiles, TileStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsi_tower.tiles import Decode

SLIDES = 24
SIDE_PX = 10_240
BATCH = 64
BATCHES = 64


@click.command()
@click.option("--repeats", type=int, default=5, show_default=True)
@click.option("--slides", type=int, default=SLIDES, show_default=True)
def main(repeats: int, slides: int) -> None:
    """Measure random reads."""
    slide = phantom_slide(SIDE_PX)
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        paths = _stores(slide, Path(name), slides)
        cohort = Cohort.opened(paths, "exact")
        fast = Cohort.opened(paths, "fast")
        ways = _ways(slide, cohort, fast)
        before = _resident_mb()
        measured = in_turn(ways, repeats)
        grown = _resident_mb() - before
        cohort.close()
        fast.close()
        error = _error_of_fast(cohort, fast)
    print_table(
        f"{slides} stores of {cohort.tiles // slides} tiles, {BATCH} rows a batch", measured
    )
    click.echo(f"\nResident memory grew by {grown:.0f} MB over all reads")
    click.echo(f"Mean absolute error of decode='fast': {error:.2f} grey levels")
    record = {"slide": slide.name, "stores": slides, "repeats": repeats, "seed": SEED}
    record |= {"grown_mb": round(grown), "fast_error": round(error, 3)}
    write_results("reads", record | {"measured": [one.to_json() for one in measured]})


@dataclass(frozen=True)
class Cohort:
    """Stores that share their open files, and their rows in one random order."""

    stores: tuple[TileStore, ...]
    rows: np.ndarray
    """Store and row: (N, 2)."""

    @classmethod
    def opened(cls, paths: list[Path], decode: Decode) -> Cohort:
        """Open stores that share their files."""
        files = ShardFiles()
        stores = tuple(TileStore.open(path, decode=decode, files=files) for path in paths)
        rows = [(number, row) for number, store in enumerate(stores) for row in range(len(store))]
        return cls(stores, np.random.default_rng(SEED).permutation(np.array(rows)))

    @property
    def tiles(self) -> int:
        """Rows of all stores."""
        return len(self.rows)

    def batches(self) -> Iterator[np.ndarray]:
        """Stores and rows, a batch at a time: (BATCH, 2) each."""
        for first in range(0, len(self.rows) - BATCH, BATCH):
            yield self.rows[first : first + BATCH]

    def read(self, batch: np.ndarray) -> np.ndarray:
        """Pixels of a batch."""
        pixels = np.empty((len(batch), 256, 256, 3), np.uint8)
        for number in np.unique(batch[:, 0]):
            chosen = batch[:, 0] == number
            pixels[chosen] = self.stores[number].pixels[batch[chosen, 1]]
        return pixels

    def rate(self, threads: int) -> float:
        """Tiles a second of threads that each read batches of their own."""
        batches = list(islice(self.batches(), BATCHES))
        with ThreadPoolExecutor(threads) as pool:
            began = perf_counter()
            tiles = sum(len(pixels) for pixels in pool.map(self.read, batches))
            return tiles / (perf_counter() - began)

    def close(self) -> None:
        """Give back the files."""
        for store in self.stores:
            store.close()


def _stores(slide: Path, folder: Path, count: int) -> list[Path]:
    names = [folder / f"slide-{number:03d}.svs" for number in range(count)]
    for name in names:
        os.link(slide, name)
    run_tile(names, folder / "workspace", "--pixels", "native", "-j", "2")
    return sorted((folder / "workspace" / "tiles").glob("*.zarr"))


def _ways(slide: Path, cohort: Cohort, fast: Cohort) -> list[Way]:
    with TileStore.open(cohort.stores[0].path) as store:
        streams = file_streams(slide, store.xy_l0)
    ways = []
    for threads in (1, 2):
        label = f"{threads} thread{'s' * (threads > 1)}"
        exact, quick = f"decode, {label}", f"decode fast, {label}"
        ways += [
            Way(exact, partial(rate_of, _decode, streams, threads)),
            Way(quick, partial(rate_of, _decode_fast, streams, threads)),
            Way(f"pixels[rows], {label}", partial(cohort.rate, threads), exact, 0.8),
            Way(f"pixels[rows], decode='fast', {label}", partial(fast.rate, threads), quick, 0.8),
        ]
    if peer_python(CUCIM) is not None:
        ways.append(
            Way("cuCIM, read_region of a list, 2 workers", partial(peer_rate, CUCIM, slide))
        )
        ways.append(Way("the same beside ours, fast", partial(fast.rate, 2), ways[-1].name, 1.0))
    return ways


def _decode(stream: bytes) -> np.ndarray:
    pixels: np.ndarray = simplejpeg.decode_jpeg(stream, "RGB")
    return pixels


def _decode_fast(stream: bytes) -> np.ndarray:
    pixels: np.ndarray = simplejpeg.decode_jpeg(stream, "RGB", fastdct=True, fastupsample=True)
    return pixels


def _error_of_fast(cohort: Cohort, fast: Cohort) -> float:
    batch = cohort.rows[:200]
    return float(np.abs(cohort.read(batch).astype(int) - fast.read(batch)).mean())


def _resident_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1e3


if __name__ == "__main__":
    main()
