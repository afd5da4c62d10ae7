"""Writes the files of an index into a folder aside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from wsi_tower.draws import Draws
from wsi_tower.embeddings import open_cache
from wsi_tower.errors import CorruptStoreError
from wsi_tower.records import bytes_digest, write_text_aside
from wsi_tower.retrieval.choice import CODE_VALUES
from wsi_tower.retrieval.codes import SAMPLES_PER_CENTRE, CodedTiles
from wsi_tower.retrieval.planning import tiles_of
from wsi_tower.retrieval.record import RECORD_NAME
from wsi_tower.retrieval.tile_index import (
    CODES_NAME,
    DESCRIPTORS_NAME,
    POSITIONS_NAME,
    shard_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.embeddings import EmbeddingCache
    from wsi_tower.retrieval.planning import IndexPlan
    from wsi_tower.retrieval.record import IndexedSlide, IndexRecord

__all__ = ["IndexProgress", "IndexWriter", "file_digests", "write_record"]

IndexProgress: TypeAlias = "Callable[[str, int, int], None]"
"""Called with what is being done, tiles done and tiles in all."""

_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class IndexWriter:
    """Writes what a plan holds."""

    aside: Path
    """Folder to write to."""
    folder: Path
    """Where it will lie: caches are named as seen from there."""
    plan: IndexPlan
    """What the index is to hold."""
    progress: IndexProgress
    """Told what is being done."""

    def write(self, seed: int) -> None:
        """Write every file but the record, which tells of the others."""
        plan = self.plan
        is_coded = plan.choice.kind == "compressed"
        learnt = self._learnt(seed) if is_coded and plan.before is None else None
        for number, slides in enumerate(plan.shards):
            target = self.aside / shard_name(number)
            target.mkdir()
            if is_coded:
                # Not by truth: what holds no tile is false.
                codes = self._kept_codes(number) if learnt is None else learnt.emptied()
                self._add(codes, slides)
                codes.save(target / CODES_NAME)
            np.save(target / POSITIONS_NAME, _stacked(map(self._positions, slides), 2))
        vectors = (self._slide_descriptor(slide)[None] for slide in plan.slides)
        np.save(self.aside / DESCRIPTORS_NAME, _stacked(vectors, plan.choice.length))

    def _learnt(self, seed: int) -> CodedTiles:
        """Lists and codes from tiles taken evenly from every slide."""
        slides, choice = self.plan.slides, self.plan.choice
        tiles = tiles_of(slides)
        wanted = min(tiles, SAMPLES_PER_CENTRE * max(choice.lists, CODE_VALUES))
        offsets = Draws(seed, 0, np.arange(len(slides))).uniform("index")
        sample = np.empty((wanted, choice.length), np.float32)
        ends = np.cumsum([0, *(slide.tiles for slide in slides)]) * wanted // tiles
        for slide, start, end, offset in zip(slides, ends, ends[1:], offsets, strict=False):
            self.progress("reading samples", int(start), wanted)
            rows = (np.arange(end - start) + offset) * (slide.tiles / max(end - start, 1))
            sample[start:end] = self._cache(slide).features[rows.astype(np.int64)]
        self.progress("learning lists and codes", 0, wanted)
        return CodedTiles.learnt(choice, sample, seed)

    def _kept_codes(self, number: int) -> CodedTiles:
        """The codes of a shard that is there, without the slides that go out."""
        before = self.plan.before
        assert before is not None
        shard = before.shards[number]
        codes = CodedTiles.open(shard.folder / CODES_NAME, to_change=True)
        ids = (before.slides[place].slide_id for place in shard.slides)
        is_kept = np.array([slide_id in self.plan.kept for slide_id in ids], bool)
        codes.keep(np.diff(shard.starts), is_kept)
        return codes

    def _add(self, codes: CodedTiles, slides: Sequence[IndexedSlide]) -> None:
        for slide in slides:
            self.progress("coding", slide.first, tiles_of(slides))
            if slide.slide_id not in self.plan.kept:
                codes.add(np.ascontiguousarray(self._cache(slide).features, np.float32))

    def _positions(self, slide: IndexedSlide) -> NDArray[np.float32]:
        if self.plan.before is not None and slide.slide_id in self.plan.kept:
            return self.plan.before.centre_um(self._number_before(slide))
        return self._cache(slide).centre_um.astype(np.float32)

    def _slide_descriptor(self, slide: IndexedSlide) -> NDArray[np.float32]:
        if self.plan.before is not None and slide.slide_id in self.plan.kept:
            number = self._number_before(slide)
            kept: NDArray[np.float32] = self.plan.before.slide_descriptors[number]
            return kept
        return self._cache(slide).slide_descriptor

    def _number_before(self, slide: IndexedSlide) -> int:
        assert self.plan.before is not None
        number = self.plan.before.number_of(slide.slide_id)
        assert number is not None
        return number

    def _cache(self, slide: IndexedSlide) -> EmbeddingCache:
        # Opened anew each time: what is mapped counts as memory of this process while it is open.
        cache = open_cache(slide.cache_path(self.folder))
        if cache.content_digest != slide.content_digest:
            raise CorruptStoreError(
                f"embedding cache {cache.path} changed while it was being indexed; index again"
            )
        return cache


def write_record(folder: Path, record: IndexRecord) -> None:
    """Write ``index.json``."""
    text = json.dumps(record.to_json(), indent=1, ensure_ascii=False) + "\n"
    write_text_aside(folder / RECORD_NAME, text)


def file_digests(folder: Path) -> dict[str, str]:
    """Digest of every file of an index but its record, by name as seen from there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): bytes_digest(_blocks(path))
        for path in files
        if path.name != RECORD_NAME
    }


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _stacked(parts: Iterator[NDArray[np.float32]], width: int) -> NDArray[np.float32]:
    return np.concatenate([np.empty((0, width), np.float32), *parts])
