"""Reading ``log.csv`` of a run: all of it for a curve, its end for a list of runs."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING, TypeAlias

from wsi_tower.errors import CorruptStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["MEASURES", "Columns", "LogTail", "log_tail", "logged_columns"]

MEASURES = frozenset({"lr", "grad_norm", "images_per_s", "rank", "gap"})
"""Columns that every method has. The others, ``step`` apart, are the loss and its parts."""

Columns: TypeAlias = "Mapping[str, Sequence[tuple[int, float]]]"
"""Step and value of every column, where it has one."""

_Row: TypeAlias = "dict[str, float]"

_LAST_ROWS = 10
_TAIL_BYTES = 1 << 12
_FARTHEST_BYTES = 1 << 18
"""How far back a look of the collapse watch is searched for: some thousand rows."""


@dataclass(frozen=True, slots=True)
class LogTail:
    """What the end of a log says."""

    step: int = 0
    """Of the last row; 0 where there is none."""
    losses: dict[str, float] = field(default_factory=dict)
    """``loss`` and its parts: means of the last rows, those of the last tenth of the steps, and ten
    at most."""
    images_per_s: float | None = None
    """Median of the last ten rows."""
    rank: float | None = None
    """What the collapse watch saw last; None where it did not look of late."""
    gap: float | None = None
    """Likewise."""


def log_tail(path: Path) -> LogTail:
    """The end of a log; that of a file that is not there is empty.

    Raises:
        CorruptStoreError: the file is no log of a run.
    """
    rows = _read(path, lambda: _last_rows(path))
    if not rows:
        return LogTail()
    step = int(rows[-1]["step"])
    last = rows[-_LAST_ROWS:]
    recent = [row for row in last if row["step"] > 0.9 * step]
    names = [name for name in rows[-1] if name != "step" and name not in MEASURES]
    means = {name: fmean(row[name] for row in recent if name in row) for name in names}
    paces = [row["images_per_s"] for row in last if "images_per_s" in row]
    pace = median(paces) if paces else None
    return LogTail(step, means, pace, _newest(rows, "rank"), _newest(rows, "gap"))


def logged_columns(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and value of every column of a log, where it has one; none where there is no log.

    Raises:
        CorruptStoreError: the file is no log of a run.
    """
    columns: dict[str, list[tuple[int, float]]] = {}
    for row in _read(path, lambda: _rows(path.read_bytes())):
        step = int(row.pop("step"))
        for name, value in row.items():
            columns.setdefault(name, []).append((step, value))
    return columns


def _read(path: Path, rows: Callable[[], list[_Row]]) -> list[_Row]:
    try:
        return rows()
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise CorruptStoreError(
            f"{path} is no log of a run ({type(error).__name__}: {error}); the checkpoints beside "
            f"it may be sound all the same"
        ) from error


def _last_rows(path: Path) -> list[_Row]:
    """Rows at the end: as many as it takes to meet a look of the collapse watch, within reason."""
    with path.open("rb") as file:
        head = file.readline()
        first = file.tell()
        size = file.seek(0, os.SEEK_END)
        reach = _TAIL_BYTES
        while True:
            start = max(first, size - reach)
            file.seek(start)
            tail = file.read()
            if start > first:
                tail = tail[tail.find(b"\n") + 1 :]
            rows = _rows(head + tail)
            if start == first or reach >= _FARTHEST_BYTES or _newest(rows, "rank") is not None:
                return rows
            reach *= 4


def _rows(content: bytes) -> list[_Row]:
    """Whole rows of a log, each without the columns that are empty in it."""
    whole = content[: content.rfind(b"\n") + 1].decode("utf-8")
    names, *rows = [line for line in csv.reader(whole.splitlines()) if line] or [[]]
    return [
        {name: float(value) for name, value in zip(names, row, strict=True) if value}
        for row in rows
    ]


def _newest(rows: Sequence[_Row], name: str) -> float | None:
    return next((row[name] for row in reversed(rows) if name in row), None)
