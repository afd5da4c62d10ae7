"""The nearest tiles of a cohort: by codes first where the index is compressed, always exact last.

The same steps whether the shards are searched here, one after the other, or elsewhere: each gives
its candidates with both distances, and only then the nearest of all are taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from wsi_tower.retrieval.codes import faiss_threads
from wsi_tower.retrieval.exact import distances_to, near_rows
from wsi_tower.retrieval.settings import SearchSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from wsi_tower.retrieval.tile_index import Shard, TileIndex

__all__ = [
    "NO_CANDIDATES",
    "Asked",
    "Candidates",
    "Nearest",
    "SearchShards",
    "nearest",
    "search_here",
    "searched",
]

_CANDIDATES_PER_HIT = 4
_SPARE = 8
"""More than asked for are chosen by single precision before double precision ranks them."""
_FEW_SHARE = 1 / 16
"""Part of all tiles that a filter leaves up to which they are all compared: probing for rarer ones
reads more codes than it saves descriptors."""
_WIDENING = 4


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question to a shard; plain values, so that it can travel."""

    vectors: NDArray[np.float32]
    """The queries: (Q, D)."""
    count: int
    """Candidates to give for each."""
    allowed: NDArray[np.bool_]
    """Which slides of the index may answer: (S,)."""
    probes: int
    """Lists to look through; 0 compares every descriptor."""


class Candidates(NamedTuple):
    """What a shard found."""

    slides: NDArray[np.int64]
    """Numbers of the tiles' slides in the index: (n,)."""
    rows: NDArray[np.int64]
    """Rows of the tiles in their slides: (n,)."""
    distances: NDArray[np.float64]
    """Exact Euclidean distances: (n,)."""
    approximate: NDArray[np.float64]
    """What they were chosen by: squared distances as the codes tell them, or the exact ones."""

    def __len__(self) -> int:
        return len(self.slides)

    def taken(self, places: NDArray[np.intp]) -> Candidates:
        """Some of them."""
        return Candidates(
            self.slides[places],
            self.rows[places],
            self.distances[places],
            self.approximate[places],
        )


NO_CANDIDATES = Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))

SearchShards: TypeAlias = "Callable[[TileIndex, Asked], list[list[Candidates]]]"
"""Puts a question to every shard of an index: by shard, then by query."""


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Tiles in the order of their distance; of equal ones by slide and row."""

    slides: NDArray[np.int64]
    """Numbers of their slides in the index: (n,)."""
    rows: NDArray[np.int64]
    """Rows in their slides: (n,)."""
    distances: NDArray[np.float64]
    """Euclidean distances to the query: (n,)."""
    is_all: bool = field(default=False)
    """Whether no other tile was allowed to answer."""

    def __len__(self) -> int:
        return len(self.slides)


def nearest(
    index: TileIndex,
    vectors: NDArray[np.float32],
    count: int,
    *,
    allowed: NDArray[np.bool_] | None = None,
    settings: SearchSettings | None = None,
    search: SearchShards | None = None,
) -> list[Nearest]:
    """The tiles nearest to each of ``vectors`` among those of the allowed slides.

    Slides that are not allowed are passed over within the search, so that however many of the
    nearest tiles are theirs, ``count`` others are found.

    Args:
        index: to search.
        vectors: the queries: (Q, D).
        count: tiles wanted for each; fewer come only where no more are allowed.
        allowed: which slides may answer: (S,); None: all.
        settings: how thoroughly.
        search: puts the question to the shards; None: here, one after the other.

    Raises:
        CorruptStoreError: index or cache damaged, or a cache changed after it was indexed.
    """
    settings = settings or SearchSettings()
    allowed = np.ones(len(index.slides), bool) if allowed is None else allowed
    left = int(index.tiles[allowed].sum())
    count = min(count, left)
    wanted, probes = _thoroughness(index, left, count, settings)
    asked = Asked(np.ascontiguousarray(vectors, np.float32), wanted, allowed, probes)
    lists = index.record.choice.lists
    with faiss_threads(settings.threads):
        while True:
            shards = (search or search_here)(index, asked)
            found = [_joined(parts, wanted) for parts in zip(*shards, strict=True)]
            if asked.probes in (0, lists) or all(len(one) >= wanted for one in found):
                break
            asked = replace(asked, probes=min(asked.probes * _WIDENING, lists))
    return [_nearest(one, count, left) for one in found]


def search_here(index: TileIndex, asked: Asked) -> list[list[Candidates]]:
    """Every shard in this process."""
    return [searched(index, shard, asked) for shard in index.shards]


def searched(index: TileIndex, shard: Shard, asked: Asked) -> list[Candidates]:
    """A shard's candidates for each query, with their exact distances."""
    if not asked.probes:
        return _by_comparing(index, shard, asked)
    ranges = shard.ranges(asked.allowed)
    return [_by_codes(index, shard, asked, vector, ranges) for vector in asked.vectors]


