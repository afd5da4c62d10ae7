"""``wsi-tower phantom``: synthetic slides with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wsi_tower.cli.options import Shared, shared_options

EPILOG = """\b
Examples:
  wsi-tower phantom slides/                                       3 slides of 14 × 11 mm
  wsi-tower phantom slides/ --slides 12 --size 24mm×16mm --mpp 0.5 --seed 7
  wsi-tower phantom slides/ --tumour-outlines camelyon.geojson --tumour-mpp 0.243
"""


@click.command("phantom", epilog=EPILOG, short_help="Write synthetic slides with known truth.")
@click.argument("out", metavar="OUT")
@shared_options("workers", "overwrite", "json", "verbose")
@click.option("--slides", type=int, default=3, show_default=True, help="How many.")
@click.option("--size", default="14mm×11mm", show_default=True, help="Width × height, with units.")
@click.option("--mpp", type=float, default=1.0, show_default=True, help="µm per pixel.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same bytes.")
@click.option(
    "--tumour-outlines",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="GeoJSON of real tumour outlines to lay onto the tissue.  [default: made-up tumour]",
)
@click.option(
    "--tumour-mpp",
    "tumour_outlines_mpp",
    type=float,
    help="µm per pixel that these outlines were drawn at.",
)
@click.option("--nuclei", is_flag=True, help="Write label images of all nuclei, too.")
def command(*, shared: Shared, out: str, size: str, **values: Any) -> None:
    """Write pyramidal slides in the Aperio layout, their truth, and a slide list.

    For trying things out, tests and benchmarks: tissue on glass with nuclei, every second slide
    with tumour, some with pen, folds and places out of focus.
    """
    import json

    from wsi_tower.cli.phantom_run import run_phantom
    from wsi_tower.geometry import parse_extent_um
    from wsi_tower.phantom import PhantomSettings

    width_um, height_um = parse_extent_um(size)
    settings = PhantomSettings(width_um=width_um, height_um=height_um, **values)
    written = run_phantom(Path(out), settings, shared)
    if shared.json:
        click.echo(json.dumps({"slides": [str(path) for path in written]}, indent=2))
    else:
        _print(Path(out), written)


def _print(folder: Path, written: list[Path]) -> None:
    total = sum(path.stat().st_size for path in written)
    click.echo(f"{len(written)} phantom slides in {folder} ({total / 1e6:.0f} MB)")
    click.echo(f"Truth for QuPath in {folder / 'truth'}, slide list {folder / 'slides.csv'}")
