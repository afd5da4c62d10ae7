"""`TileIndex`: descriptors of a cohort's tiles on disk, opened to be searched.

Layout (format version 1) — a folder ``index/<encoder>``::

    index.json                   `IndexRecord`: header, choice, slides with all their columns
    slide_descriptors.npy        float32 (S, D), a row a slide
    shard-<number>/              slides that can be searched by themselves; usually one shard
        centre_um.npy            float32 (n, 2), centres in micrometres from each slide's origin
        codes.faiss              lists, codes and numbers; absent where the index is flat

Tiles of a shard are numbered slide by slide and row by row: slide and row follow from the number,
so that they need no column. Descriptors stay where they are, in the embedding caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from wsi_tower.embeddings import open_cache
from wsi_tower.errors import CorruptStoreError
from wsi_tower.retrieval.codes import CodedTiles
from wsi_tower.retrieval.record import IndexRecord, damaged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.embeddings import EmbeddingCache
    from wsi_tower.retrieval.record import IndexedSlide

__all__ = ["CODES_NAME", "DESCRIPTORS_NAME", "POSITIONS_NAME", "Shard", "TileIndex", "shard_name"]

POSITIONS_NAME = "centre_um.npy"
CODES_NAME = "codes.faiss"
DESCRIPTORS_NAME = "slide_descriptors.npy"


def shard_name(number: int) -> str:
    """Folder of a shard within the index."""
    return f"shard-{number}"


@dataclass(frozen=True, eq=False)
class Shard:
    """The part of an index that holds some of its slides."""

    folder: Path
    """Where it lies."""
    slides: NDArray[np.int64]
    """Numbers of its slides in the index, in the order of their tiles: (s,)."""
    starts: NDArray[np.int64]
    """Number of each slide's first tile, and of one behind the last: (s + 1,)."""

    @cached_property
    def codes(self) -> CodedTiles:
        """Its coded tiles.

        Raises:
            CorruptStoreError: they cannot be read, or are of other slides.
        """
        codes = CodedTiles.open(self.folder / CODES_NAME)
        if len(codes) != self.starts[-1]:
            raise damaged(
                self.folder.parent,
                f"{self.folder.name} has {len(codes):,} codes for {self.starts[-1]:,} tiles",
            )
        return codes

    @cached_property
    def centre_um(self) -> NDArray[np.float32]:
        """Centres of its tiles in micrometres, mapped: (n, 2)."""
        return mapped(self.folder / POSITIONS_NAME, (int(self.starts[-1]), 2))

    def ranges(self, allowed: NDArray[np.bool_]) -> list[tuple[int, int]]:
        """Runs of its tiles whose slides are ``allowed`` (S,), neighbours joined."""
        runs: list[tuple[int, int]] = []
        for place in np.flatnonzero(allowed[self.slides]).tolist():
            start, stop = int(self.starts[place]), int(self.starts[place + 1])
            if runs and runs[-1][1] == start:
                runs[-1] = (runs[-1][0], stop)
            else:
                runs.append((start, stop))
        return runs

    def placed(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Slides, by their number in the index, and rows of tiles: (n,) each."""
        places = np.searchsorted(self.starts, numbers, "right") - 1
        return self.slides[places], numbers - self.starts[places]


class TileIndex:
    """An index opened for reading. Nothing needs closing."""

    def __init__(self, path: Path, record: IndexRecord) -> None:
        self.path = path
        self.record = record
        self._numbers = {slide.slide_id: number for number, slide in enumerate(record.slides)}
        self._caches: dict[int, EmbeddingCache] = {}
        self._features: dict[int, NDArray[Any]] = {}

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open an index: its record is read, everything else is mapped when it is needed.

        Raises:
            CorruptStoreError: no index, damaged, or of another format version.
        """
        return cls(Path(path), IndexRecord.read(Path(path)))

    def __len__(self) -> int:
        return int(self.tiles.sum())

    @property
    def slides(self) -> tuple[IndexedSlide, ...]:
        """Its slides, by id; their place here is their number."""
        return self.record.slides

    @cached_property
    def tiles(self) -> NDArray[np.int64]:
        """Tiles of every slide: (S,)."""
        return np.array([slide.tiles for slide in self.slides], np.int64)

    @cached_property
    def slide_descriptors(self) -> NDArray[np.float32]:
        """A vector a slide, mapped: (S, D)."""
        shape = (len(self.slides), self.record.choice.length)
        return mapped(self.path / DESCRIPTORS_NAME, shape)

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """Its parts."""
        return tuple(self._shard(number) for number in range(self.record.shards))

    def number_of(self, slide_id: str) -> int | None:
        """A slide's number; None where it is not indexed."""
        return self._numbers.get(slide_id)

    def centre_um(self, number: int) -> NDArray[np.float32]:
        """Centres of a slide's tiles in micrometres from its origin: (N, 2)."""
        slide = self.slides[number]
        return self.shards[slide.shard].centre_um[slide.first : slide.first + slide.tiles]

    def cache(self, number: int) -> EmbeddingCache:
        """A slide's embedding cache, opened once.

        Raises:
            CorruptStoreError: missing, damaged, or changed after it was indexed.
        """
        if number not in self._caches:
            self._caches[number] = self._opened(self.slides[number])
        return self._caches[number]

    def features(self, number: int) -> NDArray[Any]:
        """Descriptors of a slide's tiles, mapped: (N, D) float32 or float16.

        Raises:
            CorruptStoreError: see `cache`.
        """
        # A plain view, since a memmap's own indexing takes several times as long for a few rows.
        if number not in self._features:
            self._features[number] = np.asarray(self.cache(number).features)
        return self._features[number]

    def _opened(self, slide: IndexedSlide) -> EmbeddingCache:
        cache = open_cache(slide.cache_path(self.path))
        if cache.content_digest != slide.content_digest or len(cache) != slide.tiles:
            raise CorruptStoreError(
                f"embedding cache {cache.path} changed after it was indexed (digest "
                f"{cache.content_digest[:8]}… instead of {slide.content_digest[:8]}…); bring the "
                f"index up to date with `wsi-tower index --encoder {self.record.encoder}`"
            )
        return cache

    def _shard(self, number: int) -> Shard:
        own = [place for place, slide in enumerate(self.slides) if slide.shard == number]
        own.sort(key=lambda place: self.slides[place].first)
        tiles = np.array([self.slides[place].tiles for place in own], np.int64)
        starts = np.concatenate([[0], np.cumsum(tiles)])
        if [self.slides[place].first for place in own] != starts[:-1].tolist():
            raise damaged(self.path, f"the slides of shard {number} do not follow each other")
        return Shard(self.path / shard_name(number), np.array(own, np.int64), starts)


def mapped(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A float32 array of the index, mapped.

    Raises:
        CorruptStoreError: missing, damaged, or of another shape.
    """
    try:
        # An empty file cannot be mapped, and there is no shard without tiles but an empty one.
        values: NDArray[np.float32] = np.load(path, mmap_mode="r" if shape[0] else None)
    except (OSError, ValueError) as error:
        raise CorruptStoreError(
            f"index file {path} cannot be read ({error}); remake it with `wsi-tower index "
            f"--overwrite`"
        ) from error
    if values.shape != shape or values.dtype != np.float32:
        raise CorruptStoreError(
            f"index file {path} holds {values.dtype} {values.shape} instead of float32 {shape}; "
            f"remake it with `wsi-tower index --overwrite`"
        )
    return values