def _by_codes(
    index: TileIndex,
    shard: Shard,
    asked: Asked,
    vector: NDArray[np.float32],
    ranges: list[tuple[int, int]],
) -> Candidates:
    if not ranges:
        return NO_CANDIDATES
    found = shard.codes.nearest(vector, asked.count, asked.probes, ranges)
    slides, rows = shard.placed(found.numbers)
    distances = _exact(index, vector, slides, rows)
    return Candidates(slides, rows, distances, found.approximate.astype(np.float64))


def _by_comparing(index: TileIndex, shard: Shard, asked: Asked) -> list[Candidates]:
    numbers = shard.slides[asked.allowed[shard.slides]].tolist()
    features = [index.features(number) for number in numbers]
    return [_compared(index, vector, asked.count, (numbers, features)) for vector in asked.vectors]


def _compared(
    index: TileIndex,
    vector: NDArray[np.float32],
    count: int,
    slides: tuple[list[int], list[NDArray[Any]]],
) -> Candidates:
    """The nearest of all tiles of some slides: chosen by single precision, ranked by double."""
    numbers, features = slides
    if not numbers:
        return NO_CANDIDATES
    found = [near_rows(vector, own, count + _SPARE) for own in features]
    squared = np.concatenate([distances for _, distances in found])
    rows = np.concatenate([rows for rows, _ in found])
    places = np.repeat(np.array(numbers), [len(rows) for rows, _ in found])
    if len(rows) > count + _SPARE:
        near = np.argpartition(squared, count + _SPARE)[: count + _SPARE]
        rows, places = rows[near], places[near]
    distances = _exact(index, vector, places, rows)
    return _joined([Candidates(places, rows, distances, distances)], count)


def _nearest(found: Candidates, count: int, left: int) -> Nearest:
    order = np.lexsort((found.rows, found.slides, found.distances))[:count]
    best = found.taken(order)
    return Nearest(best.slides, best.rows, best.distances, is_all=len(best) == left)


def _thoroughness(
    index: TileIndex, left: int, count: int, settings: SearchSettings
) -> tuple[int, int]:
    """Candidates and probes for a question; 0 probes where every tile is compared."""
    choice = index.record.choice
    few = left <= max(settings.compare_below, _FEW_SHARE * len(index))
    if choice.kind == "flat" or few:
        return count, 0
    wanted = min(left, max(settings.candidates, _CANDIDATES_PER_HIT * count))
    # Lists hold fewer tiles that may answer, the fewer a filter leaves.
    probes = round(settings.probes * len(index) / left)
    return wanted, min(max(probes, 1), choice.lists)


def _joined(parts: Iterable[Candidates], count: int) -> Candidates:
    """The ``count`` best of all, by what they were chosen by."""
    found = Candidates(*map(np.concatenate, zip(*parts, strict=True)))
    if len(found) <= count:
        return found
    return found.taken(np.lexsort((found.rows, found.slides, found.approximate))[:count])


def _exact(
    index: TileIndex,
    vector: NDArray[np.float32],
    slides: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Distances by the descriptors themselves, read slide by slide in the order of the file."""
    order = np.lexsort((rows, slides))
    edges = np.flatnonzero(np.diff(slides[order], prepend=-1, append=-1))
    features = np.empty((len(slides), len(vector)), np.float32)
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        own = index.features(int(slides[order[start]]))
        features[start:stop] = own[rows[order[start:stop]]]
    distances = np.empty(len(slides))
    distances[order] = distances_to(vector, features)
    return distances
