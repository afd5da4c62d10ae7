"""The HTML page of a run: decides what is said; ``page.html.j2`` decides how it looks.

One self-contained file: styles and script are inline, pictures are relative links, nothing is
fetched. Everything that comes from slides and users passes through Jinja's autoescape or, in links,
through percent-encoding.
"""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from wsi_tower.report.remedies import remedy_for
from wsi_tower.report.table import columns_for, detail_number, warning_of
from wsi_tower.report.wording import counted, duration, flattened, moment, number, plainly, volume

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wsi_tower.batch import SlideRow, Status
    from wsi_tower.report.record import RunRecord

__all__ = ["render_page"]

_MEANINGS: tuple[tuple[Status, str], ...] = (
    ("done", "made in this run"),
    ("skipped", "already done with the same settings"),
    ("empty", "no tissue left"),
    ("failed", "stopped by an error"),
    ("unsupported", "no reader covers the format"),
)
_SLOWEST = 5
_OPEN_GROUP = 6
"""Slides up to which a group of failures is unfolded from the start."""


@dataclass(frozen=True, slots=True)
class _StatusCount:
    """A filter button."""

    status: Status
    slides: int
    meaning: str


@dataclass(frozen=True, slots=True)
class _FailureGroup:
    """Failures that share a reason."""

    reason: str
    remedy: str
    rows: tuple[SlideRow, ...]
    is_open: bool


@dataclass(frozen=True, slots=True)
class _Picture:
    """A slide in the gallery."""

    row: SlideRow
    href: str
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Slow:
    """One of the slowest slides."""

    row: SlideRow
    share: float
    """Of the slowest one's time, in percent."""


_LEGENDS = {
    "tile": "blue: rim of the tissue; yellow: tiles taken",
    "embed": "beside the slide, its tiles: like colours, like features",
    "segment": "the slide; how much of it is object; fields without and with outlines",
}
"""What the gallery's pictures show, by verb."""


