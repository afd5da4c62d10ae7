"""The files of a report: the page for people, a table and a record for programs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from typing import TYPE_CHECKING, Any

from wsi_tower.records import write_text_aside
from wsi_tower.report.page import render_page
from wsi_tower.report.wording import flattened, shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wsi_tower.batch import SlideRow
    from wsi_tower.report.record import RunRecord

__all__ = ["CSV_NAME", "JSON_NAME", "PAGE_NAME", "write_report"]

PAGE_NAME = "index.html"
CSV_NAME = "slides.csv"
JSON_NAME = "run.json"
FORMAT_VERSION = 1
"""Of ``run.json`` and ``slides.csv``."""
_FIRST_COLUMNS = ("slide_id", "source", "status", "reason", "message", "tiles", "seconds")


def write_report(folder: Path, run: RunRecord) -> Path:
    """Write ``slides.csv``, ``run.json`` and, last, ``index.html`` into ``folder``.

    Each file is complete or absent; pictures must lie where ``run.pictures`` says.

    Returns:
        Path of the page.

    Raises:
        StorageError: the disk refused.
    """
    write_text_aside(folder / CSV_NAME, shown(_csv(run.rows)))
    write_text_aside(folder / JSON_NAME, _json(run))
    page = folder / PAGE_NAME
    write_text_aside(page, shown(render_page(run)))
    return page


def _csv(rows: Iterable[SlideRow]) -> str:
    lines = [_csv_line(row) for row in rows]
    details = {name: None for line in lines for name in line if name not in _FIRST_COLUMNS}
    details.pop("traceback", None)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, [*_FIRST_COLUMNS, *details, "traceback"], restval="", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _csv_line(row: SlideRow) -> dict[str, Any]:
    own = {name: getattr(row, name) for name in (*_FIRST_COLUMNS, "traceback")}
    details = dict(flattened(row.details))
    return own | {f"details.{name}" if name in own else name: details[name] for name in details}


def _json(run: RunRecord) -> str:
    record = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    record |= {
        "settings": dict(run.settings),
        "rows": [dataclasses.asdict(row) for row in run.rows],
        "pictures": dict(run.pictures),
        "software": dict(run.software),
    }
    header = {"kind": "run", "format_version": FORMAT_VERSION, "counts": run.counts()}
    # ASCII escapes carry the undecodable bytes of file names; paths and the like become text.
    return json.dumps(_finite(header | record), indent=1, default=str, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """``value`` with NaN and infinities as None: JSON has neither."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {name: _finite(item) for name, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
