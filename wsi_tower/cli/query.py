"""``wsi-tower query``: find the tiles that look like this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.asking_options import asking_options
from wsi_tower.cli.options import Shared, shared_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsi_tower.cli.query_run import QuerySummary

EPILOG = """\b
Examples:
  wsi-tower query --slide a --at 12.3mm,4.5mm              the tile at a place
  wsi-tower query --slide a --row 120 --out                files and a picture of the answer
  wsi-tower query --slide a --region nest.geojson          many tiles, drawn in QuPath
  wsi-tower query --image crop.png --mpp 0.25              a picture of no known slide
  wsi-tower query --slide a --row 120 --like b:7 --unlike c:31
  wsi-tower query --slide a --row 120 --where site=breast --where site=lung --per-slide 1
  wsi-tower query --slide a --level slide                  similar slides
"""


@click.command("query", epilog=EPILOG, short_help="Find the tiles that look like this one.")
@shared_options("workspace", "json", "verbose")
@asking_options
@click.option("--level", type=click.Choice(["tile", "slide"]), default="tile", help="What answers.")
@click.option("-k", "--hits", type=int, default=12, show_default=True, help="Answers wanted.")
@click.option(
    "--per-slide", type=int, default=3, show_default=True, help="Of a slide at most; 0: any."
)
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Only such slides; repeat.")
@click.option("--own-slide", is_flag=True, help="Let the asked slide answer, too.")
@click.option("--own-patient", is_flag=True, help="Let other slides of its patient answer, too.")
@click.option(
    "--patient-column", default="patient", show_default=True, help="Cohort column of the patient."
)
@click.option("--probes", type=int, default=64, show_default=True, help="Lists looked through.")
@click.option(
    "--candidates", type=int, default=256, show_default=True, help="Tiles compared exactly."
)
@click.option("-j", "--workers", type=click.IntRange(min=1), default=1, help="Search shards apart.")
@click.option("--scheduler", metavar="TCP", help="Search shards on a running Dask cluster.")
@click.option(
    "--out",
    is_flag=False,
    flag_value="",
    metavar="[FOLDER]",
    help="Write CSV, JSON, GeoJSON and a picture; without FOLDER into the workspace's reports.",
)
def command(*, shared: Shared, **values: Any) -> None:
    """Find the tiles of a cohort that look most like a tile, region, picture or slide.

    The asked slide, and other slides of its patient, do not answer unless you let them.
    """
    from wsi_tower.cli.query_run import QueryRequest, run_query

    summary = run_query(QueryRequest.parsed(shared, **values))
    if shared.json:
        import json

        click.echo(json.dumps(summary.to_json(), indent=2, ensure_ascii=False))
    else:
        _print(summary)


def _print(summary: QuerySummary) -> None:
    answer = summary.answer
    rows = [_cells(rank, hit.to_json()) for rank, hit in enumerate(answer.hits, start=1)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = [names, *([row.get(name, "") for name in names] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        click.echo(_aligned(line, widths).rstrip())
    click.echo(
        f"{len(answer.hits)} hits among {answer.searched_tiles:,} tiles of "
        f"{answer.searched_slides} slides in {answer.seconds * 1000:.0f} ms"
    )
    for note in answer.notes:
        click.echo(f"note: {note}", err=True)
    for file in summary.files:
        click.echo(f"Look at {file}")


def _cells(rank: int, hit: dict[str, Any]) -> dict[str, str]:
    """A line of the table."""
    cells = {"": f"{rank}", "slide": hit.pop("slide")}
    del rank
    place = hit.pop("centre_um", None)
    if place is not None:
        cells["row"] = f"{hit.pop('row')}"
        cells["mm"] = ",".join(f"{value / 1000:.2f}" for value in place)
    cells["distance"] = f"{hit.pop('distance'):.4g}"
    for name in ("xy_l0", "merged", "tiles"):
        hit.pop(name, None)
    return cells | {name: str(value) for name, value in hit.items()}


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded)
