"""``wsi-tower embed``: tiles to descriptors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wsi_tower.cli.ending import EXIT_CODES, told_summary
from wsi_tower.cli.options import Shared, shared_options

EPILOG = """\b
Examples:
  wsi-tower embed --method tower                    the newest encoder that tower trained
  wsi-tower embed --encoder imagenet                a baseline; also names of timm and hf-hub:a/b
  wsi-tower embed --encoder-file my.py:make         a torch module that a function of yours returns
  wsi-tower embed --method tower --stain reinhard   stain normalised slide by slide
  wsi-tower embed --method similarity --descriptor pooled
  wsi-tower embed --method tower --device cuda --precision bf16 --batch-size 256
  wsi-tower embed --method tower -w cohort-a -w cohort-b
"""


@click.command(
    "embed", epilog=EPILOG + EXIT_CODES, short_help="Describe every tile: one HDF5 file a slide."
)
@shared_options("workspaces", "overwrite", "json", "verbose")
@click.option("--method", default="", help="Take its newest encoder: tower, similarity, simclr, …")
@click.option("--encoder", default="", help="One of yours, imagenet, a timm name, hf-hub:a/b.")
@click.option("--encoder-file", default="", metavar="FILE.py:FUNCTION", help="One made by a file.")
@click.option("--weights", type=click.Path(path_type=Path), help="Weights for --encoder NAME.")
@click.option("--name", default="", help="Of the caches' folder.  [default: the encoder's]")
@click.option(
    "--descriptor",
    type=click.Choice(["auto", "head", "pooled"]),
    default="auto",
    show_default=True,
    help="What describes a tile; auto is the method's own.",
)
@click.option(
    "--slide-descriptor",
    type=click.Choice(["mean", "median", "mosaic"]),
    default="mean",
    show_default=True,
    help="What describes a slide: mean, geometric median, or k-means mosaic of its tiles.",
)
@click.option("--mosaic-tiles", type=int, default=16, show_default=True, help="Tiles of a mosaic.")
@click.option(
    "--stain",
    type=click.Choice(["none", "reinhard", "macenko"]),
    default="none",
    show_default=True,
    help="Stain normalisation, fitted on each slide's tissue.",
)
@click.option("--stain-reference", metavar="FILE.json|SLIDE", help="What stain is brought to.")
@click.option("--resample", is_flag=True, help="Resize tiles to the encoder's µm/px.")
@click.option("--input-px", type=int, help="Resize tiles to this side instead.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="How features are stored.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="Of the forward pass.",
)
@click.option("--batch-size", type=int, default=64, show_default=True, help="Tiles of a pass.")
@click.option(
    "--device", default="auto", show_default=True, help="auto (every GPU), cpu, cuda or cuda:1."
)
@click.option("--threads", type=int, default=0, help="That read tiles; 0 (default) is one a core.")
@click.option("--compile", is_flag=True, help="Build the network with torch.compile first.")
@click.option(
    "-j",
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    help="Worker processes; 0 (default) is one a GPU, or one.",
)
@click.option("--scheduler", metavar="TCP", help="Address of a running Dask scheduler.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of mosaics and stain tiles.")
@click.option("--report/--no-report", default=True, help="Draw pictures and a page to look at.")
def command(*, shared: Shared, **values: Any) -> None:
    """Describe every tile of the workspace's stores by an encoder.

    Writes embeddings/ENCODER/SLIDE.h5, and a report to look at. A slide that cannot be used becomes
    a row in the report; the others go on. Run it again to resume.
    """
    from wsi_tower.cli.embed_run import EmbedRequest, run_embed

    summary, folder = run_embed(EmbedRequest.parsed(shared, **values))
    told_summary(summary, shared, shared.workspaces[0] / "embeddings" / folder)
