"""How a verb over many slides ends: its rows in words or JSON, and its exit code."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.options import SOME_FAILED

if TYPE_CHECKING:
    from wsi_tower.cli.batch_run import RunSummary
    from wsi_tower.cli.options import Shared

__all__ = ["EXIT_CODES", "told_summary"]

EXIT_CODES = """
\b
Exit code: 0 when no slide failed, 1 when some did (the others are done), 2 when nothing was begun.
"""
_STATUSES = ("done", "skipped", "empty", "failed", "unsupported")


def told_summary(
    summary: RunSummary, shared: Shared, where: object, document: dict[str, Any] | None = None
) -> None:
    """Print what a run gave and end the command with its exit code.

    Args:
        summary: what it gave.
        shared: whether as JSON, and whether with tracebacks.
        where: what took the results, as it is printed.
        document: what ``--json`` prints, where that is more than the summary.
    """
    if shared.json:
        import json

        click.echo(json.dumps(document or summary.to_json(), indent=2, ensure_ascii=False))
    else:
        _print(summary, shared, where)
    if any(row.is_failure for row in summary.rows):
        raise click.exceptions.Exit(SOME_FAILED)


def _print(summary: RunSummary, shared: Shared, where: object) -> None:
    rows = summary.rows
    if shared.verbose:
        for row in rows:
            if row.traceback:
                click.echo(row.traceback, err=True)
    counts: Counter[str] = Counter(row.status for row in rows)
    told = ", ".join(f"{counts[status]} {status}" for status in _STATUSES if counts[status])
    tiles = sum(row.tiles for row in rows)
    slides = "1 slide" if len(rows) == 1 else f"{len(rows)} slides"
    click.echo(f"{slides}: {told}; {tiles:,} tiles in {where}")
    for row in rows:
        if row.is_failure:
            click.echo(f"  {row.slide_id}: {row.message}")
    if summary.page is not None:
        click.echo(f"Look at {summary.page}")
