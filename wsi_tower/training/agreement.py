"""What the ranks of a run decide together: to go on, to stop, who failed and why.

Every rank must come to each of these at the same place of its work. Alone they cost nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed as dist

from wsi_tower.errors import OtherRankError, SettingsError, WsiTowerError
from wsi_tower.records import differences_in_words, digest
from wsi_tower.training.ranks import Ranks, is_joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["all_or_none", "by_first", "check_same", "told_once", "utmost"]

T = TypeVar("T")


def utmost(number: int) -> int:
    """The highest number that a rank gives."""
    if not is_joined():
        return number
    highest = torch.tensor(number)
    dist.all_reduce(highest, dist.ReduceOp.MAX)
    return int(highest)


@contextmanager
def all_or_none() -> Iterator[None]:
    """A block that succeeds on every rank or on none.

    Raises:
        WsiTowerError: on rank 0: its own error, or that of the first rank that failed, with its
            number.
        OtherRankError: on all others.
    """
    own: WsiTowerError | None = None
    try:
        yield
    except WsiTowerError as error:
        if not is_joined():
            raise
        own = error
    if utmost(int(own is not None)):
        raise _first_of(own) from own


def by_first(make: Callable[[], T]) -> T:
    """What rank 0 makes, for every rank; where it fails, all fail as in `all_or_none`."""
    if not is_joined():
        return make()
    made: list[Any] = [None]
    with all_or_none():
        if Ranks.here().is_first:
            made = [make()]
    dist.broadcast_object_list(made)
    return made[0]  # type: ignore[no-any-return]


def check_same(values: Mapping[str, Any]) -> None:
    """See that ranks were started alike.

    Args:
        values: plain values that must be the same on all.

    Raises:
        SettingsError: they are not; on rank 0, with the first rank that differs, and how.
        OtherRankError: on all others.
    """
    if not is_joined() or not utmost(int(_of_first(own := digest(values)) != own)):
        return
    everyone = _of_all(dict(values))
    for rank, there in enumerate(everyone):
        found = differences_in_words(there, everyone[0])
        if found:
            raise told_once(
                SettingsError(
                    f"rank {rank} was started otherwise than rank 0 (here): {'; '.join(found)}; "
                    f"start every rank with the same command, files and versions"
                )
            )


def told_once(error: WsiTowerError) -> WsiTowerError:
    """What to raise where every rank meets the same error at once: rank 0 alone tells it."""
    return error if Ranks.here().is_first or not is_joined() else OtherRankError(str(error))


def _first_of(own: WsiTowerError | None) -> WsiTowerError:
    """What this rank raises when at least one has an error."""
    errors: list[WsiTowerError | None] = _of_all(own)
    rank, first = next((rank, error) for rank, error in enumerate(errors) if error is not None)
    if rank > 0:
        first = type(first)(f"rank {rank} of {len(errors)}: {first}")
    return told_once(first)


def _of_first(value: T) -> T:
    shared = [value]
    dist.broadcast_object_list(shared)
    return shared[0]


def _of_all(value: T) -> list[T]:
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, value)
    return everyone
