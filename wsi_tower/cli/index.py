"""``wsi-tower index``: embeddings to something that finds similar tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.options import Shared, shared_options

if TYPE_CHECKING:
    from wsi_tower.cli.index_run import IndexSummary

EPILOG = """\b
Examples:
  wsi-tower index                             the embeddings of the workspace
  wsi-tower index --encoder tower             of one encoder, where there are several
  wsi-tower index                             again: new slides go in, removed ones go out
  wsi-tower index --without slide-7           leave a slide out
  wsi-tower index --kind compressed --shards 4
  wsi-tower index --verify                    is everything as it was written?
"""


@click.command("index", epilog=EPILOG, short_help="Make similar tiles quick to find.")
@shared_options("workspaces", "overwrite", "json", "verbose")
@click.option("--encoder", default="", help="Whose embeddings: a folder below embeddings/.")
@click.option(
    "--kind",
    type=click.Choice(["auto", "flat", "compressed"]),
    default="auto",
    show_default=True,
    help="flat compares with every tile; compressed goes by short codes; auto by --exact-below.",
)
@click.option(
    "--exact-below", type=int, default=1_000_000, show_default=True, help="Tiles of a flat index."
)
@click.option("--lists", type=int, default=0, help="Inverted lists; 0 (default) is about √tiles.")
@click.option("--code-bytes", type=int, default=32, show_default=True, help="Of a tile's code.")
@click.option(
    "--reduction",
    type=click.Choice(["auto", "none", "pca", "opq"]),
    default="auto",
    show_default=True,
    help="How descriptors are shortened for codes; auto is pca above 128 values.",
)
@click.option(
    "--shards", type=int, default=1, show_default=True, help="Parts for several machines, by slide."
)
@click.option("--without", multiple=True, metavar="SLIDE", help="Slide to leave out; repeat.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the tiles learnt from.")
@click.option(
    "--verify", is_flag=True, help="Read the index and its embeddings back; make nothing."
)
def command(*, shared: Shared, verify: bool, **values: Any) -> None:
    """Index the embeddings of a workspace, or bring its index up to date.

    Writes index/ENCODER. Descriptors are not copied: the index needs the embeddings beside it.
    """
    from wsi_tower.cli.index_run import IndexRequest, run_index, run_verify

    request = IndexRequest.parsed(shared, **values)
    if verify:
        told: dict[str, Any] = run_verify(request)
        text = f"{told['index']} is as it was written: {told['tiles']:,} tiles"
    else:
        summary = run_index(request)
        told, text = summary.to_json(), _text(summary)
    if shared.json:
        import json

        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        click.echo(text)


def _text(summary: IndexSummary) -> str:
    change, record = summary.change, summary.change.record
    slides = "1 slide" if len(record.slides) == 1 else f"{len(record.slides)} slides"
    size = f"{summary.bytes / 1e6:.3g} MB, {record.choice.bytes_per_tile} bytes a tile"
    tiles = f"{slides}, {record.tiles:,} tiles of {record.choice.length} values"
    lines = [f"{summary.path}: {change.status}; {tiles}, {size}"]
    if change.status == "updated":
        lines.append(f"  {len(change.added)} slides added, {len(change.removed)} taken out")
    lines += [f"  {sentence}" for sentence in record.choice.why]
    lines += [f"note: {note}" for note in summary.notes]
    return "\n".join(lines)
