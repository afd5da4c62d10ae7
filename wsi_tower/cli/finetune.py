"""``wsi-tower finetune``: a model that segments, from labelled pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.config import Config, config_option
from wsi_tower.cli.options import Shared, shared_options

if TYPE_CHECKING:
    from wsi_tower.cli.finetune_run import FinetuneSummary

EPILOG = """\b
Examples:
  wsi-tower finetune --init tower --images train/images --masks train/masks --mpp 0.25
  wsi-tower finetune --init random --images im --masks ma --mpp 0.25      what the others must beat
  wsi-tower finetune --init tower --fresh-decoder --images im --masks ma --mpp 0.25 --name control
  wsi-tower finetune --init simclr --labels 5% --images im --masks ma --mpp 0.25
  wsi-tower finetune --init tower --annotations qupath/ --class-name Gland
  wsi-tower finetune --init tower --set train.lr=3e-4 --set augment.stain=0.1 --annotations qupath
  wsi-tower segment --model finetune-tower              what it is for

\b
Settings for --set: augment.NAME and train.NAME (docs/finetune.md).
"""


@click.command("finetune", epilog=EPILOG, short_help="Learn to segment from labelled pictures.")
@shared_options("workspace", "overwrite", "json", "verbose")
@config_option
@click.option(
    "--init",
    default="tower",
    show_default=True,
    help="A method (its newest encoder), random, or an encoder by name.",
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of pictures.")
@click.option("--masks", type=click.Path(path_type=Path), help="Folder of their masks.")
@click.option("--mpp", type=float, help="Resolution of the pictures in µm/px.")
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    help="Folder of outlines on the workspace's slides, in place of images and masks.",
)
@click.option(
    "--tiles-per-slide",
    type=int,
    default=400,
    show_default=True,
    help="Most tiles of an annotated slide.",
)
@click.option("--name", help="Of the run and the model.  [default: finetune-INIT]")
@click.option("--backbone", default="resnet18", show_default=True, help="Encoder of --init random.")
@click.option("--fresh-decoder", is_flag=True, help="Leave out a decoder that was pre-trained.")
@click.option("--class-name", default="nucleus", show_default=True, help="What foreground is.")
@click.option("--only", multiple=True, metavar="NAME", help="A picture to take; repeat for more.")
@click.option(
    "--labels", default="100%", show_default=True, help="Share of the masks that may be used."
)
@click.option(
    "--validation", default="20%", show_default=True, help="Share of those that only validates."
)
@click.option(
    "--patience",
    type=int,
    default=10,
    show_default=True,
    help="Validations without a better Dice that end it; 0: none do.",
)
@click.option("--steps", type=int, default=1000, show_default=True, help="Most steps.")
@click.option("--batch-size", type=int, default=8, show_default=True, help="Crops of a step.")
@click.option("--crop-px", type=int, default=256, show_default=True, help="Side of a crop.")
@click.option("--lr", type=float, default=1e-3, show_default=True, help="Highest learning rate.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="A setting; see below.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides every draw.")
@click.option("--resume", is_flag=True, help="Go on with the run of this name.")
def command(*, shared: Shared, config: Config, **values: Any) -> None:
    """Learn to segment from a few labelled pictures, beginning with a pre-trained encoder.

    A mask has its picture's name and size; 0 is background, any other whole number foreground.
    Writes runs/NAME and models/NAME, the weights with the best Dice on the validation pictures.
    """
    from wsi_tower.cli.finetune_run import FinetuneRequest, run_finetune

    config.checked()
    summary = run_finetune(FinetuneRequest.parsed(shared, **values))
    if shared.json:
        _print_json(summary)
    else:
        click.echo(
            f"validation Dice {summary.dice:.4f} after step {summary.best_step} of "
            f"{summary.steps}, in {summary.seconds:.0f} s; model {summary.name} in {summary.model}"
        )


def _print_json(summary: FinetuneSummary) -> None:
    import json

    click.echo(json.dumps(summary.to_json(), indent=2, ensure_ascii=False))
