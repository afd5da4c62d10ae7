"""The table of docs/evidence.md: rows of single runs, and what stands for a method."""

from __future__ import annotations

import csv
import io
import statistics
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self, TypeAlias

from wsi_tower.records import write_text_aside

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from wsi_tower.scores import Addr, Cohort, TumourScores

Scores: TypeAlias = "tuple[Addr, TumourScores]"

__all__ = ["Row", "markdown", "marked_text", "near_far_markdown", "write_rows"]

BEGIN, END = "<!-- evidence {name}: begin -->", "<!-- evidence {name}: end -->"
"""Between these the page is written by the benchmark."""

PUBLISHED = (
    ("*published: Siamese network, Camelyon16*", "head 128", "1.50", "34 %"),
    ("*published: ImageNet ResNet-50*", "pooled 2048", "1.38", "26 %"),
    ("*published: NPID*", "head 128", "1.28", "21 %"),
)
"""Gildenblat and Klaiman (arXiv 1905.08139), as a public review of the paper has it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One encoder's scores."""

    method: str
    """Method, or the floor's slug."""
    seed: int | None
    """Of the training; None for a floor."""
    descriptor: str
    """What describes a tile, and its length."""
    stain: str
    """How tiles were normalised."""
    addr: float
    """ADDR, pooled."""
    addr_low: float
    """Its interval over slides."""
    addr_high: float
    """Its interval over slides."""
    top_1: float
    """Share of tumour queries whose first answer is tumour."""
    top_1_low: float
    """Its interval over slides."""
    top_1_high: float
    """Its interval over slides."""
    top_k: float
    """Share with tumour among the first k."""
    accuracy: float
    """Balanced accuracy of voting neighbours."""

    @classmethod
    def of(cls, method: str, seed: int | None, cohort: Cohort, scores: Scores) -> Self:
        """From what was scored."""
        distances, tumour = scores
        found = tumour.retrieval
        return cls(
            method,
            seed,
            cohort.descriptor,
            cohort.stain,
            distances.pooled,
            *_ends(distances.interval),
            found.top_1.value,
            *_ends(found.top_1.interval),
            found.top_k.value,
            tumour.neighbours.balanced,
        )


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """A CSV with a line a run."""
    names = [field.name for field in fields(Row)]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[getattr(row, name) for name in names] for row in rows])
    write_text_aside(path, text.getvalue())


def markdown(rows: Sequence[Row], chance: TumourScores) -> str:
    """A line a method, mean and standard deviation over its runs, with the published ones below.

    Args:
        rows: runs and floors.
        chance: any of the scores; chance is the same in all.
    """
    top = chance.retrieval.top
    heads = (
        "",
        "descriptor",
        "ADDR",
        "tumour, first answer",
        f"tumour among {top}",
        "k-NN accuracy",
    )
    methods = {method: [row for row in rows if row.method == method] for method in
               dict.fromkeys(row.method for row in rows)}  # fmt: skip
    lines = [heads, ("---",) * len(heads), *map(_method_line, methods.values())]
    found = chance.retrieval
    lines.append(("chance", "", "1", _percent([found.top_1.chance]),
                  _percent([found.top_k.chance]), "50 %"))  # fmt: skip
    lines += [(*one, "", "") for one in PUBLISHED]
    return _lines(lines)


def near_far_markdown(named: Mapping[str, Addr]) -> str:
    """A line an encoder: mean distances of near and distant pairs, and their ratio."""
    lines = [("", "near", "distant", "ADDR"), ("---",) * 4]
    for name, score in named.items():
        (slide,) = score.slides
        lines.append((name, f"{slide.near:.4g}", f"{slide.distant:.4g}", f"{score.pooled:.3f}"))
    return _lines(lines)


def marked_text(page: str, name: str, text: str) -> str:
    """A page with what stands between its marks replaced.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = BEGIN.format(name=name), END.format(name=name)
    before, has_begin, rest = page.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"the page has no marks {begin} and {end}")
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def _lines(rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _method_line(rows: Sequence[Row]) -> tuple[str, ...]:
    first = rows[0]
    name = f"`{first.method}`" if first.seed is not None else f"floor: {first.method}"
    return (
        name,
        first.descriptor,
        _mean([row.addr for row in rows]),
        _percent([row.top_1 for row in rows]),
        _percent([row.top_k for row in rows]),
        _percent([row.accuracy for row in rows]),
    )


def _mean(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def _percent(values: Sequence[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.fmean(values):.1f}{spread} %"


def _ends(interval: Iterable[float] | None) -> tuple[float, float]:
    low, high = interval or (float("nan"), float("nan"))
    return low, high
