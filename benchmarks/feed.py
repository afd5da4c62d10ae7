"""Whether training waits for its tiles: a real epoch beside the same steps on one resident batch.

    python -m benchmarks.feed                          # ResNet-18, 96-px crops, batch 64
    python -m benchmarks.feed --backbone resnet50 --crop-px 224 --precision bf16    # on a GPU

Prints a table and writes ``benchmarks/results/feed.json``. Blocks of steps are run in turn, so that
a drifting machine touches all alike; each ratio is the median over the blocks. ``resident views``
neither reads nor augments: it is the network alone. ``resident tiles`` augments the same tiles anew
at each step, as a feed without any disk, decoder or threads would.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import numpy as np
import timm
import torch
from torch import Tensor, nn

from benchmarks.results import write_results
from wsi_tower.models import Encoder, Features, Network
from wsi_tower.phantom import PhantomSettings, write_phantom
from wsi_tower.slides import SlideEntry
from wsi_tower.tiles import TileJob, TileSettings, tile_slide
from wsi_tower.training import (
    AugmentSettings,
    FedStep,
    Loss,
    Objective,
    StorePictures,
    TensorDraws,
    TileBatch,
    TileFeed,
    TrainSettings,
    ViewPlan,
    ViewRecipe,
)
from wsi_tower.training.trainee import Trainee
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsi_tower.training.settings import Precision

SEED = 1


class _Backbone(Encoder):
    """A timm network of random weights."""

    in_channels = 3
    pyramid_channels = ()
    pyramid_strides = ()

    def __init__(self, name: str) -> None:
        super().__init__()
        self.architecture = name
        body = timm.create_model(name, num_classes=0)
        self.width = cast("int", body.num_features)
        self.body = body

    def forward(self, images: Tensor) -> Features:
        return Features(self.body(images), ())


class _TwoViews(Objective):
    """Two views through the network; the loss costs next to nothing, as most losses do."""

    def views(self) -> ViewPlan:
        return ViewPlan()

    def network(self, encoder: Encoder) -> Network:
        return Network(encoder, head=nn.Linear(encoder.width, 128), descriptor="head")

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        del draws
        both = torch.cat([network.describe(view) for view in batch.views])
        return Loss(both.square().mean())


@click.command()
@click.option("--backbone", default="resnet18", show_default=True)
@click.option("--batch-size", default=64, show_default=True)
@click.option("--crop-px", default=96, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32")
@click.option("--blocks", default=3, show_default=True, help="Blocks of steps of each kind.")
@click.option("--block-steps", default=4, show_default=True, help="Steps of a block.")
@click.option("--on-device", is_flag=True, help="Let the device decode JPEG tiles.")
@click.option("--slide-um", default=5000, show_default=True, help="Side of the phantom.")
def main(**options: Any) -> None:
    """Measure how much of the network's own pace training keeps."""
    with tempfile.TemporaryDirectory() as folder:
        store = _store(Path(folder), options["slide_um"])
        with StorePictures.open([store], warn=click.echo) as pictures:
            measured = _measured(pictures, options)
    for name, value in measured.items():
        click.echo(f"{name:<40}{value:>10.3f}")
    write_results("feed", {"options": options, "measured": measured})


def _store(folder: Path, side_um: int) -> Path:
    slide = folder / "phantom.svs"
    write_phantom(slide, PhantomSettings(1, width_um=side_um, height_um=side_um, mpp=0.5), SEED)
    workspace = Workspace(folder / "workspace").prepared()
    tile_slide(TileJob(SlideEntry(slide.stem, str(slide)), workspace, TileSettings()))
    return workspace.tile_store(slide.stem)


def _measured(pictures: StorePictures, options: dict[str, Any]) -> dict[str, float]:
    precision: Precision = options["precision"]
    settings = TrainSettings(
        10**6,
        options["batch_size"],
        precision=precision,
        seed=SEED,
        decode_on_device=options["on_device"],
    )
    augment = AugmentSettings(
        options["crop_px"], stain=0.05, brightness=0.1, contrast=0.1, saturation=0.1, hue=0.05
    )
    objective = _TwoViews()
    recipe = ViewRecipe(objective.views(), augment)
    feed = TileFeed(pictures, np.arange(len(pictures)), recipe, settings)
    network = objective.network(_Backbone(options["backbone"]))
    trainee = Trainee(objective, network, settings, feed.device)
    with closing(feed.steps(0, settings.steps)) as steps:
        return _compared(trainee, feed, steps, options)


def _compared(
    trainee: Trainee, feed: TileFeed, steps: Iterator[FedStep], options: dict[str, Any]
) -> dict[str, float]:
    def trained(fed: FedStep) -> FedStep:
        trainee.gradients(fed)
        trainee.step(1e-3, 0.0)
        return fed

    resident = trained(next(steps))
    tiles = torch.empty((0,))
    ways: dict[str, Callable[[], FedStep]] = {
        "resident views": lambda: trained(resident),
        "resident tiles": lambda: trained(feed.made(feed.order.tiles(0, feed.share), tiles)),
        "epoch": lambda: trained(next(steps)),
    }
    tiles = _tiles(feed)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options["blocks"]):
        for name, way in ways.items():
            way()
            began = time.perf_counter()
            for _ in range(options["block_steps"]):
                way()
            seconds[name].append((time.perf_counter() - began) / options["block_steps"])
    pairs = list(zip(*seconds.values(), strict=True))
    return {
        **{f"{name}, seconds a step": statistics.median(all_) for name, all_ in seconds.items()},
        "epoch, pace beside resident views": statistics.median(one[0] / one[2] for one in pairs),
        "epoch, pace beside resident tiles": statistics.median(one[1] / one[2] for one in pairs),
    }


def _tiles(feed: TileFeed) -> Tensor:
    """The first step's tiles on the device: uint8 (B, C, H, W)."""
    numbers = feed.order.tiles(0, feed.share).anchors
    side_px = feed.pictures.side_px
    pixels = np.empty((len(numbers), side_px, side_px, feed.pictures.channels), np.uint8)
    feed.pictures.read_into(numbers, pixels)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(feed.device)


if __name__ == "__main__":
    main()
