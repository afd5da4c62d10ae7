"""Whether embedding waits for its tiles: ``embed`` beside the network alone on one resident batch.

    python -m benchmarks.embed                          # ResNet-18 on tiles of 256 px, batch 64
    python -m benchmarks.embed --backbone resnet50 --precision bf16 --batch-size 256 --device cuda

Prints a table and writes ``benchmarks/results/embed.json``. ``resident`` is the forward pass on one
batch of float pictures that lies on the device already: no disk, no decoder, no copy, no features
taken back. ``embed`` is all that the verb does for a slide, from opening its store to the finished
cache. Both take turns, so that a drifting machine touches both alike; the ratio is the median over
the turns, and the target is 0.95.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import torch

from benchmarks.results import write_results
from wsi_tower.embeddings import (
    EmbedJob,
    EmbedSettings,
    EncoderChoice,
    ForwardSettings,
    Recipe,
    embed_slide,
    embedder_for,
    load_tile_encoder,
)
from wsi_tower.models import Network, Origin, build_encoder, save_network
from wsi_tower.phantom import PhantomSettings, write_phantom
from wsi_tower.slides import SlideEntry
from wsi_tower.stain import StainReference
from wsi_tower.tiles import TileJob, TileSettings, TileStore, tile_slide
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsi_tower.embeddings import Embedder

SEED = 1
TARGET = 0.95


@click.command()
@click.option("--backbone", default="resnet18", show_default=True)
@click.option("--batch-size", default=64, show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--compile", is_flag=True, help="Build the network with torch.compile.")
@click.option("--stain", type=click.Choice(["none", "reinhard", "macenko"]), default="none")
@click.option("--turns", default=3, show_default=True, help="Measurements of each.")
@click.option("--slide-um", default=4000, show_default=True, help="Side of the phantom.")
def main(**options: Any) -> None:
    """Measure how much of the network's own pace embedding keeps."""
    with tempfile.TemporaryDirectory() as folder:
        job = _job(Path(folder), options)
        measured = _measured(job, options["turns"])
    for name, value in measured.items():
        click.echo(f"{name:<40}{value:>10.3f}")
    click.echo(f"target of the pace beside resident: {TARGET}")
    write_results("embed", {"options": options, "measured": measured})


def _job(folder: Path, options: dict[str, Any]) -> EmbedJob:
    slide, side_um = folder / "phantom.svs", options["slide_um"]
    write_phantom(slide, PhantomSettings(1, width_um=side_um, height_um=side_um, mpp=0.5), SEED)
    workspace = Workspace(folder / "workspace").prepared()
    tile_slide(TileJob(SlideEntry(slide.stem, str(slide)), workspace, TileSettings()))
    torch.manual_seed(SEED)
    network = Network(build_encoder(options["backbone"])).eval()
    save_network(workspace.encoders / "bench", network, Origin("bench", "tower", 256, 0.5))
    choice = EncoderChoice(name="bench")
    stain = options["stain"]
    recipe = Recipe(
        workspace,
        choice,
        load_tile_encoder(choice, workspace).digest,
        "bench",
        EmbedSettings(precision=options["precision"], stain=stain),
        ForwardSettings(options["batch_size"], options["device"], compile=options["compile"]),
        None if stain == "none" else StainReference.built_in(stain),
    )
    return EmbedJob(workspace.tile_store(slide.stem), recipe, overwrite=True)


def _measured(job: EmbedJob, turns: int) -> dict[str, float]:
    embedder = embedder_for(job.recipe)
    with TileStore.open(job.store) as store:
        tiles, side_px = len(store), store.plan.tile_px
    batches = max(2, tiles // embedder.forward.batch_size)
    resident = _resident(embedder, side_px, batches)
    ways: dict[str, tuple[Callable[[], object], int]] = {
        "resident": (resident, batches * embedder.forward.batch_size),
        "embed": (lambda: embed_slide(job), tiles),
    }
    pace: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):  # the first warms caches, clocks and compilers up
        for name, (way, count) in ways.items():
            began = time.perf_counter()
            way()
            if turn:
                pace[name].append(count / (time.perf_counter() - began))
    pairs = zip(pace["resident"], pace["embed"], strict=True)
    return {
        "tiles": float(tiles),
        **{f"{name}, tiles a second": statistics.median(found) for name, found in pace.items()},
        "embed, pace beside resident": statistics.median(own / alone for alone, own in pairs),
    }


def _resident(embedder: Embedder, side_px: int, batches: int) -> Callable[[], None]:
    """So many forward passes of one batch that lies on the device, waited for at the end."""
    device, settings = embedder.device, embedder.settings
    images = torch.rand(embedder.forward.batch_size, 3, side_px, side_px, device=device)
    images = images.to(memory_format=torch.channels_last)

    def passes() -> None:
        is_half = settings.precision == "bf16"
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=is_half),
        ):
            for _ in range(batches):
                embedder.module(images)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return passes


if __name__ == "__main__":
    main()
