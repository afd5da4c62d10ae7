"""Answers to questions: hits with everything that is known of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_tower.retrieval.exact import distances_to
from wsi_tower.retrieval.filters import allowed_slides
from wsi_tower.retrieval.picking import fused, picked
from wsi_tower.retrieval.searching import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from wsi_tower.retrieval.asking import Question
    from wsi_tower.retrieval.picking import Picked
    from wsi_tower.retrieval.query_settings import QuerySettings
    from wsi_tower.retrieval.searching import SearchShards
    from wsi_tower.retrieval.settings import SearchSettings
    from wsi_tower.retrieval.tile_index import TileIndex

__all__ = ["Answer", "Hit", "SlideHit", "answer", "answer_slides"]

_LEAST_FOUND = 48
_FOUND_PER_HIT = 4
_WIDENING = 4


@dataclass(frozen=True, slots=True)
class Hit:
    """A tile that answers."""

    slide: str
    """Its slide."""
    row: int
    """Its row in the slide's tile store and embedding cache."""
    xy_l0: tuple[int, int]
    """Its top-left corner in level-0 pixels."""
    centre_um: tuple[float, float]
    """Its centre in micrometres from the slide's origin."""
    distance: float
    """Euclidean distance of its descriptor to the query, or to the nearest of several."""
    merged: int
    """Tiles that overlap it, are farther from the query, and were left out for it."""
    cohort: Mapping[str, str]
    """The cohort's columns of its slide."""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it: the cohort's columns stand behind its own."""
        own = {
            "slide": self.slide,
            "row": self.row,
            "xy_l0": list(self.xy_l0),
            "centre_um": list(self.centre_um),
            "distance": self.distance,
            "merged": self.merged,
        }
        return own | {name: one for name, one in self.cohort.items() if name not in own}


@dataclass(frozen=True, slots=True)
class SlideHit:
    """A slide that answers."""

    slide: str
    """Its id."""
    distance: float
    """Euclidean distance of the slides' descriptors."""
    tiles: int
    """Its tiles."""
    cohort: Mapping[str, str]
    """The cohort's columns."""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        own = {"slide": self.slide, "distance": self.distance, "tiles": self.tiles}
        return own | {name: one for name, one in self.cohort.items() if name not in own}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question came to."""

    query: dict[str, Any]
    """The question in plain values."""
    hits: tuple[Hit | SlideHit, ...]
    """Nearest first; of a question of several tiles, those first that most of them agree on."""
    searched_slides: int
    """Slides that could answer."""
    searched_tiles: int
    """Their tiles."""
    seconds: float
    """How long it took, the index being open."""
    notes: tuple[str, ...] = field(default=())
    """What a reader should know."""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "query": self.query,
            "hits": [hit.to_json() for hit in self.hits],
            "searched": {"slides": self.searched_slides, "tiles": self.searched_tiles},
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def answer(
    index: TileIndex,
    question: Question,
    settings: QuerySettings,
    search_settings: SearchSettings | None = None,
    search: SearchShards | None = None,
) -> Answer:
    """The tiles that look most like what is asked.

    Each vector of the question is searched for. Of several, the answers are joined by reciprocal
    rank fusion: a tile scores 1 / (60 + its rank) from each, the most first, and of equal scores
    the nearest. Tiles that overlap a better one, or an asked one, are merged into it.

    Args:
        index: to search.
        question: what is asked.
        settings: who may answer.
        search_settings: how thoroughly a compressed index is searched.
        search: puts the question to the shards; None: here.

    Raises:
        SettingsError: a filter on a column that the cohort does not have.
        InputError: no slide is left after the filters.
        CorruptStoreError: index or cache damaged, or a cache changed after it was indexed.
    """
    began = time.perf_counter()
    allowed = allowed_slides(index, question, settings)
    count = max(_LEAST_FOUND, _FOUND_PER_HIT * settings.hits)
    while True:
        lists = nearest(
            index,
            question.vectors,
            count,
            allowed=allowed,
            settings=search_settings,
            search=search,
        )
        shown = picked(index, fused(lists), question, settings)
        if len(shown) >= settings.hits or all(found.is_all for found in lists):
            break
        count *= _WIDENING
    hits = tuple(_hit(index, one) for one in shown)
    return _answer(index, question, settings, (allowed, hits), began)


def answer_slides(index: TileIndex, question: Question, settings: QuerySettings) -> Answer:
    """The slides whose descriptors are nearest to the question's one vector.

    A slide that is asked about never answers; others of its patient only where settings say so.

    Args:
        index: to search.
        question: the descriptor of a slide.
        settings: who may answer; `QuerySettings.per_slide` is of no account.

    Raises:
        SettingsError: a filter on a column that the cohort does not have.
        InputError: no slide is left after the filters.
        CorruptStoreError: the index is damaged.
    """
    began = time.perf_counter()
    settings = replace(settings, own_slide=False, per_slide=0)
    allowed = allowed_slides(index, question, settings)
    numbers = np.flatnonzero(allowed)
    distances = distances_to(question.vectors[0], index.slide_descriptors[numbers])
    order = np.argsort(distances, kind="stable")[: settings.hits]
    hits = tuple(
        SlideHit(slide.slide_id, float(distance), slide.tiles, slide.cohort)
        for slide, distance in (
            (index.slides[number], distances[place])
            for place, number in zip(order.tolist(), numbers[order].tolist(), strict=True)
        )
    )
    return _answer(index, question, settings, (allowed, hits), began)


def _hit(index: TileIndex, one: Picked) -> Hit:
    cache, slide = index.cache(one.slide), index.slides[one.slide]
    x_l0, y_l0 = cache.coords_l0[one.row].tolist()
    x_um, y_um = cache.centre_um[one.row].tolist()
    return Hit(
        slide=slide.slide_id,
        row=one.row,
        xy_l0=(x_l0, y_l0),
        centre_um=(x_um, y_um),
        distance=one.distance,
        merged=one.merged,
        cohort=slide.cohort,
    )


def _answer(
    index: TileIndex,
    question: Question,
    settings: QuerySettings,
    found: tuple[NDArray[np.bool_], tuple[Hit | SlideHit, ...]],
    began: float,
) -> Answer:
    allowed, hits = found
    return Answer(
        query=question.told,
        hits=hits,
        searched_slides=int(allowed.sum()),
        searched_tiles=int(index.tiles[allowed].sum()),
        seconds=round(time.perf_counter() - began, 4),
        notes=tuple(_notes(index, question, settings, len(hits))),
    )


def _notes(
    index: TileIndex, question: Question, settings: QuerySettings, hits: int
) -> Iterator[str]:
    column = settings.patient_column
    if question.slides and not settings.own_patient and column not in index.record.columns:
        yield (
            f"the cohort has no column {column!r}, so that other slides of the same patient may "
            f"answer; name another with --patient-column, or add it to the slide list"
        )
    if hits < settings.hits:
        limit = f" with at most {settings.per_slide} of a slide" if settings.per_slide else ""
        yield f"only {hits} of {settings.hits} hits: there are no more{limit}"
