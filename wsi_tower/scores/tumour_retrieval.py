"""Cross-slide tumour retrieval: does a tumour tile find tumour on other patients' slides?

As in Gildenblat and Klaiman (arXiv 1905.08139): tiles wholly inside annotated tumour ask, the
nearest tiles by L2 distance among all tiles of other slides answer, and the score is the share of
queries whose first answer is tumour. Other slides of the same patient do not answer either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.errors import SettingsError
from wsi_tower.scores.bootstrap import BootstrapSettings, Interval, interval_over_slides, ratio_of
from wsi_tower.scores.labelled import LabelRules, check_comparable
from wsi_tower.scores.nearest import check_finite, nearest_elsewhere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.scores.labelled import LabelledSlide

__all__ = ["Retrieval", "RetrievalSettings", "Score", "SlideRetrieval", "tumour_retrieval"]


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """What is asked, and what counts."""

    top: int = 10
    """k: answers of each query beyond the first that are looked at."""
    rules: LabelRules = field(default_factory=LabelRules)
    """How much of a tile tumour must cover."""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise SettingsError(f"top is {self.top}; look at 1 answer or more")


@dataclass(frozen=True, slots=True)
class Score:
    """A share of queries, what chance gives, and how sure it is."""

    value: float
    """0 to 1, over all queries."""
    chance: float
    """What answers drawn at random from the same tiles would give, on average."""
    interval: Interval | None
    """Of ``value`` over the slides that ask; None for a single one."""


@dataclass(frozen=True, slots=True)
class SlideRetrieval:
    """What one slide asked and got."""

    slide_id: str
    """The slide."""
    queries: int
    """Its tiles that asked."""
    top_1: int
    """How many of them had tumour as their first answer."""
    top_k: int
    """How many had tumour among their first k answers."""
    tumour_answers: int
    """Tumour tiles among the first k answers of all of them."""


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How well tumour finds tumour."""

    top: int
    """k."""
    queries: int
    """Tiles that asked."""
    tiles: int
    """Tiles of all slides."""
    tumour_tiles: int
    """Those that count as tumour."""
    top_1: Score
    """Share of queries whose first answer is tumour: the published score."""
    top_k: Score
    """Share of queries with tumour among their first k answers."""
    precision: Score
    """Share of tumour among the first k answers."""
    slides: tuple[SlideRetrieval, ...]
    """The slides that asked."""


def tumour_retrieval(
    slides: Sequence[LabelledSlide],
    settings: RetrievalSettings | None = None,
    bootstrap: BootstrapSettings | None = None,
) -> Retrieval:
    """Let the tumour tiles of every slide look for tumour on other patients' slides.

    Args:
        slides: all that may answer; those without tumour belong to it.
        settings: what asks, and what counts as tumour.
        bootstrap: how intervals are drawn.

    Raises:
        ScoreError: there is nothing to find (see `check_comparable`), or a descriptor is not
            finite.
    """
    settings = settings or RetrievalSettings()
    bootstrap = bootstrap or BootstrapSettings()
    rules = settings.rules
    check_comparable(slides, rules)
    for slide in slides:
        check_finite(slide.features, slide.slide_id)
    queries = [slide.queries(rules) for slide in slides]
    patients = [slide.patient for slide in slides]
    found = nearest_elsewhere([one.features for one in slides], patients, queries, settings.top)
    is_tumour = _answers(slides, rules, found.slides, found.rows)
    rows = _rows(slides, queries, is_tumour)
    chances = _chances(slides, queries, rules, settings.top)
    top_1, top_k, precision = (
        _score([(getattr(row, name), row.queries * each) for row in rows], chance, bootstrap)
        for (name, each), chance in zip(
            (("top_1", 1), ("top_k", 1), ("tumour_answers", settings.top)), chances, strict=True
        )
    )
    return Retrieval(
        top=settings.top,
        queries=len(is_tumour),
        tiles=sum(len(slide.features) for slide in slides),
        tumour_tiles=sum(int(slide.is_tumour(rules).sum()) for slide in slides),
        top_1=top_1,
        top_k=top_k,
        precision=precision,
        slides=tuple(rows),
    )


def _answers(
    slides: Sequence[LabelledSlide],
    rules: LabelRules,
    found: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which answers are tumour: (Q, k)."""
    is_tumour = np.zeros(found.shape, np.bool_)
    for number, slide in enumerate(slides):
        here = found == number
        is_tumour[here] = slide.is_tumour(rules)[rows[here]]
    return is_tumour


def _rows(
    slides: Sequence[LabelledSlide],
    queries: Sequence[NDArray[np.int64]],
    is_tumour: NDArray[np.bool_],
) -> list[SlideRetrieval]:
    ends = np.cumsum([len(rows) for rows in queries])
    return [
        SlideRetrieval(
            slide_id=slide.slide_id,
            queries=len(rows),
            top_1=int(answers[:, 0].sum()),
            top_k=int(answers.any(axis=1).sum()),
            tumour_answers=int(answers.sum()),
        )
        for slide, rows, answers in zip(
            slides, queries, np.split(is_tumour, ends[:-1]), strict=True
        )
        if len(rows)
    ]


def _chances(
    slides: Sequence[LabelledSlide],
    queries: Sequence[NDArray[np.int64]],
    rules: LabelRules,
    top: int,
) -> tuple[float, float, float]:
    """What k tiles drawn at random, none twice, would give: first, any of them, share of them."""
    tumour = np.array([slide.is_tumour(rules).sum() for slide in slides])
    tiles = np.array([len(slide.features) for slide in slides])
    first, some = [], []
    for slide in slides:
        others = np.array([other.patient != slide.patient for other in slides])
        of, all_tiles = int(tumour[others].sum()), int(tiles[others].sum())
        drawn = np.arange(min(top, all_tiles))
        none = np.prod(np.maximum(all_tiles - of - drawn, 0) / np.maximum(all_tiles - drawn, 1))
        first.append(of / max(all_tiles, 1))
        some.append(1 - none)
    weights = [len(rows) for rows in queries]
    share = float(np.average(first, weights=weights))
    return share, float(np.average(some, weights=weights)), share


def _score(sums: list[tuple[int, int]], chance: float, bootstrap: BootstrapSettings) -> Score:
    counts = np.array(sums, np.float64)
    value = float(ratio_of(counts.sum(axis=0, keepdims=True))[0])
    return Score(value, chance, interval_over_slides(counts, ratio_of, bootstrap))
