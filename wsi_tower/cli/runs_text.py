"""Runs on a terminal: a table of all, one in full, some beside one another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsi_tower.report import duration, flattened, number, plainly

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wsi_tower.cli.runs_run import Comparison
    from wsi_tower.runs import RecordedRun

__all__ = ["figure", "print_comparison", "print_run", "print_runs", "print_table", "status_text"]

_COLOURS = {
    "finished": "green",
    "stopped early": "green",
    "running": "cyan",
    "interrupted": "yellow",
    "diverged": "red",
    "failed": "red",
    "damaged": "red",
}
_NOTHING = "–"
_UNBOUNDED = 10_000
"""A width that no line reaches."""


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cell: Callable[[RecordedRun], str | Text]
    is_number: bool = False


def print_runs(runs: Sequence[RecordedRun]) -> None:
    """A row a run, and what went wrong below; on a narrow terminal without the least of it."""
    if not runs:
        return
    console = _console()
    columns = list(_COLUMNS)
    for dropped in ("", *_FIRST_TO_GO):
        columns = [column for column in columns if column.title != dropped]
        table = _runs_table(runs, columns)
        unbounded = console.options.update_width(_UNBOUNDED)
        if console.measure(table, options=unbounded).maximum <= console.width:
            break
    console.print(table)
    if len(columns) < len(_COLUMNS):
        missing = [column.title for column in _COLUMNS if column not in columns]
        told = Text(f"without {', '.join(missing)}: a wider terminal, or --json", style="dim")
        console.print(told, soft_wrap=True)
    for run in runs:
        if run.message:
            console.print(Text(f"  {run.name}: {run.message}"), soft_wrap=True)


def print_run(run: RecordedRun) -> None:
    """One run in full."""
    console = _console()
    head = Text(f"{run.name}: ", style="bold")
    console.print(head.append_text(status_text(run)).append(_headline(run)), soft_wrap=True)
    if run.message:
        console.print(Text(f"  {run.message}"), soft_wrap=True)
    facts = {
        "begun": _moment(run.created),
        "losses": _losses(run),
        "collapse watch": _watch(run),
        "learns from": _source(run),
        "folder": str(run.folder),
        "log": str(run.log) if run.log.exists() else "",
        "curves": str(run.curves or ""),
        "encoder": str(run.encoder or "none yet" if run.settings else ""),
    }
    _print_aligned(console, {name: fact for name, fact in facts.items() if fact})
    if run.settings:
        console.print(Text("Settings", style="bold"))
        settings = dict(flattened(run.settings | {"tiles": None}))
        del settings["tiles"]
        _print_aligned(console, {name: plainly(value) for name, value in settings.items()})


def print_comparison(comparison: Comparison) -> None:
    """Settings that differ and losses, a column a run, and where the picture lies."""
    console, runs = _console(), comparison.runs
    if comparison.differing:
        rows = [(name, *map(plainly, values)) for name, values in comparison.differing.items()]
        print_table(("settings that differ", *(run.name for run in runs)), rows, console=console)
    else:
        console.print("All settings are the same.")
    measured: dict[str, list[str | Text]] = {
        "status": [status_text(run) for run in runs],
        "steps": [_steps(run) for run in runs],
    }
    for loss in dict.fromkeys(name for run in runs for name in run.last.losses):
        measured[loss] = [figure(run.last.losses.get(loss)) for run in runs]
    measured |= {
        column.title: [column.cell(run) for run in runs]
        for column in _COLUMNS
        if column.title in ("rank", "far/near", "time", "tiles/s")
    }
    rows_measured = [(name, *values) for name, values in measured.items()]
    print_table(("at the end", *(run.name for run in runs)), rows_measured, console=console)
    console.print(Text(f"Look at {comparison.picture}"), soft_wrap=True)


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str | Text]], *, console: Console | None = None
) -> None:
    """A table of words and figures."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for place, head in enumerate(heads):
        cells = [str(row[place]) for row in rows if place < len(row)]
        justify: Any = "right" if all(map(_is_figure, cells)) else "left"
        table.add_column(Text(head), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    (console or _console()).print(table)


def _is_figure(text: str) -> bool:
    return text == _NOTHING or text[:1].isdigit()


def status_text(run: RecordedRun) -> Text:
    """How a run ended, in its colour."""
    return Text(run.status, style=_COLOURS[run.status])


def _console() -> Console:
    """Standard output; into files and pipes, lines are as long as they are."""
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = _UNBOUNDED
    return console


def _print_aligned(console: Console, facts: dict[str, str]) -> None:
    width = max(map(len, facts))
    for name, fact in facts.items():
        line = Text(f"  {name:<{width}}  ", style="dim").append(fact, style="not dim")
        console.print(line, soft_wrap=True)


def _runs_table(runs: Sequence[RecordedRun], columns: Sequence[_Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        justify: Any = "right" if column.is_number else "left"
        table.add_column(column.title, justify=justify, overflow="fold")
    for run in runs:
        table.add_row(*(column.cell(run) for column in columns))
    return table


def _headline(run: RecordedRun) -> str:
    parts = [f"{_steps(run)} steps"]
    if run.seconds is not None:
        parts.append(duration(run.seconds))
    if run.last.images_per_s is not None:
        parts.append(f"{number(run.last.images_per_s)} tiles/s")
    return ", " + ", ".join(parts) if run.settings else ""


def _settings(run: RecordedRun) -> str:
    """What one tells runs apart by."""
    if not run.settings:
        return _NOTHING
    training = run.settings["training"]
    crop_px = run.settings.get("augment", {}).get("crop_px", "?")
    return (
        f"{run.settings.get('backbone')} {crop_px} px, batch {training.get('batch_size')}, "
        f"lr {figure(training.get('lr'))}, seed {training.get('seed')}"
    )


def _source(run: RecordedRun) -> str:
    if run.tiles is None:
        return ""
    if not run.slides:
        return f"{number(run.tiles)} squares of flat images"
    slides = "1 slide" if run.slides == 1 else f"{number(run.slides)} slides"
    return f"{number(run.tiles)} tiles of {slides}"


def _steps(run: RecordedRun) -> str:
    return _NOTHING if run.steps is None else f"{run.step}/{run.steps}"


def _losses(run: RecordedRun) -> str:
    return ", ".join(f"{name} {figure(value)}" for name, value in run.last.losses.items())


def _watch(run: RecordedRun) -> str:
    named = {"feature rank": run.last.rank, "far/near distance": run.last.gap}
    return ", ".join(f"{name} {figure(value)}" for name, value in named.items() if value)


def figure(value: Any) -> str:
    """A measured number, or that there is none."""
    return f"{value:.4g}" if isinstance(value, (int, float)) else _NOTHING


def _moment(iso: str) -> str:
    """A moment in the time of this machine."""
    try:
        return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return iso or _NOTHING


_COLUMNS = (
    _Column("run", lambda run: Text(run.name)),
    _Column("begun", lambda run: _moment(run.created)),
    _Column("method", lambda run: Text(str(run.settings.get("method", _NOTHING)))),
    _Column("settings", lambda run: Text(_settings(run))),
    _Column("learns from", lambda run: _source(run) or _NOTHING),
    _Column("status", status_text),
    _Column("steps", _steps, is_number=True),
    _Column("loss", lambda run: figure(run.last.losses.get("loss")), is_number=True),
    _Column("rank", lambda run: figure(run.last.rank), is_number=True),
    _Column("far/near", lambda run: figure(run.last.gap), is_number=True),
    _Column(
        "time",
        lambda run: _NOTHING if run.seconds is None else duration(run.seconds),
        is_number=True,
    ),
    _Column("tiles/s", lambda run: figure(run.last.images_per_s), is_number=True),
)
_FIRST_TO_GO = ("tiles/s", "begun", "far/near", "settings", "learns from", "time")
"""Columns that a narrow terminal does without."""
