"""The nearest tiles on other patients' slides: exact, in blocks that fit in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wsi_tower.errors import ScoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.embeddings import FeatureArray

__all__ = ["Neighbours", "check_finite", "nearest_elsewhere"]

_QUERIES_AT_ONCE = 1024
_TILES_AT_ONCE = 8192
_SPARE = 16
"""Candidates kept beyond those asked for: products in float32 round, and the order among these is
then found in float64."""
_CHECKED_AT_ONCE = 65_536


class Neighbours(NamedTuple):
    """The nearest tiles of each query, the nearest first."""

    slides: NDArray[np.int64]
    """Number of their slide; -1 where there are fewer: (Q, k)."""
    rows: NDArray[np.int64]
    """Their row on it: (Q, k)."""
    distances: NDArray[np.float64]
    """L2 distance of descriptors; infinite where there are fewer: (Q, k)."""


def nearest_elsewhere(
    features: Sequence[FeatureArray],
    patients: Sequence[str],
    queries: Sequence[NDArray[np.int64]],
    count: int,
) -> Neighbours:
    """The nearest tiles to each query among all tiles of other patients.

    Equal distances are taken in the order of slides and rows.

    Args:
        features: descriptors, one (N_i, D) a slide.
        patients: whose each slide is; a query is never answered from a slide of its own patient.
        queries: rows that ask, one array a slide, perhaps empty; Q in all.
        count: k, how many to find.

    Raises:
        ScoreError: a descriptor is not finite.
    """
    owners = np.repeat(np.arange(len(queries)), [len(rows) for rows in queries])
    asked = np.concatenate(
        [np.asarray(one[rows], np.float32) for one, rows in zip(features, queries, strict=True)]
    )
    # Distances do not change when the origin moves, and products near it round less.
    mean = asked.sum(axis=0, dtype=np.float64) / max(1, len(asked))
    origin = mean.astype(np.float32)
    groups = np.unique(np.asarray(patients), return_inverse=True)[1]
    found = [_none(count)]
    for start in range(0, len(asked), _QUERIES_AT_ONCE):
        block = slice(start, start + _QUERIES_AT_ONCE)
        best = _Best(asked[block] - origin, groups[owners[block]], count + _SPARE)
        for slide, one in enumerate(features):
            best.look_at(one, origin, slide, int(groups[slide]))
        found.append(_ordered(features, asked[block], best, count))
    return Neighbours(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _none(count: int) -> Neighbours:
    """The neighbours of no query."""
    shape = (0, count)
    return Neighbours(np.empty(shape, np.int64), np.empty(shape, np.int64), np.empty(shape))


def check_finite(features: FeatureArray, slide_id: str) -> None:
    """Refuse descriptors that are no numbers.

    Raises:
        ScoreError: one is NaN or infinite; the message has its row.
    """
    for start in range(0, len(features), _CHECKED_AT_ONCE):
        is_sound = np.isfinite(features[start : start + _CHECKED_AT_ONCE]).all(axis=1)
        if not is_sound.all():
            raise ScoreError(
                f"slide {slide_id} has descriptors that are not finite numbers, tile row "
                f"{start + int(is_sound.argmin())} for one; embed it again with --overwrite, in "
                f"float32"
            )


class _Best:
    """The nearest candidates of a block of queries, so far."""

    def __init__(self, queries: NDArray[np.float32], groups: NDArray[np.int64], count: int) -> None:
        self._queries = queries
        self._groups = groups
        self._squares = np.einsum("qd,qd->q", queries, queries)
        shape = (len(queries), count)
        self.squared = np.full(shape, np.inf, np.float32)
        self.slides = np.full(shape, -1, np.int64)
        self.rows = np.zeros(shape, np.int64)

    def look_at(
        self, features: FeatureArray, origin: NDArray[np.float32], slide: int, group: int
    ) -> None:
        """Consider the tiles of one slide, for the queries of other patients."""
        asking = np.flatnonzero(self._groups != group)
        if not len(asking):
            return
        for start in range(0, len(features), _TILES_AT_ONCE):
            tiles = np.asarray(features[start : start + _TILES_AT_ONCE], np.float32) - origin
            squared = self._queries[asking] @ tiles.T
            squared *= -2
            squared += self._squares[asking, None]
            squared += np.einsum("td,td->t", tiles, tiles)
            self._take(asking, squared, slide, start)

    def _take(
        self, asking: NDArray[np.int64], squared: NDArray[np.float32], slide: int, start: int
    ) -> None:
        """Keep the nearest of what there was and what is new."""
        count = self.squared.shape[1]
        limits = self.squared[asking].max(axis=1)
        is_nearer = squared < limits[:, None]
        crowded = np.flatnonzero(is_nearer.sum(axis=1) > count)
        if len(crowded):
            last = np.partition(squared[crowded], count - 1, axis=1)[:, count - 1 : count]
            is_nearer[crowded] = squared[crowded] <= last
        queries, columns = np.nonzero(is_nearer)
        if not len(queries):
            return
        new = _padded(queries, len(asking))
        nearest = np.where(new >= 0, squared[queries, columns][new], np.inf)
        merged = np.concatenate([self.squared[asking], nearest], axis=1)
        slides = np.concatenate([self.slides[asking], np.where(new >= 0, slide, -1)], axis=1)
        rows = np.concatenate([self.rows[asking], (start + columns)[new]], axis=1)
        kept = np.argpartition(merged, count - 1, axis=1)[:, :count]
        self.squared[asking] = np.take_along_axis(merged, kept, axis=1)
        self.slides[asking] = np.take_along_axis(slides, kept, axis=1)
        self.rows[asking] = np.take_along_axis(rows, kept, axis=1)


def _padded(owners: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Places of each owner's entries in a sorted list of owners, filled up with -1: (count, most).

    ``[0, 0, 2]`` of 3 owners gives ``[[0, 1], [-1, -1], [2, -1]]``.
    """
    lengths = np.bincount(owners, minlength=count)
    places = np.full((count, int(lengths.max(initial=0))), -1, np.int64)
    numbers = np.arange(len(owners))
    places[owners, numbers - (np.cumsum(lengths) - lengths)[owners]] = numbers
    return places


def _ordered(
    features: Sequence[FeatureArray], asked: NDArray[np.float32], best: _Best, count: int
) -> Neighbours:
    """The candidates by their distance in float64."""
    distances = np.full(best.slides.shape, np.inf)
    for slide in np.unique(best.slides[best.slides >= 0]):
        query, place = np.nonzero(best.slides == slide)
        apart = np.asarray(features[slide][best.rows[query, place]], np.float64) - asked[query]
        distances[query, place] = np.sqrt(np.einsum("nd,nd->n", apart, apart))
    order = np.lexsort((best.rows, best.slides, distances), axis=1)[:, :count]
    return Neighbours(
        np.take_along_axis(best.slides, order, axis=1),
        np.take_along_axis(best.rows, order, axis=1),
        np.take_along_axis(distances, order, axis=1),
    )
