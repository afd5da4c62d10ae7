"""``wsi-tower tile``: slides to tile stores."""

from __future__ import annotations

from typing import Any

import click

from wsi_tower.cli.ending import EXIT_CODES, told_summary
from wsi_tower.cli.options import Shared, reader_option, shared_options

EPILOG = """\b
Examples:
  wsi-tower tile slides/                               every slide below a folder
  wsi-tower tile slides/ --mpp 1 --tile-px 224 -j 8    10x, for ResNets, on 8 cores
  wsi-tower tile cohort.csv -w study                   slides, pixel sizes and masks from a list
  wsi-tower tile a.svs --tile-px native                copy the slide's own JPEG tiles
  wsi-tower tile old.tif --mpp-of old.tif=0.25         a slide without pixel size
  wsi-tower tile slides/ --tissue-mask outlines/       outlines edited in QuPath, by slide id
  wsi-tower tile slides/ --pixels none                 coordinates only
  wsi-tower tile slides/ --scheduler tcp://host:8786   on a running Dask cluster

"""


@click.command(
    "tile", epilog=EPILOG + EXIT_CODES, short_help="Cut slides into tiles: one Zarr store a slide."
)
@click.argument("inputs", nargs=-1, required=True, metavar="SLIDE|FOLDER|URL|LIST.csv…")
@shared_options("workspace", "workers", "overwrite", "json", "verbose")
@click.option("--mpp", type=float, default=0.5, show_default=True, help="Resolution, µm per pixel.")
@click.option("--tile-px", default="256", show_default=True, metavar="N|native", help="Tile side.")
@click.option("--overlap", type=int, default=0, show_default=True, help="Pixels tiles share.")
@click.option(
    "--min-tissue", type=float, default=0.25, show_default=True, help="Least tissue fraction."
)
@click.option("--max-pen", type=float, default=1.0, help="Largest pen fraction; 1 is off.")
@click.option("--min-od", type=float, default=0.0, help="Least mean optical density; 0 is off.")
@click.option("--focus", is_flag=True, help="Measure focus of every tile (at 2 µm/px).")
@click.option(
    "--min-focus", type=float, default=0.0, help="Least focus; 0 is off, else needs --focus."
)
@click.option(
    "--pixels",
    type=click.Choice(["auto", "native", "jpeg", "lossless", "none"]),
    default="auto",
    show_default=True,
    help="How pixels are stored; auto copies the slide's own JPEG tiles where it can.",
)
@click.option("--jpeg-quality", type=int, default=90, show_default=True, help="For --pixels jpeg.")
@click.option("--allow-upsample", is_flag=True, help="Make tiles finer than the slide has.")
@click.option(
    "--mpp-of",
    multiple=True,
    metavar="NAME=VALUE",
    help="Pixel size of a slide, by file name or id; repeat for more.",
)
@click.option(
    "--tissue-mask",
    metavar="FILE|FOLDER",
    help="Your own tissue: image mask or GeoJSON, or a folder of them by slide id.",
)
@click.option("--mask-um", type=float, default=8.0, show_default=True, help="Mask pixel, µm.")
@reader_option
@click.option("--scheduler", metavar="TCP", help="Address of a running Dask scheduler.")
@click.option("--report/--no-report", default=True, help="Draw pictures and a page to look at.")
def command(*, shared: Shared, **values: Any) -> None:
    """Cut slides into tiles with tissue masks and physical coordinates.

    Writes one Zarr store a slide into the workspace, and a report to look at. A slide that cannot
    be used becomes a row in the report; the others go on. Run it again to resume.
    """
    from wsi_tower.cli.tile_run import TileRequest, run_tile

    summary = run_tile(TileRequest.parsed(shared, **values))
    told_summary(summary, shared, shared.workspace)
