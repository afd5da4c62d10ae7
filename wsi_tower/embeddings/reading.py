"""Tiles read ahead in threads, batch by batch, so that the network never waits for them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Read: TypeAlias = "Callable[[int, NDArray[np.uint8]], None]"

__all__ = ["Reading", "read_ahead"]

_AHEAD = 3
"""Batches that are read while one is embedded."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read, and how."""

    tiles: int
    """N: all of them."""
    side_px: int
    """Side of each."""
    batch_size: int
    """Tiles of a batch."""
    threads: int
    """Threads that read."""
    pinned: bool
    """Whether for a GPU, which copies such memory while it computes."""
    portion: int = 16
    """Tiles that a thread reads at a time."""


def read_ahead(reading: Reading, read: Read) -> Generator[Tensor]:
    """All tiles in order: uint8 (B, side, side, 3) a batch. Close it to stop reading.

    Args:
        reading: how many, and how.
        read: puts the tiles from a row on into an array (P, side, side, 3); called by threads.
            What it raises is raised here, at the batch it belongs to.
    """
    pool = ThreadPoolExecutor(reading.threads, thread_name_prefix="tiles")
    begun: deque[_Batch] = deque()
    firsts = iter(range(0, reading.tiles, reading.batch_size))
    try:
        for first in firsts:
            begun.append(_Batch(first, reading, read, pool))
            if len(begun) > _AHEAD:
                yield begun.popleft().pixels()
        while begun:
            yield begun.popleft().pixels()
    finally:
        pool.shutdown(cancel_futures=True)


class _Batch:
    """A batch on its way."""

    def __init__(self, first: int, reading: Reading, read: Read, pool: ThreadPoolExecutor) -> None:
        count = min(reading.batch_size, reading.tiles - first)
        shape = (count, reading.side_px, reading.side_px, 3)
        self._pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=reading.pinned)
        pixels = self._pixels.numpy()
        self._portions: list[Future[None]] = [
            pool.submit(read, first + start, pixels[start : start + reading.portion])
            for start in range(0, count, reading.portion)
        ]

    def pixels(self) -> Tensor:
        """The tiles, when all are there."""
        for portion in self._portions:
            portion.result()
        return self._pixels
