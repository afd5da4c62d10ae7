"""``wsi-tower pairs``: which near and distant tile pairs a training would draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.options import Shared, distance_options, shared_options

if TYPE_CHECKING:
    from wsi_tower.cli.pairs_run import PairsOfStore, PairsSummary

EPILOG = """\b
Examples:
  wsi-tower pairs                                every store of the workspace
  wsi-tower pairs --near 2mm --far 10mm --plot   pictures into WORKSPACE/reports/pairs
  wsi-tower pairs --near 1792um --far 9408um     8 and 42 tiles of 224 px at 1 µm/px
  wsi-tower pairs study/tiles/a.zarr --plot=look pictures of one store into look/
  wsi-tower pairs --cross-slide 0.5 --json       half the distant partners from other slides
"""


@click.command("pairs", epilog=EPILOG, short_help="Show which tile pairs are near and distant.")
@click.argument("stores", nargs=-1, metavar="[STORE…]")
@shared_options("workspace", "json", "verbose")
@distance_options
@click.option(
    "--cross-slide",
    type=float,
    default=0.0,
    show_default=True,
    help="Share of distant partners taken from other slides, 0 to 1.",
)
@click.option(
    "--pairs",
    type=click.IntRange(1, 1_000_000),
    default=10_000,
    show_default=True,
    help="Pairs of each kind to draw on every slide.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which pairs.")
@click.option(
    "--plot",
    is_flag=False,
    flag_value="",
    metavar="[FOLDER]",
    help="Draw a picture a slide; without FOLDER into the workspace's reports/pairs.",
)
def command(*, shared: Shared, **values: Any) -> None:
    """Show how many tiles have near and distant partners, and draw some pairs.

    Distances are micrometres from centre to centre. Tiles without a near or without a distant
    partner on their slide are counted as left out: no pair can be drawn for them.
    """
    from wsi_tower.cli.pairs_run import PairsRequest, run_pairs

    summary = run_pairs(PairsRequest.parsed(shared, **values))
    if shared.json:
        import json

        click.echo(json.dumps(summary.to_json(), indent=2, ensure_ascii=False))
    else:
        _print(summary)


def _print(summary: PairsSummary) -> None:
    heads = ("slide", "tiles", "near", "distant", "left out", "median near", "median distant")
    table = [heads, *map(_cells, summary.rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for name, *cells in table:
        aligned = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        click.echo("  ".join([f"{name:<{widths[0]}}", *aligned]))
    tiles = sum(row.tiles for row in summary.rows)
    kept = tiles - sum(row.left_out for row in summary.rows)
    click.echo(f"{kept:,} of {tiles:,} tiles have a near and a distant partner")
    for note in summary.notes:
        click.echo(f"note: {note}", err=True)
    for row in summary.rows:
        if row.picture is not None:
            click.echo(f"Look at {row.picture}")


def _cells(row: PairsOfStore) -> tuple[str, ...]:
    share = f" ({row.left_out / row.tiles:.1%})" if row.left_out else ""
    return (
        row.slide_id,
        f"{row.tiles:,}",
        f"{row.with_partner['near']:,}",
        f"{row.with_partner['distant']:,}",
        f"{row.left_out:,}{share}",
        _median(row.drawn["near"].median_um),
        _median(row.drawn["distant"].median_um),
    )


def _median(length_um: float | None) -> str:
    return "–" if length_um is None else f"{length_um / 1000:.2f} mm"
