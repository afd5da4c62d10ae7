"""What ``wsi-tower evaluate`` says: tables, JSON, CSV, and what to know of the numbers."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from wsi_tower.errors import AnnotationError
from wsi_tower.records import write_text_aside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from wsi_tower.annotations import AnnotationFiles
    from wsi_tower.scores import Addr, Cohort, Interval, Score, TumourScores, TumourSettings

__all__ = [
    "ADDR_HEADS",
    "Evaluation",
    "addr_cells",
    "addr_notes",
    "addr_row",
    "check_any_match",
    "file_notes",
    "floor_notes",
    "slides_and_tiles",
    "span",
    "stain_notes",
    "tumour_cells",
    "tumour_heads",
    "tumour_row",
    "write_csv",
]

_WHO = ("encoder", "descriptor", "stain")
_STAINS = {"none": "as scanned", "macenko": "normalised by Macenko's method"}
ADDR_HEADS = (*_WHO, "ADDR", "95 % over slides", "mean of slides", "")
"""Heads of the table of ADDR; the last column says what is a floor."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gave."""

    score: str
    """Which it was."""
    headline: str
    """What was asked, in a line."""
    settings: dict[str, Any]
    """The same, as plain values."""
    rows: tuple[dict[str, Any], ...]
    """A row an encoder or floor, as ``--json`` prints it."""
    table: tuple[Sequence[str], ...]
    """The same for people, heads first."""
    notes: tuple[str, ...]
    """What a reader of the numbers should know."""
    written: tuple[Path, ...]
    """Pictures."""
    seconds: float
    """How long it took, start-up of the process not counted."""
    rows_name: str = "encoders"
    """What ``--json`` calls the rows."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What it holds beside."""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "score": self.score,
            "settings": self.settings,
            "seconds": self.seconds,
            self.rows_name: list(self.rows),
            **self.more,
            "notes": list(self.notes),
            "pictures": [str(path.absolute()) for path in self.written],
        }


def addr_row(cohort: Cohort, score: Addr) -> dict[str, Any]:
    """An encoder's ADDR as plain values."""
    return _told(cohort) | {
        "addr": score.pooled,
        "interval": score.interval,
        "slide_mean": score.slide_mean,
        "pairs": score.pairs,
        "by_slide": [asdict(one) | {"addr": one.addr} for one in score.slides],
    }


def tumour_row(cohort: Cohort, score: TumourScores) -> dict[str, Any]:
    """An encoder's retrieval and neighbours as plain values."""
    return _told(cohort) | asdict(score)


def addr_cells(cohort: Cohort, score: Addr) -> tuple[str, ...]:
    """An encoder's line below `ADDR_HEADS`."""
    pooled = (f"{score.pooled:.3f}", span(score.interval, ".3f"), f"{score.slide_mean:.3f}")
    return (*_who(cohort), *pooled, _floor(cohort))


def tumour_heads(settings: TumourSettings) -> tuple[str, ...]:
    """Heads of the table of tumour scores."""
    top, votes = settings.retrieval.top, settings.neighbours.neighbours
    names = ("top-1", "95 % over slides", f"top-{top}", "of those tumour", f"{votes}-NN accuracy")
    return (*_WHO, *names, "")


def tumour_cells(cohort: Cohort, score: TumourScores) -> tuple[str, ...]:
    """An encoder's line below `tumour_heads`."""
    found = score.retrieval
    return (
        *_who(cohort),
        f"{found.top_1.value:.1%}",
        span(found.top_1.interval, ".1%"),
        _beside_chance(found.top_k),
        _beside_chance(found.precision),
        f"{score.neighbours.balanced:.1%}",
        _floor(cohort),
    )


def slides_and_tiles(cohort: Cohort) -> str:
    """How many there are, in words."""
    count = len(cohort.caches)
    return f"{count} slide{'' if count == 1 else 's'}, {cohort.tiles:,} tiles"


