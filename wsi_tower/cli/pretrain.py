"""``wsi-tower pretrain``: an encoder from tiles, without labels."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.config import Config, swept_config_option
from wsi_tower.cli.options import (
    INTERRUPTED,
    SOME_FAILED,
    Shared,
    distance_options,
    shared_options,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsi_tower.cli.pretrain_run import PretrainSummary
    from wsi_tower.cli.sweep import Sweep

EPILOG = """\b
Examples:
  wsi-tower pretrain --method tower                     the workspace's tiles; small on a CPU
  wsi-tower pretrain --method tower --resume            go on after a kill
  wsi-tower pretrain --method similarity --near 2mm --far 10mm
  wsi-tower pretrain --method simclr --backbone vit_small_patch16_224 --crop-px 224 --name vit-s
  wsi-tower pretrain --method tower --set restoration_weight=0 --name contrast-only
  wsi-tower pretrain --method tower --set augment.stain=0.05 --set train.clip_norm=1
  wsi-tower pretrain --method tower --images photos/ --steps 2000
  wsi-tower pretrain --config run.yaml -w cohort-a -w cohort-b
  wsi-tower pretrain --config run.yaml --dry-run        lists in it make a sweep
  torchrun --standalone --nproc-per-node 4 -m wsi_tower pretrain --method tower
                                                        on four GPUs (docs/distributed.md)

\b
Settings for --set: those of the method (docs/methods.md), augment.NAME and train.NAME.
"""


@click.command("pretrain", epilog=EPILOG, short_help="Learn an encoder from tiles, without labels.")
@shared_options("workspaces", "overwrite", "json", "verbose")
@swept_config_option(
    *("method", "preset", "epochs", "steps", "batch_size", "backbone", "crop_px", "lr", "start"),
    *("weights", "images", "image_px", "near", "far", "cross_slide", "values", "seed"),
)
@click.option(
    "--method",
    default="tower",
    show_default=True,
    help="tower, similarity, simclr, byol, moco, dino or npid.",
)
@click.option(
    "--preset",
    default="auto",
    show_default=True,
    help="paper (224 px), small (ResNet-18, 96 px), or auto: paper on a GPU.",
)
@click.option("--name", help="Of the run and the encoder.  [default: the method]")
@click.option("--epochs", type=int, help="How often each tile is seen.")
@click.option("--steps", type=int, help="How many batches, in place of --epochs.")
@click.option("--batch-size", type=int, help="Tiles of a step.")
@click.option("--backbone", help="Encoder, any name that timm knows.")
@click.option("--crop-px", type=int, help="Side of a view.")
@click.option("--lr", type=float, help="Highest learning rate.")
@click.option("--start", help="First weights: random or imagenet.")
@click.option("--weights", type=click.Path(path_type=Path), help="File of weights to begin with.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of flat images instead.")
@click.option("--image-px", type=int, help="Side of squares cut from them.")
@distance_options
@click.option("--cross-slide", type=float, default=0.0, help="Distant pairs across slides, 0 to 1.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A setting; see below.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides every draw.")
@click.option("--mix", is_flag=True, help="Allow stores of different resolution.")
@click.option("--strict", is_flag=True, help="Stop at a tile that cannot be read.")
@click.option("--resume", is_flag=True, help="Go on with the run of this name.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard's files, too.")
@click.option("--dry-run", is_flag=True, help="Say what each run of a sweep would do; do nothing.")
@click.option("--shard", metavar="I/N", help="Of a sweep's runs, the share of process I of N.")
def command(
    *, shared: Shared, config: Config, dry_run: bool, shard: str | None, **values: Any
) -> None:
    """Learn an encoder from the tiles of a workspace, without labels.

    Writes runs/NAME (log, checkpoints, pictures) and encoders/NAME. Kill it at any moment and go on
    with --resume: on a CPU to the very same weights.
    """
    # Torch reads it when it loads. Its inner notes, from every rank, would drown what is said here.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if config.lists or dry_run or shard is not None:
        from wsi_tower.cli.sweep import Sweep

        sweep = Sweep.of(config, values, click.get_current_context())
        if sweep is not None:
            _sweep(sweep, shared, shard, is_dry=dry_run)
            return
        _check_sweeps_alone(shard, is_dry=dry_run)
    _pretrain(shared, config, values)


def _pretrain(shared: Shared, config: Config, values: dict[str, Any]) -> None:
    from wsi_tower.cli.pretrain_run import PretrainRequest, run_pretrain
    from wsi_tower.cli.sweep import with_settings_of

    def read() -> PretrainRequest:
        return PretrainRequest.parsed(shared, **with_settings_of(config, values))

    with _told_how_to_go_on():
        summary = run_pretrain(read)
    if summary is None:
        return
    if shared.json:
        _print_json(summary.to_json())
    else:
        _print(summary)


def _sweep(sweep: Sweep, shared: Shared, shard: str | None, *, is_dry: bool) -> None:
    from wsi_tower.cli.sweep import Share
    from wsi_tower.cli.sweep_plan import check_one_process, planned_sweep
    from wsi_tower.cli.sweep_run import run_sweep
    from wsi_tower.cli.sweep_text import print_plan, print_sweep

    check_one_process()
    plan = planned_sweep(sweep, shared, Share.parsed(shard))
    if is_dry:
        if shared.json:
            _print_json(plan.to_json())
        else:
            print_plan(plan)
        return
    summary = run_sweep(plan, quiet=shared.json)
    if shared.json:
        _print_json(summary.to_json())
    else:
        print_sweep(summary)
    if summary.has_bad:
        raise click.exceptions.Exit(SOME_FAILED)


def _check_sweeps_alone(shard: str | None, *, is_dry: bool) -> None:
    from wsi_tower.errors import SettingsError

    if is_dry or shard is not None:
        typed = "--dry-run" if is_dry else f"--shard {shard}"
        raise SettingsError(
            f"{typed} is for a sweep, and nothing varies here; give --config a file with a list in "
            f"it, such as `seed: [0, 1, 2]`"
        )


def _print_json(document: dict[str, Any]) -> None:
    import json

    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


@contextmanager
def _told_how_to_go_on() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        from wsi_tower.training import Ranks

        if Ranks.here().is_first:
            click.echo("interrupted; the same command with --resume goes on from there", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from error


def _print(summary: PretrainSummary) -> None:
    click.echo(
        f"{summary.method}: {summary.steps} steps in {summary.seconds:.0f} s, "
        f"loss {summary.loss:.4g}; encoder {summary.name} in {summary.encoder}"
    )
    for picture in summary.pictures:
        click.echo(f"Look at {picture}")
