"""How fast pairs are drawn, and what the sampler takes, on slides made of tile positions alone.

    python -m benchmarks.pairs --repeats 5

Prints a table and writes ``benchmarks/results/pairs.json``. One process, one core: run it with
``OMP_NUM_THREADS=1`` or not, nothing in it starts a thread. The anchors of every batch are drawn
beforehand; a batch is one call of `PairSampler.partners`, its draws included. Every figure is the
median of the repeats, each with batches of its own.
"""

from __future__ import annotations

import pickle
import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click
import numpy as np

from benchmarks.results import write_results
from wsi_tower.draws import Draws
from wsi_tower.pairs import PairKind, PairSampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SEED = 1
KINDS: tuple[PairKind, ...] = ("near", "distant")


@dataclass(frozen=True)
class Measurement:
    """The sampler on one layout of tiles."""

    name: str
    """The layout."""
    tiles: int
    """Tiles of all its slides."""
    seconds: float
    """Time to make the sampler, which is to learn who has partners."""
    bytes_per_tile: float
    """Size of the pickled sampler, as it goes to a worker."""
    with_partner: dict[PairKind, float]
    """Share of the tiles that have a partner of each kind."""
    pairs_per_second: dict[PairKind, float]
    """Pairs of each kind."""


@click.command()
@click.option("--tiles", type=int, default=200_000, show_default=True, help="Of the large slide.")
@click.option("--batch-size", type=int, default=4096, show_default=True)
@click.option("--batches", type=int, default=50, show_default=True, help="Of every repeat.")
@click.option("--repeats", type=int, default=5, show_default=True)
def main(tiles: int, batch_size: int, batches: int, repeats: int) -> None:
    """Measure drawing pairs at 2 and 10 mm."""
    layouts = {
        f"one slide of {tiles:,} tiles of 128 µm": [tissue(tiles, 128.0)],
        "one small slide, 10.5 mm wide": [disc(10_500, 128.0)],
        "200 slides, 6 to 30 mm wide": [disc(6000 + 120 * number, 256.0) for number in range(200)],
    }
    click.echo(
        f"{'':<38}{'tiles':>9}{'made in':>10}{'bytes/tile':>12}{'near/s':>13}{'distant/s':>13}"
    )
    measured = []
    for name, slides in layouts.items():
        one = measurement(name, slides, (repeats, batches, batch_size))
        rates = "".join(f"{one.pairs_per_second[kind]:>13,.0f}" for kind in KINDS)
        click.echo(
            f"{name:<38}{one.tiles:>9,}{one.seconds:>8.2f} s{one.bytes_per_tile:>12.0f}{rates}"
        )
        measured.append(one)
    record = {"batch_size": batch_size, "batches": batches, "repeats": repeats, "seed": SEED}
    write_results("pairs", record | {"measured": [asdict(one) for one in measured]})


def tissue(tiles: int, pitch_um: float) -> NDArray[np.float64]:
    """Centres of neighbouring tiles in an ellipse with holes."""
    side = int(np.ceil(np.sqrt(1.7 * tiles)))
    y, x = np.mgrid[:side, :side]
    is_tissue = np.hypot((x - side / 2) / side, (y - side / 2) / (0.96 * side)) < 0.5
    rng = np.random.default_rng(SEED)
    for centre_x, centre_y, radius in rng.uniform(0, side, (60, 3)):
        is_tissue &= np.hypot(x - centre_x, y - centre_y) > 0.04 * radius
    cells = np.stack([x[is_tissue], y[is_tissue]], axis=1)[:tiles]
    if len(cells) < tiles:
        raise click.ClickException(f"the ellipse holds {len(cells)} tiles, not {tiles}")
    return (cells + 0.5) * pitch_um


def disc(width_um: float, pitch_um: float) -> NDArray[np.float64]:
    """Centres of the tiles in a disc."""
    along = np.arange(0, width_um + 1, pitch_um)
    x, y = np.meshgrid(along, along)
    inside = np.hypot(x - width_um / 2, y - width_um / 2) <= width_um / 2
    return np.stack([x[inside], y[inside]], axis=1)


def measurement(
    name: str, slides: Sequence[NDArray[np.float64]], shape: tuple[int, int, int]
) -> Measurement:
    """Measure one layout; ``shape`` is repeats, batches, batch size."""
    seconds = []
    for _ in range(shape[0]):
        began = time.perf_counter()
        sampler = PairSampler(slides)
        seconds.append(time.perf_counter() - began)
    return Measurement(
        name,
        tiles=len(sampler),
        seconds=statistics.median(seconds),
        bytes_per_tile=len(pickle.dumps(sampler)) / len(sampler),
        with_partner={kind: float(sampler.has_partner(kind).mean()) for kind in KINDS},
        pairs_per_second={kind: _rate(sampler, kind, shape) for kind in KINDS},
    )


def _rate(sampler: PairSampler, kind: PairKind, shape: tuple[int, int, int]) -> float:
    repeats, batches, batch_size = shape
    anchors = np.random.default_rng(SEED).choice(sampler.anchors(kind), shape)
    samples = np.arange(batches * batch_size).reshape(batches, batch_size)
    rates = []
    for repeat in range(repeats):
        began = time.perf_counter()
        for batch in range(batches):
            draws = Draws(SEED, repeat, samples[batch])
            sampler.partners(kind, anchors[repeat, batch], draws)
        rates.append(batches * batch_size / (time.perf_counter() - began))
    return statistics.median(rates)


if __name__ == "__main__":
    main()
