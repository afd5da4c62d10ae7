"""``wsi-tower export``: embeddings for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from wsi_tower.cli.ending import EXIT_CODES, told_summary
from wsi_tower.cli.options import Shared, shared_options

EPILOG = """\b
Examples:
  wsi-tower export bags/ --format clam              h5_files/, pt_files/ and slides.csv for CLAM
  wsi-tower export h5ad/ --format anndata           a .h5ad a slide for scanpy and squidpy
  wsi-tower export table/ --format parquet --encoder tower
"""


@click.command(
    "export", epilog=EPILOG + EXIT_CODES, short_help="Write embeddings for CLAM, AnnData, Parquet."
)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@shared_options("workspace", "json", "verbose")
@click.option(
    "--format",
    "form",
    type=click.Choice(["clam", "anndata", "parquet"]),
    required=True,
    help="Which form.",
)
@click.option("--encoder", default="", help="Whose embeddings; needed where there are several.")
def command(*, shared: Shared, out: Path, form: str, encoder: str) -> None:
    """Write the workspace's embeddings into the folder OUT in the form of another tool.

    Files of an earlier export are replaced. CLAM and TRIDENT read the caches themselves, too.
    """
    from wsi_tower.cli.export_run import run_export

    told_summary(run_export(shared, out, form, encoder), shared, out)
