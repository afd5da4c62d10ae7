"""The nearest tiles of a cohort: by codes first where the index is compressed, always exact last.

The same steps whether the shards are searched here, one after the other, or elsewhere: each gives
its candidates with both distances, and only then the nearest of all are taken.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from wsi_tower.retrieval.codes import faiss_threads
from wsi_tower.retrieval.exact import distances_to, nearest_rows
from wsi_tower.retrieval.settings import SearchSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from wsi_tower.retrieval.tile_index import Shard, TileIndex

__all__ = ["Asked", "Candidates", "Nearest", "SearchShards", "nearest", "search_here", "searched"]

_CANDIDATES_PER_HIT = 4
_FEW_TILES = 100_000
"""Tiles left by a filter up to which all are compared: as quick as looking through codes."""
_FEW_SHARE = 1 / 16
"""Part of all tiles up to which that holds, too: probing for rarer tiles reads more codes than it
saves descriptors."""
_WIDENING = 4


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A question to a shard; plain values, so that it can travel."""

    vector: NDArray[np.float32]
    """The query: (D,)."""
    count: int
    """Candidates to give."""
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


SearchShards: TypeAlias = "Callable[[TileIndex, Asked], list[Candidates]]"
"""Puts a question to every shard of an index."""


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
    vector: NDArray[np.float32],
    count: int,
    *,
    allowed: NDArray[np.bool_] | None = None,
    settings: SearchSettings | None = None,
    search: SearchShards | None = None,
) -> Nearest:
    """The tiles nearest to ``vector`` among those of the allowed slides.

    Slides that are not allowed are passed over within the search, so that however many of the
    nearest tiles are theirs, ``count`` others are found.

    Args:
        index: to search.
        vector: the query: (D,).
        count: tiles wanted; fewer come only where no more are allowed.
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
    asked = Asked(np.ascontiguousarray(vector, np.float32), wanted, allowed, probes)
    with faiss_threads(settings.threads):
        while True:
            found = _joined((search or search_here)(index, asked), wanted)
            if len(found) >= wanted or asked.probes in (0, index.record.choice.lists):
                break
            more = min(asked.probes * _WIDENING, index.record.choice.lists)
            asked = replace(asked, probes=more)
    order = np.lexsort((found.rows, found.slides, found.distances))[:count]
    best = found.taken(order)
    return Nearest(best.slides, best.rows, best.distances, is_all=len(best) == left)


def search_here(index: TileIndex, asked: Asked) -> list[Candidates]:
    """Every shard in this process."""
    return [searched(index, shard, asked) for shard in index.shards]


def searched(index: TileIndex, shard: Shard, asked: Asked) -> Candidates:
    """A shard's candidates, with their exact distances."""
    if not asked.probes:
        return _by_comparing(index, shard, asked)
    ranges = shard.ranges(asked.allowed)
    if not ranges:
        return _NONE
    found = shard.codes.nearest(asked.vector, asked.count, asked.probes, ranges)
    slides, rows = shard.placed(found.numbers)
    distances = _exact(index, asked.vector, slides, rows)
    return Candidates(slides, rows, distances, found.approximate.astype(np.float64))


def _thoroughness(
    index: TileIndex, left: int, count: int, settings: SearchSettings
) -> tuple[int, int]:
    """Candidates and probes for a question; 0 probes where every tile is compared."""
    choice = index.record.choice
    few = left <= max(_FEW_TILES, _FEW_SHARE * len(index))
    if choice.kind == "flat" or few:
        return count, 0
    wanted = min(left, max(settings.candidates, _CANDIDATES_PER_HIT * count))
    # Lists hold fewer tiles that may answer, the fewer a filter leaves.
    probes = round(settings.probes * len(index) / left)
    return wanted, min(max(probes, 1), choice.lists)


def _by_comparing(index: TileIndex, shard: Shard, asked: Asked) -> Candidates:
    parts = [_NONE]
    for number in shard.slides[asked.allowed[shard.slides]].tolist():
        rows, distances = nearest_rows(asked.vector, index.features(number), asked.count)
        parts.append(Candidates(np.full(len(rows), number), rows, distances, distances))
    return _joined(parts, asked.count)


def _joined(parts: list[Candidates], count: int) -> Candidates:
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


_NONE = Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), np.empty(0))
