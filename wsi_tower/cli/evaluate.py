"""``wsi-tower evaluate``: how well encoders follow place and tumour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.class_options import class_options
from wsi_tower.cli.options import Shared, distance_options, shared_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsi_tower.cli.evaluate_told import Evaluation

EPILOG = """\b
Examples:
  wsi-tower evaluate addr                                      every embedded encoder
  wsi-tower evaluate addr --encoder tower --encoder similarity
  wsi-tower evaluate retrieval --annotations lesion_annotations
  wsi-tower evaluate retrieval --annotations truth --where split=test --plot
"""
_ADDR_EPILOG = """\b
Examples:
  wsi-tower evaluate addr -w study                     all its encoders, and floors
  wsi-tower evaluate addr --near 1792um --far 9408um   8 and 42 tiles of 224 px at 1 µm/px
  wsi-tower evaluate addr --where split=test --json    slides with this in the cohort table
"""
_RETRIEVAL_EPILOG = """\b
Examples:
  wsi-tower evaluate retrieval --annotations lesion_annotations --where split=test
  wsi-tower evaluate retrieval --annotations qupath --tumour-class DCIS --cut-out-class Necrosis
  wsi-tower evaluate retrieval --annotations truth --csv table.csv --plot
"""

_LABELS_EPILOG = """\b
Examples:
  wsi-tower evaluate labels --annotations truth --plot
  wsi-tower evaluate labels --annotations truth --encoder tower --against colour-statistics
  wsi-tower evaluate labels --annotations truth --curves tuned.csv --against from-scratch
"""
_SEGMENTATION_EPILOG = """\b
Examples:
  wsi-tower evaluate segmentation --predicted found --masks truth
  wsi-tower evaluate segmentation --predicted found --masks truth --images pictures
  wsi-tower evaluate segmentation --predicted tower --against simclr --masks truth --csv table.csv
