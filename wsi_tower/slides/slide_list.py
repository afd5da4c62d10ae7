"""Slide lists: CSV files that name slides, and what is known of each.

Columns of both families of tools are understood: ``wsi``, ``mpp`` and ``sample_id``,
``image_path``, ``mask_path``, ``spacing_at_level_0``; and ``target_mpp``. Every other column is
kept as cohort metadata. Paths are relative to the list.
"""

from __future__ import annotations

import csv
from pathlib import Path

from wsi_tower.errors import SlideListError
from wsi_tower.slides.inputs import SlideEntry, slide_id_of
from wsi_tower.slides.opening import is_url

__all__ = ["read_slide_list"]

_SOURCE = ("wsi", "image_path")
_MPP = ("mpp", "spacing_at_level_0")
_ID, _MASK, _TARGET = ("sample_id",), ("mask_path",), ("target_mpp",)
_UNDERSTOOD = frozenset((*_SOURCE, *_MPP, *_ID, *_MASK, *_TARGET))


def read_slide_list(path: Path) -> list[SlideEntry]:
    """The slides of a list, in its order.

    Raises:
        SlideListError: not a CSV text with a column ``wsi`` or ``image_path``, a row without a
            slide, or a number that is none.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SlideListError(f"slide list {path} is no UTF-8 CSV file ({error})") from error
    if not any(name in columns for name in _SOURCE):
        raise SlideListError(
            f"slide list {path} has no column wsi or image_path (it has: {', '.join(columns)})"
        )
    if not rows:
        raise SlideListError(f"slide list {path} names no slide; add a row for each")
    return [_entry(path, number, row) for number, row in enumerate(rows, start=2)]


def _entry(path: Path, line: int, row: dict[str, str]) -> SlideEntry:
    if None in row:
        raise SlideListError(f"slide list {path}, line {line}: more values than columns")
    source = _first(row, _SOURCE)
    if source is None:
        raise SlideListError(f"slide list {path}, line {line}: no slide is named")
    source = _resolved(path, source)
    mask = _first(row, _MASK)
    return SlideEntry(
        slide_id=_first(row, _ID) or slide_id_of(source),
        source=source,
        mpp_um=_number(path, line, row, _MPP),
        target_mpp=_number(path, line, row, _TARGET),
        tissue_mask=_resolved(path, mask) if mask else None,
        columns={name: value or "" for name, value in row.items() if name not in _UNDERSTOOD},
    )


def _first(row: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((value.strip() for name in names if (value := row.get(name) or "").strip()), None)


def _number(path: Path, line: int, row: dict[str, str], names: tuple[str, ...]) -> float | None:
    text = _first(row, names)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise SlideListError(
            f"slide list {path}, line {line}: {' or '.join(names)} is {text!r}, not a number"
        ) from error


def _resolved(path: Path, source: str) -> str:
    return source if is_url(source) else str(path.parent / Path(source).expanduser())
