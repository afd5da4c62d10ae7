"""``wsi-tower demo``: every stage that exists, on phantom slides or your own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wsi_tower.cli.options import SOME_FAILED, Shared, shared_options

if TYPE_CHECKING:
    from pathlib import Path

EPILOG = """\b
Examples:
  wsi-tower demo                          on phantom slides, about two minutes
  wsi-tower demo my-slides/ -w try-out    on your own
"""


@click.command("demo", epilog=EPILOG, short_help="Run every stage on phantom slides, or your own.")
@click.argument("slides", nargs=-1, metavar="[SLIDE|FOLDER…]")
@shared_options("workspace", "workers", "verbose")
@click.option(
    "--pipeline",
    metavar="FILE",
    help="List of stages: a file of yours, or one that comes with wsi-tower.  [default: demo.yaml]",
)
def command(*, shared: Shared, slides: tuple[str, ...], pipeline: str | None) -> None:
    """Run the main job end to end and say where to look.

    Without slides it writes phantom slides into the workspace first.
    """
    import time
    from pathlib import Path

    from wsi_tower.cli.pipeline import read_pipeline, shipped_pipeline

    own = Path(pipeline or "")
    path = own if own.is_file() else shipped_pipeline(pipeline or "demo.yaml")
    phantoms = str(shared.workspace / "phantom-slides")
    worst = 0
    before = _pages(shared.workspace)
    began = time.time()
    for stage in read_pipeline(path):
        if stage.only_without_slides and slides:
            continue
        arguments = stage.filled(
            slides=list(slides) or [phantoms],
            workspace=str(shared.workspace),
            workers=str(shared.workers),
        )
        click.secho("$ wsi-tower " + " ".join(arguments), bold=True)
        code = _run(arguments)
        worst = max(worst, code)
        if code > SOME_FAILED:
            break
    click.echo("\nOpen these:")
    for page in sorted(_pages(shared.workspace) - before):
        click.echo(f"  {page.absolute()}")
        for picture in sorted((page.parent / "pictures").glob("*")):
            click.echo(f"  {picture.absolute()}")
    for picture in sorted((shared.workspace / "runs").glob("*/*.png")):
        if picture.stat().st_mtime >= began:
            click.echo(f"  {picture.absolute()}")
    if worst:
        raise click.exceptions.Exit(worst)


def _run(arguments: list[str]) -> int:
    """Run one stage in this process; its exit code."""
    from wsi_tower.cli.main import cli

    result = cli.main(arguments, prog_name="wsi-tower", standalone_mode=False)
    return result if isinstance(result, int) else 0


def _pages(workspace: Path) -> set[Path]:
    """Pages of the reports that a workspace holds."""
    return set((workspace / "reports").glob("*/index.html"))