"""

_COMMON = (
    click.option(
        "--encoder",
        "encoders",
        multiple=True,
        metavar="NAME",
        help="Encoder whose embeddings are scored; repeat for more. Default: all there are.",
    ),
    click.option(
        "--where",
        multiple=True,
        metavar="COLUMN=VALUE",
        help="Only slides with this in the cohort table; repeat for more values or columns.",
    ),
    click.option(
        "--patient-column",
        default="patient",
        show_default=True,
        help="Column of the cohort table that says whose a slide is.",
    ),
    click.option(
        "--floors/--no-floors",
        default=True,
        help="Whether to score what has to be beaten, too: colour alone, and random weights.",
    ),
    click.option(
        "--resamples",
        type=click.IntRange(min=100),
        default=2000,
        show_default=True,
        help="Sets of slides drawn for the intervals.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of pairs and intervals."),
    click.option("--csv", type=click.Path(path_type=Path), help="Write the table there, too."),
)


def _common_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_COMMON):
        verb = option(verb)
    return verb


@click.group("evaluate", epilog=EPILOG, short_help="Score encoders: distances and tumour found.")
def command() -> None:
    """Score what encoders say of tiles, from their embeddings.

    Floors stand beside every score: an encoder that does no better has learnt nothing that helps.
    """


@command.command("addr", epilog=_ADDR_EPILOG, short_help="Distances of distant over near tiles.")
@shared_options("workspaces", "json", "verbose")
@_common_options
@distance_options
@click.option(
    "--pairs",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Near pairs, and distant ones, of each tile.",
)
def addr_command(*, shared: Shared, **values: Any) -> None:
    """Average descriptor distance ratio: distant pairs of tiles over near ones.

    1 where descriptors know nothing of place. Pairs lie on one slide; tiles without a near or a
    distant partner are left out.
    """
    from wsi_tower.cli.evaluate_run import Request, run_addr

    _tell(run_addr(Request.parsed(shared, values), values), shared)


@command.command(
    "retrieval", epilog=_RETRIEVAL_EPILOG, short_help="Tumour tiles that find tumour elsewhere."
)
@shared_options("workspaces", "json", "verbose")
@_common_options
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="ASAP, ImageScope, GeoJSON or Camelyon JSON files, called as their slides.",
)
@click.option(
    "--tumour-class",
    "tumour",
    multiple=True,
    metavar="NAME",
    help="Class that is tumour, in place of the known names; repeat for more.",
)
@click.option(
    "--cut-out-class",
    "cut_out",
    multiple=True,
    metavar="NAME",
    help="Class that is cut out of tumour, in place of the known names; repeat for more.",
)
@click.option(
    "--top", type=click.IntRange(min=1), default=10, show_default=True, help="Answers looked at."
)
@click.option(
    "--query-fraction",
    type=float,
    default=1.0,
    show_default=True,
    help="Least part of a tile within tumour for it to ask.",
)
@click.option(
    "--answer-fraction",
    type=float,
    default=0.5,
    show_default=True,
    help="Least part of a tile within tumour for it to count as tumour.",
)
@click.option(
    "--neighbours",
    type=click.IntRange(min=1),
    default=15,
    show_default=True,
    help="Neighbours that vote.",
)
@click.option(
    "--plot",
    is_flag=False,
    flag_value="",
    metavar="[FOLDER]",
    help="Draw tiles as points; without FOLDER into the workspace's reports/evaluate.",
)
@click.option(
    "--projection",
    type=click.Choice(["auto", "pca", "umap"]),
    default="auto",
    show_default=True,
    help="How points are laid out; umap needs wsi-tower[umap], and auto takes it where it is.",
)
def retrieval_command(*, shared: Shared, **values: Any) -> None:
    """Cross-slide tumour retrieval, and whether neighbours tell tumour.

    Tiles within annotated tumour look for their nearest among all tiles of other patients. Slides
    without an annotation file count as free of tumour.
    """
    from wsi_tower.cli.evaluate_run import Request, run_retrieval

    _tell(run_retrieval(Request.parsed(shared, values), values), shared)


@command.command(
    "labels", epilog=_LABELS_EPILOG, short_help="Classes of tiles from 1 to 100 % of the labels."
)
@shared_options("workspaces", "json", "verbose")
@_common_options
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="ASAP, ImageScope, GeoJSON or Camelyon JSON files, called as their slides.",
)
@class_options
@click.option(
    "--fraction",
    "fractions",
    type=float,
    multiple=True,
    default=(0.01, 0.05, 0.1, 0.25, 1.0),
    show_default=True,
    help="Share of the training tiles; repeat for more.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Draws at each share."
)
@click.option(
    "--test", type=float, default=0.33, show_default=True, help="Share of patients that test."
)
@click.option(
    "--curves",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Table of other curves on these test slides: name, fraction, seed, score.",
)
@click.option(
    "--against",
    default="",
    metavar="CURVE",
    help="Whose score with all labels is to be reached with fewer.",
)
@click.option(
    "--plot",
    is_flag=False,
    flag_value="",
    metavar="[FOLDER]",
    help="Draw the curves; without FOLDER into the workspace's reports/evaluate.",
)
def labels_command(*, shared: Shared, **values: Any) -> None:
    """How far few labels go: a linear head from shares of the training tiles.

    Training tiles are drawn from each class alike; patients that test are the same for all. Says
    how many annotations one encoder saves against another with all of them.
    """
    from wsi_tower.cli.evaluate_labels_run import run_labels
    from wsi_tower.cli.evaluate_run import Request

    _tell(run_labels(Request.parsed(shared, values), values), shared)


@command.command(
    "segmentation", epilog=_SEGMENTATION_EPILOG, short_help="Masks against true ones: Dice, AJI."
)
@shared_options("json", "verbose")
@click.option(
    "--predicted",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="Predicted masks: 0 where nothing is.",
)
@click.option(
    "--masks",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FOLDER",
    help="True masks, called as the predicted ones but for the suffix.",
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The pictures, to score a floor: Otsu's threshold on haematoxylin.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FOLDER",
    help="Other predicted masks to compare with, image by image; repeat for more.",
)
@click.option(
    "--objects",
    type=click.Choice(["auto", "ids", "components"]),
    default="auto",
    show_default=True,
    help="What an object is: a number of the mask, or what is connected.",
)
@click.option(
    "--sigma-px",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Gaussian before the floor's threshold.",
)
@click.option(
    "--resamples",
    type=click.IntRange(min=100),
    default=2000,
    show_default=True,
    help="Sets of images drawn for the intervals.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of intervals.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write a row an image there.")
def segmentation_command(*, shared: Shared, **values: Any) -> None:
    """Dice and aggregated Jaccard index of masks, image by image.

    Two empty masks have a Dice of 1. Other masks and the floor are compared in pairs over images.
    """
    from wsi_tower.cli.evaluate_segmentation_run import run_segmentation

    _tell(run_segmentation(values), shared)


def _tell(evaluation: Evaluation, shared: Shared) -> None:
    if shared.json:
        import json

        click.echo(json.dumps(evaluation.to_json(), indent=2, ensure_ascii=False))
        return
    click.echo(evaluation.headline)
    rows = [tuple(row) for row in evaluation.table]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
    for note in evaluation.notes:
        click.echo(f"note: {note}", err=True)
    for path in evaluation.written:
        click.echo(f"Look at {path}")