def addr_notes(score: Addr) -> Iterator[str]:
    """Which slides had no pairs, and what is missing for an interval."""
    without = [one.slide_id for one in score.slides if not one.pairs]
    if without:
        yield (
            f"{len(without)} slides have no tile with a near and a distant partner and are left "
            f"out: {_some(without)}"
        )
    if score.interval is None:
        yield "one slide alone gives no interval over slides"


def file_notes(files: AnnotationFiles, cohort: Cohort) -> Iterator[str]:
    """Slides without a file, and files without a slide."""
    without = [one.slide_id for one in cohort.caches if one.slide_id not in files.of_slide]
    if without:
        yield (
            f"{len(without)} of {len(cohort.caches)} slides have no annotation file and count as "
            f"free of tumour: {_some(without)}"
        )
    if files.of_none:
        names = [path.name for path in files.of_none]
        yield f"{len(names)} annotation files are of no scored slide: {_some(names)}"


def check_any_match(folder: Path, files: AnnotationFiles, cohort: Cohort) -> None:
    """Refuse annotation files of other slides altogether.

    Raises:
        AnnotationError: none is of a slide of the cohort.
    """
    if not files.of_slide:
        raise AnnotationError(
            f"none of {len(files.of_none)} annotation files in {folder} is of an embedded slide: "
            f"they are called {files.of_none[0].name} and so on, the slides "
            f"{cohort.caches[0].slide_id} and so on; name each file as its slide"
        )


def stain_notes(cohorts: Sequence[Cohort]) -> Iterator[str]:
    """Which encoders saw other tiles than the published ones did, and how to mend that."""
    normalised = {one.caches[0].encoder_id for one in cohorts if one.stain == "reinhard"}
    for cohort in cohorts:
        name = cohort.caches[0].encoder_id
        if cohort.role == "encoder" and cohort.stain != "reinhard" and name not in normalised:
            yield (
                f"{cohort.encoder} saw tiles {_STAINS[cohort.stain]}; published scores are of "
                f"tiles normalised by Reinhard's method in LAB: `wsi-tower embed --encoder {name} "
                f"--stain reinhard`, then evaluate {cohort.encoder}-reinhard"
            )


def floor_notes(cohorts: Sequence[Cohort]) -> Iterator[str]:
    """Whether a floor that was asked for is missing."""
    floors = [one.encoder for one in cohorts if one.role == "floor"]
    if floors and not any(name.startswith("untrained") for name in floors):
        yield (
            "there is no floor of random weights, since the encoders' architecture is not known "
            "here; name the workspace that has their folder with another -w"
        )


def write_csv(path: Path | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """A line an encoder; what is known of single slides is left to ``--json``."""
    if path is None:
        return
    flat = [dict(_flattened(row)) for row in rows]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    write_text_aside(path, text.getvalue())


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        elif name == "interval":
            low, high = value or ("", "")
            yield from ((f"{prefix}low", low), (f"{prefix}high", high))
        elif not isinstance(value, list | tuple):
            yield f"{prefix}{name}", value


def _told(cohort: Cohort) -> dict[str, Any]:
    first = cohort.caches[0]
    return {
        "encoder": cohort.encoder,
        "role": cohort.role,
        "descriptor": first.descriptor,
        "length": int(first.features.shape[1]),
        "stain": cohort.stain,
        "slides": len(cohort.caches),
        "tiles": cohort.tiles,
    }


def _who(cohort: Cohort) -> tuple[str, str, str]:
    return cohort.encoder, cohort.descriptor, cohort.stain


def _floor(cohort: Cohort) -> str:
    return "floor" if cohort.role == "floor" else ""


def span(interval: Interval | None, form: str) -> str:
    """An interval in words; a dash for none."""
    return "–" if interval is None else f"{interval.low:{form}} to {interval.high:{form}}"


def _beside_chance(score: Score) -> str:
    return f"{score.value:.1%} (chance {score.chance:.1%})"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
