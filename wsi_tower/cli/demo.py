"""``wsi-tower demo``: every stage that exists, on phantom slides or your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.options import Shared, shared_options

if TYPE_CHECKING:
    from pathlib import Path

EPILOG = """\b
Examples:
  wsi-tower demo                          on phantom slides, about a minute
  wsi-tower demo my-slides/ -w try-out    on your own
"""


@click.command("demo", epilog=EPILOG, short_help="Run every stage on phantom slides, or your own.")
@click.argument("slides", nargs=-1, metavar="[SLIDE|FOLDER…]")
@shared_options("workspace", "workers", "verbose")
@click.option(
    "--pipeline",
    metavar="FILE",
    help="List of stages to run; default: the demo.yaml that comes with wsi-tower.",
)
def command(*, shared: Shared, slides: tuple[str, ...], pipeline: str | None) -> None:
    """Run the main job end to end and say where to look.

    Without slides it writes phantom slides into the workspace first.
    """
    from pathlib import Path

    from wsi_tower.cli.pipeline import read_pipeline, shipped_pipeline

    path = Path(pipeline) if pipeline else shipped_pipeline("demo.yaml")
    phantoms = str(shared.workspace / "phantom-slides")
    looked_at: list[str] = []
    for stage in read_pipeline(path):
        if stage.only_without_slides and slides:
            continue
        arguments = stage.filled(
            slides=list(slides) or [phantoms],
            workspace=str(shared.workspace),
            workers=str(shared.workers),
        )
        click.secho("$ wsi-tower " + " ".join(arguments), bold=True)
        looked_at += _run(arguments)
    click.echo("\nOpen these:")
    for picture in looked_at:
        click.echo(f"  {picture}")


def _run(arguments: list[str]) -> list[str]:
    """Run one stage in this process; what it made to look at."""
    from wsi_tower.cli.main import cli

    result = cli.main(arguments, prog_name="wsi-tower", standalone_mode=False)
    if isinstance(result, int) and result != 0:
        raise click.exceptions.Exit(result)
    return _pictures(result) if isinstance(result, dict) else []


def _pictures(summary: dict[str, Any]) -> list[str]:
    from pathlib import Path

    page = Path(summary["report"]).absolute()
    return [str(page), *(str(path) for path in _sorted_pictures(page.parent / "pictures"))]


def _sorted_pictures(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
