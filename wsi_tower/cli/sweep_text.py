"""Sweeps on a terminal: what would be done, and what was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wsi_tower.cli.runs_text import figure, print_table, status_text

if TYPE_CHECKING:
    from rich.text import Text

    from wsi_tower.cli.sweep_plan import SweepPlan
    from wsi_tower.cli.sweep_run import SweepRow, SweepSummary

__all__ = ["print_plan", "print_sweep"]

_DID = {
    "train": "trained",
    "resume": "resumed",
    "skip": "skipped",
    "busy": "busy",
    "leave out": "left out",
    "refuse": "refused",
    None: "",
}


def print_plan(plan: SweepPlan) -> None:
    """What each run would do."""
    rows = [(one.run.name, *one.run.varied.values(), *one.next_step()) for one in plan.own]
    print_table(("run", *plan.keys, "would", "why"), rows)
    left = len(plan.runs) - len(rows)
    runs = "1 run" if len(rows) == 1 else f"{len(rows)} runs"
    click.echo(runs + (f"; {left} more of other shards" if left else ""))


def print_sweep(summary: SweepSummary) -> None:
    """How each run stands, what went wrong, and where the table lies."""
    heads = ("run", *summary.plan.keys, "here", "status", "steps", "loss", "rank", "far/near")
    own = [row for row in summary.rows if row.planned.is_own]
    print_table(heads, [_cells(row) for row in own])
    for row in own:
        if row.message:
            click.echo(f"  {row.planned.run.name}: {row.message}")
    click.echo(f"Table in {summary.table}")


def _cells(row: SweepRow) -> list[str | Text]:
    run, found = row.planned.run, row.found
    cells: list[str | Text] = [run.name, *run.varied.values(), _DID[row.did]]
    if found is None:
        return [*cells, row.status]
    last = (found.last.losses.get("loss"), found.last.rank, found.last.gap)
    steps = f"{found.step}/{row.planned.steps}"
    return [*cells, status_text(found), steps, *map(figure, last)]
