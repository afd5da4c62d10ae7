"""``wsi-tower classify``: tissue classes of tiles, and where on the slides they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wsi_tower.cli.class_options import class_options
from wsi_tower.cli.ending import EXIT_CODES
from wsi_tower.cli.options import Shared, shared_options

EPILOG = """\b
Examples:
  wsi-tower classify --annotations truth                        learn tumour, then map every slide
  wsi-tower classify --annotations qupath --class Tumor --class Stroma --no-background
  wsi-tower classify --annotations truth --head neighbours --name by-neighbours
  wsi-tower classify --annotations truth --split-column split   parts from the cohort table
  wsi-tower classify --model classify-tower                     further slides
  wsi-tower classify --model classify-tower slide-07 --show other
"""


@click.command(
    "classify", epilog=EPILOG + EXIT_CODES, short_help="Tell tissue classes apart: maps of tiles."
)
@click.argument("slides", nargs=-1, metavar="[SLIDES]...")
@shared_options("workspaces", "overwrite", "json", "verbose")
@click.option("--model", default="", help="A classifier that was learnt before, or its folder.")
@click.option(
    "--annotations",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Learn from these: files called as their slides (docs/evaluate.md).",
)
@click.option("--encoder", default="", help="Whose embeddings.  [default: the only one there is]")
@click.option("--name", default="", help="Of the classifier.  [default: classify-ENCODER]")
@class_options
@click.option(
    "--head",
    type=click.Choice(["linear", "neighbours"]),
    default="linear",
    show_default=True,
    help="Logistic regression, or votes of the nearest tiles.",
)
@click.option(
    "--neighbours", type=int, default=15, show_default=True, help="Nearest tiles that vote."
)
@click.option("--balanced", is_flag=True, help="Let classes weigh alike, however frequent.")
@click.option(
    "--calibration",
    type=click.Choice(["temperature", "platt", "none"]),
    default="temperature",
    show_default=True,
    help="How probabilities are mended on validation slides.",
)
@click.option("--patient-column", default="patient", show_default=True, help="Whose a slide is.")
@click.option(
    "--validation",
    type=float,
    default=0.25,
    show_default=True,
    help="Share of patients that calibrate.",
)
@click.option(
    "--test", type=float, default=0.25, show_default=True, help="Share of patients that test."
)
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Only slides with this.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@click.option("--show", default="", metavar="CLASS", help="Class to map.  [default: the first]")
@click.option(
    "-j", "--workers", type=click.IntRange(min=0), default=1, show_default=True, help="Processes."
)
@click.option("--report/--no-report", default=True, help="Draw pictures and a page to look at.")
def command(*, shared: Shared, **values: Any) -> None:
    """Learn classes of tiles from annotations, or take a classifier, and map slides.

    SLIDES are names of embedded slides; without any, all of them. Patients are parted into those
    that train, calibrate and test. Writes probabilities of every tile and a map of each slide to
    classifications/NAME. Run it again with --model to go on.
    """
    from wsi_tower.cli.classify_run import ClassifyRequest, run_classify
    from wsi_tower.cli.classify_told import told_classification

    told_classification(run_classify(ClassifyRequest.parsed(shared, **values)), shared)
