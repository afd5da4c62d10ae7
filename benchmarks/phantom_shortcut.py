"""Whether colour gives tumour away on phantom slides: it must not.

    make phantom-shortcut           # 12 slides of 8 × 6 mm at 0.5 µm/px, written once
    python -m benchmarks.phantom_shortcut --seed 2 --check

Tiles of 128 µm that are wholly tumour or wholly not are told apart by their k nearest neighbours
among tiles of other patients. Printed for three kinds of feature: mean and standard deviation of
red, green and blue; the share of pixels on an edge; and 512 numbers of a ResNet-18 with random
weights. The first must stay at or under 60 % balanced accuracy; the others are floors that a
trained encoder has to beat. Writes ``benchmarks/results/shortcut-<seed>.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import cv2
import numpy as np
import openslide

from benchmarks.phantom_truth import crops_of, written
from benchmarks.results import RESULTS, write_results
from wsi_tower.phantom import PhantomSettings
from wsi_tower.phantom.recipe import GENERATOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Features = NDArray[np.float64]

TILE_PX = 256
MPP = 0.5
FOLDS = 4
NEIGHBOURS = (1, 5, 15, 45)
MOST_BY_COLOUR = 0.60
"""Balanced accuracy that colour may reach, at any number of neighbours."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles of all slides, one row each."""

    rgb: NDArray[np.uint8]
    """N × side × side × 3."""
    is_tumour: NDArray[np.bool_]
    """N."""
    patient: NDArray[np.int64]
    """N."""


@click.command()
@click.option("--slides", default=12, show_default=True, help="Phantoms to write, two a patient.")
@click.option("--per-class", default=100, show_default=True, help="Tiles of a class and slide.")
@click.option("--seed", default=1, show_default=True, help="Of the phantoms and of the draws.")
@click.option("--check", is_flag=True, help="Fail where colour does better than 60 %.")
def main(slides: int, per_class: int, seed: int, check: bool) -> None:
    """Print how well tumour is told from normal by things that should not tell it."""
    tiles = _tiles(slides, per_class, seed)
    click.echo(
        f"{GENERATOR}, seed {seed}: {tiles.is_tumour.sum()} tumour and {(~tiles.is_tumour).sum()} "
        f"normal tiles of {slides} slides, {FOLDS} folds over patients"
    )
    colour = colour_features(tiles.rgb)
    _print_difference(colour, tiles.is_tumour)
    ways: dict[str, Callable[[], Features]] = {
        "mean and SD of RGB": lambda: colour,
        "edge density": lambda: edge_density(tiles.rgb),
        "untrained ResNet-18": lambda: untrained_features(tiles.rgb, seed),
    }
    click.echo(f"{'balanced accuracy at k =':<26}" + "".join(f"{k:>8}" for k in NEIGHBOURS))
    reached: dict[str, list[float]] = {}
    for name, way in ways.items():
        features = _or_none(way)
        if features is None:
            continue
        reached[name] = [balanced_accuracy(features, tiles, k, seed) for k in NEIGHBOURS]
        click.echo(f"{name:<26}" + "".join(f"{value:>8.1%}" for value in reached[name]))
    write_results(
        f"shortcut-{seed}",
        {"generator": GENERATOR, "seed": seed, "slides": slides, "k": NEIGHBOURS} | reached,
    )
    worst = max(reached["mean and SD of RGB"])
    if check and worst > MOST_BY_COLOUR:
        raise click.ClickException(f"colour tells tumour at {worst:.1%}, over {MOST_BY_COLOUR:.0%}")


def colour_features(rgb: NDArray[np.uint8]) -> Features:
    """Mean and standard deviation of each channel: N × 6."""
    flat = rgb.reshape(len(rgb), -1, 3).astype(np.float64)
    return np.hstack([flat.mean(axis=1), flat.std(axis=1)])


def edge_density(rgb: NDArray[np.uint8]) -> Features:
    """Share of pixels whose Sobel gradient of grey exceeds 100 levels: N × 1."""
    shares = []
    for tile in rgb:
        grey = cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY).astype(np.float32)
        gradient = np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1))
        shares.append([(gradient > 100).mean()])
    return np.array(shares)


