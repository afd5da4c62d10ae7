"""Sweeps on a terminal: what would be done, and what was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.runs_text import figure, print_table, status_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from wsi_tower.cli.sweep_run import PlannedRun, SweepSummary

__all__ = ["plan_to_json", "print_plan", "print_sweep"]

_DID = {"train": "trained", "resume": "resumed", "skip": "skipped", "busy": "busy", None: ""}


def plan_to_json(name: str, planned: Sequence[PlannedRun]) -> dict[str, Any]:
    """As ``--dry-run --json`` prints it."""
    runs = []
    for one in planned:
        step, why = one.next_step()
        told = {"name": one.run.name, "varied": one.run.varied, "would": step, "why": why}
        runs.append(told | {"is_own": one.is_own})
    return {"sweep": name, "runs": runs}


def print_plan(keys: Sequence[str], planned: Sequence[PlannedRun]) -> None:
    """What each run would do."""
    own = [one for one in planned if one.is_own]
    rows = [(one.run.name, *one.run.varied.values(), *one.next_step()) for one in own]
    print_table(("run", *keys, "would", "why"), rows)
    left = len(planned) - len(own)
    click.echo(f"{len(own)} runs" + (f"; {left} more are of other shards" if left else ""))


def print_sweep(summary: SweepSummary) -> None:
    """How each run stands, what went wrong, and where the table lies."""
    heads = ("run", *summary.keys, "here", "status", "steps", "loss", "rank", "far/near")
    rows: list[list[str | Text]] = []
    for planned, did, found in summary.rows:
        if planned.is_own and found is not None:
            last = (found.last.losses.get("loss"), found.last.rank, found.last.gap)
            steps = f"{found.step}/{planned.steps}"
            what: list[str | Text] = [found.name, *planned.run.varied.values(), _DID[did]]
            rows.append([*what, status_text(found), steps, *map(figure, last)])
    print_table(heads, rows)
    for found in summary.bad:
        click.echo(f"  {found.name}: {found.message}")
    click.echo(f"Table in {summary.table}")
