"""Slide lists: CSV files that name slides, and what is known of each.

Columns of both families of tools are understood: ``wsi``, ``mpp`` and ``sample_id``,
``image_path``, ``mask_path``, ``spacing_at_level_0``; and ``target_mpp``. Every other column is
kept as cohort metadata; ``slide_id`` is another name of ``sample_id``. Paths are relative to the
list.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from wsi_tower.errors import SlideListError
from wsi_tower.slides.entries import SlideEntry
from wsi_tower.slides.pixel_size import number
from wsi_tower.slides.sources import is_url, slide_id_of

__all__ = ["read_slide_list"]

_SOURCE = ("wsi", "image_path")
_MPP = ("mpp", "spacing_at_level_0")
_ID, _MASK, _TARGET = ("sample_id", "slide_id"), ("mask_path",), ("target_mpp",)
_UNDERSTOOD = frozenset((*_SOURCE, *_MPP, *_ID, *_MASK, *_TARGET, ""))
"""Names with a meaning; the empty one is a comma too many at the end of each line."""
_SURPLUS = "\0"
"""Where values beyond the last column go: no column can be called so."""


def read_slide_list(path: Path) -> list[SlideEntry]:
    """The slides of a list, in its order.

    Raises:
        SlideListError: not a CSV text with a column ``wsi`` or ``image_path``, a row without a
            slide, or a number that is none.
    """
    columns, rows = _read(path)
    if not any(name in columns for name in _SOURCE):
        raise SlideListError(
            f"slide list {path} has no column wsi or image_path (it has: {', '.join(columns)}); "
            f"columns are separated by commas"
        )
    if not rows:
        raise SlideListError(f"slide list {path} names no slide; add a row for each")
    return [_entry(path, line, row) for line, row in rows]


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns, and every row with the number of the line it ends on."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True, restkey=_SURPLUS, restval="")
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            return columns, [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SlideListError(f"slide list {path} is no UTF-8 CSV file ({error})") from error
    except OSError as error:
        raise SlideListError(f"slide list {path} cannot be read ({error}); check it") from error


def _entry(path: Path, line: int, row: dict[str, str]) -> SlideEntry:
    if _SURPLUS in row:
        raise SlideListError(f"slide list {path}, line {line}: more values than columns")
    source = _first(row, _SOURCE)
    if source is None:
        raise SlideListError(f"slide list {path}, line {line}: no slide is named")
    source = _resolved(path, source)
    mask = _first(row, _MASK)
    return SlideEntry(
        slide_id=_slide_id(path, line, row) or slide_id_of(source),
        source=source,
        mpp_um=_number(path, line, row, _MPP),
        target_mpp=_number(path, line, row, _TARGET),
        tissue_mask=_resolved(path, mask) if mask else None,
        columns={name: value.strip() for name, value in row.items() if name not in _UNDERSTOOD},
    )


def _slide_id(path: Path, line: int, row: dict[str, str]) -> str | None:
    slide_id = _first(row, _ID)
    if slide_id and ("/" in slide_id or slide_id in (".", "..")):
        raise SlideListError(
            f"slide list {path}, line {line}: the id {slide_id!r} cannot name a file; write it "
            f"without slashes"
        )
    return slide_id


def _first(row: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := row.get(name, "").strip())), None)


def _number(path: Path, line: int, row: dict[str, str], names: tuple[str, ...]) -> float | None:
    text = _first(row, names)
    if text is None:
        return None
    value = number(text)
    if value is None or not value > 0 or value == math.inf:
        raise SlideListError(
            f"slide list {path}, line {line}: {' or '.join(names)} is {text!r}, not a number above "
            f"0 with a decimal point"
        )
    return value


def _resolved(path: Path, source: str) -> str:
    if is_url(source):
        return source
    # Only one's own home: `~name` may as well be a file's name.
    own = Path(source).expanduser() if source.startswith("~/") else Path(source)
    return str(path.parent / own)