def render_page(run: RunRecord) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("wsi_tower.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "number": number, "plainly": plainly}
    environment.filters["warning"] = warning_of
    return environment.get_template("page.html.j2").render(_context(run))


def _context(run: RunRecord) -> dict[str, Any]:
    pictures = list(_pictures(run))
    return {
        "run": run,
        "started": moment(run.started),
        "headline": _headline(run),
        "summary": _summary(run),
        "counts": _status_counts(run),
        "failures": _failure_groups(run.rows),
        "empties": [row for row in run.rows if row.status == "empty"],
        "pictures": pictures,
        "legend": _LEGENDS.get(run.verb, _LEGENDS["tile"]),
        "links": {picture.row.slide_id: picture.href for picture in pictures},
        "columns": columns_for(run.rows),
        "totals": dict(_totals(run)),
        "times": dict(_times(run)),
        "slowest": _slowest(run.rows),
        "settings": _settings_groups(run.settings),
    }


def _headline(run: RunRecord) -> str:
    counts = run.counts()
    ready = counts["done"] + counts["skipped"]
    if not run.rows:
        return "No slides"
    if ready == len(run.rows):
        return "The slide is ready" if ready == 1 else f"All {number(ready)} slides are ready"
    return f"{number(ready)} of {counted(len(run.rows), 'slide')} ready"


def _summary(run: RunRecord) -> str:
    """What is not ready or has a note, and how long it took."""
    counts = run.counts()
    words: dict[Status, str] = {
        "failed": "failed",
        "unsupported": "unsupported",
        "empty": "without tissue",
    }
    shortfalls = [
        f"{number(counts[status])} {word}" for status, word in words.items() if counts[status]
    ]
    noted = sum(1 for row in run.rows if warning_of(row))
    if noted:
        shortfalls.append(f"{number(noted)} with a note")
    return ", ".join([*shortfalls, f"{duration(run.seconds)} on {run.workers}"])


def _status_counts(run: RunRecord) -> list[_StatusCount]:
    counts = run.counts()
    return [_StatusCount(status, counts[status], meaning) for status, meaning in _MEANINGS]


def _failure_groups(rows: Sequence[SlideRow]) -> list[_FailureGroup]:
    """Failures by reason, the most frequent first."""
    by_reason: dict[str, list[SlideRow]] = {}
    for row in rows:
        if row.is_failure:
            by_reason.setdefault(row.reason, []).append(row)
    return [
        _FailureGroup(reason, remedy_for(reason), tuple(group), len(group) <= _OPEN_GROUP)
        for reason, group in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]


def _pictures(run: RunRecord) -> Iterator[_Picture]:
    for row in run.rows:
        path = run.pictures.get(row.slide_id)
        if path is not None:
            # As bytes, so that a name that is not UTF-8 still leads to its file.
            yield _Picture(row, quote(os.fsencode(path)), tuple(_facts(row)))


def _facts(row: SlideRow) -> Iterator[str]:
    """The caption of a slide's picture."""
    yield counted(row.tiles, "tile")
    tissue, mpp = detail_number(row, "tissue_mm2"), detail_number(row, "mpp")
    if tissue is not None:
        yield f"{number(tissue)} mm² tissue"
    if mpp is not None:
        origin = row.details.get("mpp_origin")
        yield f"{number(mpp, 4)} µm/px" + (f" ({origin})" if origin else "")
    yield duration(row.seconds)


def _totals(run: RunRecord) -> Iterator[tuple[str, str]]:
    """The run's figures, those that are known."""
    yield "tiles", number(sum(row.tiles for row in run.rows))
    if tissue := _known(run.rows, "tissue_mm2"):
        yield "mm² tissue", number(sum(tissue))
    if megabytes := _known(run.rows, "megabytes"):
        yield "in stores", volume(sum(megabytes))
    yield "in all", duration(run.seconds)
    worked = _worked(run.rows)
    if worked and run.seconds > 0:
        yield "slides an hour", number(len(worked) * 3600 / run.seconds, 2)


def _known(rows: Sequence[SlideRow], name: str) -> list[float]:
    """A detail of the slides that have it."""
    return [value for row in rows if (value := detail_number(row, name)) is not None]


def _times(run: RunRecord) -> Iterator[tuple[str, str]]:
    worked = _worked(run.rows)
    yield "Whole run", duration(run.seconds)
    if not worked:
        return
    yield "Median slide", duration(statistics.median(row.seconds for row in worked))
    slowest = max(worked, key=lambda row: row.seconds)
    yield "Slowest slide", f"{duration(slowest.seconds)} ({slowest.slide_id})"
    if run.seconds > 0:
        tiles = sum(row.tiles for row in worked)
        yield "Pace", f"{number(len(worked) * 3600 / run.seconds, 2)} slides an hour"
        yield "Tiles a second", number(tiles / run.seconds, 2)
    if peaks := _known(worked, "peak_mb"):
        yield "Peak memory of a worker", volume(max(peaks))


def _worked(rows: Sequence[SlideRow]) -> list[SlideRow]:
    """The slides that this run spent its time on."""
    return [row for row in rows if row.status != "skipped"]


def _slowest(rows: Sequence[SlideRow]) -> list[_Slow]:
    ranked = sorted(_worked(rows), key=lambda row: -row.seconds)[:_SLOWEST]
    longest = max((row.seconds for row in ranked), default=0.0)
    return [_Slow(row, 100 * row.seconds / longest) for row in ranked] if longest else []


def _settings_groups(settings: Mapping[str, Any]) -> dict[str, list[tuple[str, Any]]]:
    """Settings by their first name; those without a group come first, under no name."""
    groups: dict[str, list[tuple[str, Any]]] = {"": []}
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            groups[name] = list(flattened(value))
        else:
            groups[""].append((name, value))
    return {name: leaves for name, leaves in groups.items() if leaves}
