"""Work on several threads whose results come in the order of what was asked."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

__all__ = ["in_order"]

AskedT = TypeVar("AskedT")
MadeT = TypeVar("MadeT")

_AHEAD = 32
"""Results a thread that may wait: as many tiles as keep it busy while one takes long."""


def in_order(
    make: Callable[[AskedT], MadeT], asked: Iterable[AskedT], threads: int
) -> Iterator[MadeT]:
    """What ``make`` gives for each of ``asked``, in their order; few are made ahead.

    What ``make`` raises is raised when its turn comes; nothing more is then begun.

    Args:
        make: called on ``threads`` threads at once; on the caller's own where they are 1.
        asked: what to make.
        threads: 1 or more.
    """
    if threads == 1:
        yield from map(make, asked)
        return
    left = iter(asked)
    pool = ThreadPoolExecutor(threads)
    try:
        waiting: deque[Future[MadeT]] = deque()
        waiting.extend(pool.submit(make, one) for one in islice(left, _AHEAD * threads))
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(pool.submit(make, one) for one in islice(left, 1))
            yield made
    finally:
        pool.shutdown(cancel_futures=True)