def untrained_features(rgb: NDArray[np.uint8], seed: int) -> Features:
    """Pooled features of timm's ``resnet18`` with the random weights of a seed: N × 512.

    Raises:
        ModuleNotFoundError: torch or timm is not installed.
    """
    import timm
    import torch

    torch.manual_seed(seed)
    network = timm.create_model("resnet18", pretrained=False, num_classes=0).eval()
    mean, deviation = (np.array(value) for value in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rgb), 32):
            batch = (rgb[start : start + 32] / 255 - mean) / deviation
            images = torch.from_numpy(batch.transpose(0, 3, 1, 2).astype(np.float32))
            parts.append(network(images).numpy())
    return np.concatenate(parts).astype(np.float64)


def balanced_accuracy(features: Features, tiles: Tiles, neighbours: int, seed: int) -> float:
    """Mean over the folds of the mean over both classes of the share found."""
    rng = np.random.default_rng(seed)
    found = []
    for held_out in np.array_split(np.unique(tiles.patient), FOLDS):
        test = np.isin(tiles.patient, held_out)
        train = balanced(rng, np.flatnonzero(~test), tiles.is_tumour)
        voted = vote(features[train], tiles.is_tumour[train], features[test], neighbours)
        truth = tiles.is_tumour[test]
        found.append(np.mean([(voted[truth == one] == one).mean() for one in (False, True)]))
    return float(np.mean(found))


def balanced(
    rng: np.random.Generator, rows: NDArray[np.int64], is_tumour: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """As many rows of one class as of the other."""
    classes = [rng.permutation(rows[is_tumour[rows] == one]) for one in (False, True)]
    smaller = min(map(len, classes))
    return np.concatenate([of_class[:smaller] for of_class in classes])


def vote(
    known: Features, is_tumour: NDArray[np.bool_], asked: Features, neighbours: int
) -> NDArray[np.bool_]:
    """What most of the nearest known say, after scaling to the known ones' deviation: N."""
    centre, spread = known.mean(axis=0), known.std(axis=0) + 1e-12
    known, asked = (known - centre) / spread, (asked - centre) / spread
    distances = (known**2).sum(axis=1) - 2 * asked @ known.T
    nearest = np.argpartition(distances, neighbours - 1, axis=1)[:, :neighbours]
    votes: NDArray[np.bool_] = is_tumour[nearest].mean(axis=1) > 0.5
    return votes


def _tiles(slides: int, per_class: int, seed: int) -> Tiles:
    settings = PhantomSettings(
        slides, width_um=8_000, height_um=6_000, mpp=MPP, seed=seed, pen_every=0
    )
    paths = written(RESULTS / f"shortcut-{GENERATOR}-{seed}-{slides}", settings)
    rng = np.random.default_rng(seed)
    rgb, is_tumour, patient = [], [], []
    for index, path in enumerate(paths):
        size = (settings.size.width, settings.size.height)
        crops = crops_of(path, size, TILE_PX, TILE_PX).drawn(rng, per_class)
        rgb += _read(path, crops.corners)
        is_tumour += crops.is_tumour.tolist()
        patient += [index // 2] * len(crops.corners)
    return Tiles(np.stack(rgb), np.array(is_tumour), np.array(patient))


def _read(path: Path, corners: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    with openslide.OpenSlide(path) as slide:
        return [
            np.asarray(slide.read_region((x, y), 0, (TILE_PX, TILE_PX)).convert("RGB"))
            for x, y in corners.tolist()
        ]


def _print_difference(colour: Features, is_tumour: NDArray[np.bool_]) -> None:
    """How far apart the classes' means lie, in pooled standard deviations."""
    tumour, normal = colour[is_tumour], colour[~is_tumour]
    pooled = np.sqrt((tumour.var(axis=0) + normal.var(axis=0)) / 2)
    apart = (tumour.mean(axis=0) - normal.mean(axis=0)) / pooled
    names = ("R", "G", "B", "SD R", "SD G", "SD B")
    told = "  ".join(f"{name} {d:+.2f}" for name, d in zip(names, apart, strict=True))
    click.echo(f"tumour minus normal, in pooled SD: {told}")


def _or_none(way: Callable[[], Features]) -> Any:
    try:
        return way()
    except ModuleNotFoundError as error:
        click.echo(f"not measured: {error.name} is missing; pip install --group evidence")
        return None


if __name__ == "__main__":
    main()
