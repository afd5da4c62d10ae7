"""``wsi-tower segment``: objects on whole slides, by a model."""

from __future__ import annotations

from typing import Any

import click

from wsi_tower.cli.ending import EXIT_CODES, told_summary
from wsi_tower.cli.options import Shared, shared_options

EPILOG = """\b
Examples:
  wsi-tower segment --model nuclei                      every slide that is tiled
  wsi-tower segment --model nuclei slide-07 slide-12    two of them
  wsi-tower segment --model nuclei --split              touching nuclei apart
  wsi-tower segment --model nuclei --format geojson --format csv --format tiff
  wsi-tower segment --model nuclei --resample --device cuda --batch-size 32
"""


@click.command(
    "segment", epilog=EPILOG + EXIT_CODES, short_help="Find objects on slides: masks and outlines."
)
@click.argument("slides", nargs=-1, metavar="[SLIDES]...")
@shared_options("workspace", "overwrite", "json", "verbose")
@click.option("--model", default="", help="One of the workspace, or the path of its folder.")
@click.option("--method", default="", help="Take its newest model: finetune, patch-contrast.")
@click.option("--name", default="", help="Of the results' folder.  [default: the model's]")
@click.option(
    "--threshold", type=float, help="Least probability of an object.  [default: the model's]"
)
@click.option(
    "--window-px", type=int, default=512, show_default=True, help="Side of what the network sees."
)
@click.option(
    "--overlap-px", type=int, default=128, show_default=True, help="That windows have in common."
)
@click.option(
    "--mpp", type=float, help="µm/px for a model of any.  [default: that of the slide's tiles]"
)
@click.option("--resample", is_flag=True, help="Bring slides to the model's µm/px.")
@click.option(
    "--min-area-um2",
    type=float,
    default=10.0,
    show_default=True,
    help="Smaller objects are dropped.",
)
@click.option("--split", is_flag=True, help="Split touching objects where they narrow.")
@click.option(
    "--split-um",
    type=float,
    default=4.0,
    show_default=True,
    help="Least distance of split objects' middles.",
)
@click.option(
    "--simplify-um",
    type=float,
    default=0.25,
    show_default=True,
    help="How far simplifying may move an outline.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(["geojson", "dsa", "csv", "tiff"]),
    multiple=True,
    default=("geojson", "csv"),
    show_default=True,
    help="Beside the OME-NGFF label image; repeat for more.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of the forward pass.",
)
@click.option("--batch-size", type=int, default=4, show_default=True, help="Windows of a pass.")
@click.option(
    "--device", default="auto", show_default=True, help="auto (every GPU), cpu, cuda or cuda:1."
)
@click.option("--threads", type=int, default=0, help="That read; 0 (default) is one a core.")
@click.option(
    "-j",
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    help="Worker processes; 0 (default) is one a GPU, or one.",
)
@click.option("--scheduler", metavar="TCP", help="Address of a running Dask scheduler.")
@click.option("--report/--no-report", default=True, help="Draw pictures and a page to look at.")
def command(*, shared: Shared, **values: Any) -> None:
    """Find objects, such as nuclei, on the tissue of the workspace's slides.

    SLIDES are names of tiled slides; without any, all of them. Writes a label image, outlines and
    tables to segmentations/MODEL, and a report to look at. A slide that cannot be used becomes a
    row in the report; the others go on. Run it again to resume.
    """
    from wsi_tower.cli.segment_run import SegmentRequest, run_segment

    summary, folder = run_segment(SegmentRequest.parsed(shared, **values))
    told_summary(summary, shared, shared.workspace / "segmentations" / folder)
