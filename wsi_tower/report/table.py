"""The table of all slides: which columns there are, and what a cell shows and sorts by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsi_tower.report.wording import NOTHING, duration, number, plainly

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wsi_tower.batch import SlideRow

__all__ = ["Cell", "Column", "columns_for", "detail_number", "warning_of"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell."""

    text: str
    """What is shown."""
    value: float | None = None
    """What a column of numbers is sorted by; None comes last."""
    hint: str = ""
    """Shown when pointed at."""
    warning: str = ""
    """Shown below the text, in full."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column after slide and status."""

    title: str
    """Head of the column."""
    cell: Callable[[SlideRow], Cell]
    """Its cell in a slide's row."""
    is_number: bool = True
    """Set flush right, sorted by value."""


def columns_for(rows: Sequence[SlideRow]) -> list[Column]:
    """The columns that say something about at least one of these slides."""
    return [column for column in _COLUMNS if any(column.cell(row).text != NOTHING for row in rows)]


def detail_number(row: SlideRow, name: str) -> float | None:
    """A finite number among a row's details, or None."""
    value = row.details.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def warning_of(row: SlideRow) -> str:
    """What a person should know of a slide that was worked on all the same, or nothing."""
    return str(row.details.get("warning") or "")


def _number_of(name: str, digits: int = 3, hint: str = "") -> Callable[[SlideRow], Cell]:
    def cell(row: SlideRow) -> Cell:
        value = detail_number(row, name)
        text = NOTHING if value is None else number(value, digits)
        return Cell(text, value, plainly(row.details[hint]) if row.details.get(hint) else "")

    return cell


def _words_of(name: str, hint: str = "") -> Callable[[SlideRow], Cell]:
    def cell(row: SlideRow) -> Cell:
        return Cell(plainly(row.details.get(name)), None, str(row.details.get(hint) or ""))

    return cell


def _tiles(row: SlideRow) -> Cell:
    return Cell(number(row.tiles), row.tiles) if row.tiles else Cell(NOTHING, 0)


def _note(row: SlideRow) -> Cell:
    warning = warning_of(row)
    text = row.message or row.reason or ("" if warning else NOTHING)
    return Cell(text, None, row.reason, warning)


_COLUMNS = (
    Column("Tiles", _tiles),
    Column("Tissue mm²", _number_of("tissue_mm2")),
    Column("Time", lambda row: Cell(duration(row.seconds), row.seconds)),
    Column("Slide µm/px", _number_of("mpp", 4, hint="mpp_origin")),
    Column("Tiles µm/px", _number_of("effective_mpp", 4)),
    Column("Level", _number_of("level")),
    Column("Objects", _number_of("objects", 7, hint="model")),
    Column("Objects/mm²", _number_of("density_per_mm2", 4)),
    Column("Object area", _number_of("area_fraction", 3)),
    Column("Features", _words_of("features", hint="descriptor"), is_number=False),
    Column("Tiles/s", _number_of("tiles_per_s")),
    Column("Device", _words_of("device"), is_number=False),
    Column("Pixels", _words_of("pixels", hint="pixels_reason"), is_number=False),
    Column("MB", _number_of("megabytes")),
    Column("Peak MB", _number_of("peak_mb")),
    Column("Size", _words_of("size"), is_number=False),
    Column("Reader", _words_of("reader", hint="vendor"), is_number=False),
    Column("Note", _note, is_number=False),
)
