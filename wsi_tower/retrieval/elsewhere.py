"""Shards of an index searched by other processes or machines: the same answers as here.

Index and embeddings must lie where all of them see the same files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_tower.batch import BatchSettings, Outcome, run_batch
from wsi_tower.errors import CorruptStoreError
from wsi_tower.retrieval.searching import Candidates, searched
from wsi_tower.retrieval.tile_index import TileIndex

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.batch import Progress
    from wsi_tower.retrieval.searching import Asked, SearchShards

__all__ = ["search_elsewhere"]


@dataclass(frozen=True, slots=True)
class _ShardJob:
    """A question to a shard, as it travels."""

    folder: Path
    """The index."""
    content_digest: str
    """Digest of the index that was asked."""
    number: int
    """The shard."""
    asked: Asked
    """The question."""

    @property
    def slide_id(self) -> str:
        """What the loop calls it."""
        return f"shard-{self.number}"

    @property
    def source(self) -> str:
        """What the loop shows of it."""
        return f"shard {self.number} of index {self.folder}"


def search_elsewhere(settings: BatchSettings) -> SearchShards:
    """Puts questions to the shards through Dask: local processes, or a running cluster."""

    def search(index: TileIndex, asked: Asked) -> list[list[Candidates]]:
        digest = index.record.header.content_digest
        folder = index.path.absolute()
        jobs = [_ShardJob(folder, digest, number, asked) for number in range(len(index.shards))]
        found = []
        for row in run_batch(jobs, _searched_shard, settings):
            if row.is_failure:
                raise CorruptStoreError(f"{row.source} cannot be searched: {row.message}")
            found.append([_candidates(columns) for columns in row.details["found"]])
        return found

    return search


def _searched_shard(job: _ShardJob, wait: bool, progress: Progress) -> Outcome:
    del wait, progress
    index = _opened(job.folder, job.content_digest)
    found = searched(index, index.shards[job.number], job.asked)
    told = [[column.tolist() for column in one] for one in found]
    return Outcome("done", sum(map(len, found)), {"found": told})


@lru_cache(maxsize=1)
def _opened(folder: Path, content_digest: str) -> TileIndex:
    """An index, kept open for the next question to this process."""
    index = TileIndex.open(folder)
    if index.record.header.content_digest != content_digest:
        raise CorruptStoreError(
            f"index {folder} was made anew while it was searched, or is another one on this "
            f"machine; ask again, and let all workers see the same files"
        )
    return index


def _candidates(columns: list[list[Any]]) -> Candidates:
    slides, rows, distances, approximate = columns
    return Candidates(
        np.array(slides, np.int64),
        np.array(rows, np.int64),
        np.array(distances, np.float64),
        np.array(approximate, np.float64),
    )
