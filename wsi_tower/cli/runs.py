"""``wsi-tower runs``: what was trained, on what, with which settings, and how it ended."""

from __future__ import annotations

from typing import Any

import click

from wsi_tower.cli.options import Shared, shared_options

EPILOG = """\b
Examples:
  wsi-tower runs                        every run of the workspace, the newest first
  wsi-tower runs --last 5 -w study      five of them
  wsi-tower runs tower                  one in full: settings, losses, where things lie
  wsi-tower runs tower contrast-only    what differs, losses side by side, and a picture
  wsi-tower runs --json                 for scripts
"""


@click.command("runs", epilog=EPILOG, short_help="List runs of training, or compare some.")
@click.argument("names", nargs=-1, metavar="[NAME…]")
@shared_options("workspace", "json", "verbose")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="The newest N alone.")
def command(*, shared: Shared, names: tuple[str, ...], last: int | None) -> None:
    """List the runs of a workspace: what was trained, on what, with which losses, how it ended.

    One NAME shows that run in full. Two or more compare them: the settings that differ, the losses,
    and a picture of their curves.
    """
    from wsi_tower.cli import runs_text
    from wsi_tower.cli.runs_run import compared
    from wsi_tower.errors import SettingsError
    from wsi_tower.runs import named_runs, recorded_runs
    from wsi_tower.workspace import Workspace

    workspace = Workspace(shared.workspace)
    if names and last is not None:
        raise SettingsError(f"--last {last} shortens the list of all runs; leave it or names out")
    if len(names) > 1:
        comparison = compared(workspace, named_runs(workspace, names))
        _tell(shared, comparison.to_json(), lambda: runs_text.print_comparison(comparison))
    elif names:
        (run,) = named_runs(workspace, names)
        _tell(shared, run.to_json(), lambda: runs_text.print_run(run))
    else:
        runs = recorded_runs(workspace)[:last]
        told = {"runs": [run.to_json() for run in runs]}
        _tell(shared, told, lambda: runs_text.print_runs(runs))
        if not runs:
            click.echo(
                f"workspace {workspace.root} has no runs yet; begin one with `wsi-tower pretrain "
                f"-w {workspace.root}`, or choose another workspace with -w",
                err=True,
            )


def _tell(shared: Shared, document: dict[str, Any], show: Any) -> None:
    if shared.json:
        import json

        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        show()
