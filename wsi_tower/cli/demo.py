"""``wsi-tower demo``: every stage that exists, on phantom slides or your own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wsi_tower.cli.options import SOME_FAILED, Shared, shared_options

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.cli.pipeline import Stage
    from wsi_tower.report import StageShown

EPILOG = """\b
Examples:
  wsi-tower demo                          on phantom slides, about three minutes
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
    from datetime import UTC, datetime
    from pathlib import Path

    from wsi_tower.cli.pipeline import read_pipeline, shipped_pipeline
    from wsi_tower.report import write_pipeline_page

    own = Path(pipeline or "")
    path = own if own.is_file() else shipped_pipeline(pipeline or "demo.yaml")
    began = datetime.now(UTC).isoformat(timespec="seconds")
    given = list(slides) or [str(shared.workspace / "phantom-slides")]
    shown: list[StageShown] = []
    for stage in read_pipeline(path):
        if not stage.is_wanted(has_slides=bool(slides)):
            continue
        shown.append(_run(stage, given, shared))
        if shown[-1].exit_code > SOME_FAILED:
            break
    page = write_pipeline_page(
        shared.workspace / "reports" / "demo", shown, workspace=shared.workspace, began=began
    )
    click.echo("\nOpen these:")
    made = [one for stage in shown for one in (*stage.pages, *stage.pictures)]
    for one in (page, *made):
        click.echo(f"  {one.absolute()}")
    if worst := max(stage.exit_code for stage in shown):
        raise click.exceptions.Exit(worst)


def _run(stage: Stage, slides: list[str], shared: Shared) -> StageShown:
    """Run one stage in this process."""
    import shlex
    import time

    from wsi_tower.cli.main import cli
    from wsi_tower.report import StageShown

    arguments = stage.filled(
        slides=slides, workspace=str(shared.workspace), workers=str(shared.workers)
    )
    words = shlex.join(["wsi-tower", *arguments])
    click.secho(f"$ {words}", bold=True)
    began, started = time.time(), time.perf_counter()
    code = cli.main(arguments, prog_name="wsi-tower", standalone_mode=False)
    return StageShown(
        command=words,
        seconds=time.perf_counter() - started,
        exit_code=code if isinstance(code, int) else 0,
        pages=tuple(_made(shared.workspace, began, ".html")),
        pictures=tuple(_made(shared.workspace, began, ".png", ".jpg")),
    )


def _made(workspace: Path, began: float, *suffixes: str) -> list[Path]:
    """Files for people that a workspace was given since then."""
    # reports/pictures keeps what reports have copies of.
    folders = [*workspace.glob("reports/*/"), workspace / "runs"]
    return [
        path
        for folder in sorted(folders)
        for path in sorted(folder.rglob("*"))
        if path.suffix in suffixes and path.stat().st_mtime >= began and folder.name != "pictures"
    ]
