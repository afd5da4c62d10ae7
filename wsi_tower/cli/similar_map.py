"""``wsi-tower similar-map``: where on a slide it looks like this."""

from __future__ import annotations

from typing import Any

import click

from wsi_tower.cli.asking_options import asking_options
from wsi_tower.cli.options import Shared, shared_options

EPILOG = """\b
Examples:
  wsi-tower similar-map --slide a --at 12.3mm,4.5mm           on the same slide
  wsi-tower similar-map --on b --slide a --row 120            on another
  wsi-tower similar-map --on b --image crop.png --mpp 0.25
"""


@click.command(
    "similar-map", epilog=EPILOG, short_help="Paint a slide by how alike its tiles are to one."
)
@shared_options("workspace", "json", "verbose")
@click.option("--on", metavar="SLIDE", help="Slide to paint.  [default: the asked one]")
@asking_options
@click.option("--out", metavar="FOLDER", help="Where to.  [default: the workspace's reports]")
def command(*, shared: Shared, **values: Any) -> None:
    """Paint one slide by the distance of its tiles to a tile, region or picture.

    Writes similarity.png over the thumbnail, similarity.csv, and similarity.zarr, an OME-NGFF label
    image with a pixel a tile.
    """
    from wsi_tower.cli.similar_map_run import MapRequest, run_similar_map

    summary = run_similar_map(MapRequest.parsed(shared, **values))
    if shared.json:
        import json

        click.echo(json.dumps(summary, indent=2, ensure_ascii=False))
        return
    click.echo(
        f"{summary['slide']}: {summary['tiles']:,} tiles, distances "
        f"{summary['nearest']:.4g} to {summary['farthest']:.4g}"
    )
    for file in summary["files"]:
        click.echo(f"Look at {file}")
