"""Short codes of descriptors in inverted lists: the one place that knows FAISS's indices.

Lists: k-means of the descriptors. Codes: product quantisation of what the nearest list's centre
leaves over (Jégou, Douze and Schmid 2011, doi 10.1109/TPAMI.2010.57).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import faiss
import numpy as np

from wsi_tower.errors import CorruptStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.retrieval.choice import IndexChoice

__all__ = ["SAMPLES_PER_CENTRE", "CodedTiles", "Found", "faiss_threads"]

SAMPLES_PER_CENTRE = 64
"""Tiles that each centre of k-means is learnt from at most, for lists and codes."""
_ITERATIONS = 10
"""Of k-means, for lists and codes; more no longer change what is found."""
_FEW_RANGES = 16
"""Ranges of numbers up to which each tile is held against the ranges, else looked up in a bitmap.
Sixteen comparisons cost as much as the bitmap's cache miss; making the bitmap costs far more."""


class Found(NamedTuple):
    """Tiles that are near by their codes."""

    numbers: NDArray[np.int64]
    """(n,), nearest first."""
    approximate: NDArray[np.float32]
    """Squared distances, as the codes tell them: (n,)."""


class CodedTiles:
    """Coded tiles, numbered from 0 without gaps."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self._lists = _inverted(index)

    @classmethod
    def learnt(cls, choice: IndexChoice, sample: NDArray[np.float32], seed: int) -> Self:
        """Lists and codes learnt from a sample of descriptors, with no tile in them.

        Args:
            choice: what to make.
            sample: (n, D).
            seed: decides where k-means starts.
        """
        index = faiss.index_factory(choice.length, choice.factory)
        lists = _inverted(index)
        for clustering in (lists.cp, lists.pq.cp):
            clustering.niter, clustering.seed = _ITERATIONS, seed + 1
            clustering.max_points_per_centroid = SAMPLES_PER_CENTRE
        if choice.reduction == "opq":
            faiss.downcast_VectorTransform(index.chain.at(0)).niter = _ITERATIONS
        index.train(sample)
        return cls(index)

    @classmethod
    def open(cls, path: Path, *, to_change: bool = False) -> Self:
        """Coded tiles from a file: mapped into memory, or read as a whole ``to_change`` them.

        Raises:
            CorruptStoreError: missing, cut off, or not what this room wrote.
        """
        flags = 0 if to_change else faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
        try:
            return cls(faiss.read_index(str(path), flags))
        except RuntimeError as error:
            why = str(error).split("\n", maxsplit=1)[0]
            raise CorruptStoreError(
                f"index file {path} cannot be read ({why}); remake it with `wsi-tower index "
                f"--overwrite`"
            ) from error

    def save(self, path: Path) -> None:
        """Write a file."""
        faiss.write_index(self._index, str(path))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def lists(self) -> int:
        """How many inverted lists there are."""
        return int(self._lists.nlist)

    def emptied(self) -> CodedTiles:
        """The same lists and codes with no tile in them."""
        copy = faiss.clone_index(self._index)
        copy.reset()
        return CodedTiles(copy)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Add descriptors (n, D); they take the numbers that follow."""
        self._index.add(vectors)

    def keep(self, counts: NDArray[np.int64], is_kept: NDArray[np.bool_]) -> None:
        """Take out runs of tiles; those behind move up.

        Args:
            counts: lengths of the runs that all tiles lie in, in order: (S,).
            is_kept: which runs stay: (S,).
        """
        starts = np.concatenate([[0], np.cumsum(counts)])
        index = self._index
        index.remove_ids(_selector(np.repeat(~is_kept, counts)))
        moved = np.concatenate([[0], np.cumsum(np.where(is_kept, counts, 0))])[:-1] - starts[:-1]
        for numbers in self._numbers():
            numbers[:] += moved[np.searchsorted(starts, numbers, "right") - 1]

    def numbers(self) -> NDArray[np.int64]:
        """The number of every tile, list by list: (N,)."""
        return np.concatenate([np.empty(0, np.int64), *self._numbers()])

    def nearest(
        self,
        vector: NDArray[np.float32],
        count: int,
        probes: int,
        allowed: Sequence[tuple[int, int]] | None = None,
    ) -> Found:
        """The ``count`` tiles that are nearest by their codes; fewer where the lists have no more.

        Args:
            vector: the query: (D,).
            count: how many.
            probes: lists to look through, those with the nearest centres.
            allowed: ranges of numbers, from and up to, in order, that may be found; None: all.
        """
        selector = None if allowed is None else _selector_of(allowed, len(self))
        parameters = faiss.SearchParametersIVF(nprobe=min(probes, self.lists), sel=selector)
        if isinstance(self._index, faiss.IndexPreTransform):
            parameters = faiss.SearchParametersPreTransform(index_params=parameters)
        distances, numbers = self._index.search(vector[None], count, params=parameters)
        is_found = numbers[0] >= 0
        return Found(numbers[0][is_found], distances[0][is_found])

    def _numbers(self) -> Iterator[NDArray[np.int64]]:
        """The numbers in each list, to be changed in place where the file is not mapped."""
        inverted = self._lists.invlists
        for number in range(self.lists):
            size = inverted.list_size(number)
            if size:
                yield faiss.rev_swig_ptr(inverted.get_ids(number), size)


@contextmanager
def faiss_threads(threads: int) -> Iterator[None]:
    """Let FAISS take so many threads for the time of the block."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _inverted(index: Any) -> Any:
    """The inverted lists of an index, whether or not something shortens descriptors before."""
    return faiss.downcast_index(faiss.extract_index_ivf(index))


def _selector_of(allowed: Sequence[tuple[int, int]], tiles: int) -> Any:
    """What tells FAISS, within the search, which numbers count."""
    edges = [0, *(edge for part in allowed for edge in part), tiles]
    refused = [part for part in zip(edges[::2], edges[1::2], strict=True) if part[0] < part[1]]
    if not refused:
        return None
    if len(refused) <= _FEW_RANGES:
        return faiss.IDSelectorNot(_any_of(refused))
    if len(allowed) <= _FEW_RANGES:
        return _any_of(allowed)
    is_allowed = np.zeros(tiles, bool)
    for start, stop in allowed:
        is_allowed[start:stop] = True
    return _selector(is_allowed)


def _any_of(ranges: Sequence[tuple[int, int]]) -> Any:
    selector = faiss.IDSelectorRange(*ranges[0])
    for one in ranges[1:]:
        selector = faiss.IDSelectorOr(selector, faiss.IDSelectorRange(*one))
    return selector


def _selector(is_chosen: NDArray[np.bool_]) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(is_chosen, bitorder="little"))
