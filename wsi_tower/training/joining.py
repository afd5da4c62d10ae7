"""Processes become the ranks of one run: they meet, and they notice when one of them is gone."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed as dist

from wsi_tower.batch import usable_cores
from wsi_tower.errors import LostRankError, OtherRankError, SettingsError, TrainingError
from wsi_tower.training.ranks import Ranks, is_joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["joined_ranks"]

_MEETING = timedelta(minutes=5)
"""How long ranks wait for each other at the start."""
_PATIENCE = timedelta(minutes=10)
"""How long a rank waits for the others at any step: they may save, look or compile meanwhile."""
_BEAT_S = 0.5
_SILENCE_S = 4.0
"""A rank that does not count on for so long while others stand still is gone."""
_LAST_WORD_S = 1.0
"""Launchers end every process as soon as one has ended: the one that tells why goes first."""


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """The ranks of this run, joined during the block; nothing but rank 0 of 1 when alone.

    Within the block of a caller that has joined them it changes nothing.

    Raises:
        TrainingError: they cannot meet.
        LostRankError: one of them is gone; told by the lowest rank that is left.
        OtherRankError: on ranks that have nothing to add to what another tells.
    """
    ranks = Ranks.here()
    if ranks.is_alone or is_joined():
        yield ranks
        return
    threads = torch.get_num_threads()
    roll = _meet(ranks)
    is_whole = True
    try:
        torch.set_num_threads(_threads_each(ranks))
        yield ranks
    except BaseException as error:
        is_whole = not isinstance(error, RuntimeError)
        with _no_hurry():
            _leave_for(error, ranks, roll)
        raise
    finally:
        roll.close()
        torch.set_num_threads(threads)
        if is_whole:  # else it might wait for a rank that is gone
            dist.destroy_process_group()


def _leave_for(error: BaseException, ranks: Ranks, roll: _Roll) -> None:
    """Tell the others of an error, or raise what it comes from: a rank that is gone."""
    if isinstance(error, OtherRankError):
        time.sleep(_LAST_WORD_S)
        return
    # What a collective raises when a rank is gone, but not only that.
    missing = roll.missing() if isinstance(error, RuntimeError) else {}
    if not missing:
        roll.say(f"{type(error).__name__}: {error}")
        return
    told = (
        f"{'; '.join(missing.values())}, so the other ranks have stopped; the last checkpoint is "
        f"as it was. Go on from it with the same command and --resume, with as many ranks as you "
        f"like"
    )
    if ranks.rank == min(set(range(ranks.size)) - missing.keys()):
        raise LostRankError(told) from error
    time.sleep(_LAST_WORD_S)
    raise OtherRankError(told) from error


@contextmanager
def _no_hurry() -> Iterator[None]:
    """Be deaf to the launcher, which ends every rank as soon as one is gone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _meet(ranks: Ranks) -> _Roll:
    """Join the ranks that the environment tells of."""
    host, port = _address(os.environ)
    is_served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    has_gpu = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        store = _store(host, port, ranks.size, is_master=ranks.is_first and not is_served)
        dist.init_process_group(
            # What ranks agree on lies in the memory of the CPU, whatever they train on.
            "cpu:gloo,cuda:nccl" if has_gpu else "gloo",
            store=store,
            rank=ranks.rank,
            world_size=ranks.size,
            timeout=_PATIENCE,
        )
        # A connection of its own, since a store's calls wait for each other.
        return _Roll(ranks, _store(host, port))
    except RuntimeError as error:
        why = str(error).partition("\n")[0]
        raise TrainingError(
            f"rank {ranks.rank} of {ranks.size} cannot meet the others at port {port} of {host}: "
            f"{why}. Is the port taken, or the host out of reach? Choose another --master-port "
            f"(MASTER_PORT), or let `torchrun --standalone` find one on a single machine"
        ) from error


def _store(host: str, port: int, size: int | None = None, *, is_master: bool = False) -> Any:
    """What ranks leave for each other to read; served by the launcher, or by rank 0."""
    everything: Any = dist
    store = everything.TCPStore(host, port, size, is_master, timeout=_MEETING)
    # A launcher that starts all ranks again may still serve what those that failed have left.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return everything.PrefixStore(f"wsi-tower/{attempt}", store)


def _address(told: Mapping[str, str]) -> tuple[str, int]:
    host, port = told.get("MASTER_ADDR", ""), told.get("MASTER_PORT", "")
    if not host or not port.isdecimal() or int(port) >= 1 << 16:
        raise SettingsError(
            f"RANK and WORLD_SIZE are set, but MASTER_ADDR is {host!r} and MASTER_PORT {port!r}; "
            f"start with torchrun, which sets all four, or unset them to train alone"
        )
    return host, int(port)


def _threads_each(ranks: Ranks) -> int:
    """Threads of torch on a CPU: what the user asked for, else the rank's share of the cores.

    `torchrun` sets OMP_NUM_THREADS to 1 where it is not set, as Dask does, which would leave most
    of the cores idle.
    """
    if os.environ.get("OMP_NUM_THREADS", "1") != "1":
        return torch.get_num_threads()
    return max(1, usable_cores() // ranks.local_size)


class _Roll:
    """Which ranks are there: each counts on in the shared store, in a thread, whatever it does."""

    def __init__(self, ranks: Ranks, store: Any) -> None:
        self._ranks, self._store = ranks, store
        self._is_over = threading.Event()
        store.set(f"who/{ranks.rank}", f"process {os.getpid()} on {socket.gethostname()}")
        self._thread = threading.Thread(target=self._count, name="roll", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Count no further."""
        self._is_over.set()
        self._thread.join()

    def say(self, word: str) -> None:
        """Leave a last word for the others: why this rank ends."""
        with suppress(RuntimeError):
            self._store.set(f"word/{self._ranks.rank}", word)

    def missing(self) -> dict[int, str]:
        """The ranks that ended of themselves or count no more, in words. Takes some seconds."""
        try:
            return self._ended() or self._silent()
        except RuntimeError:
            # Without a launcher, rank 0 serves the store.
            return {0: f"rank 0 of {self._ranks.size}, which led the others, is gone"}

    def _ended(self) -> dict[int, str]:
        words = {rank: self._read("word", rank) for rank in self._others()}
        return {
            rank: f"rank {rank} of {self._ranks.size} stopped ({word})"
            for rank, word in words.items()
            if word
        }

    def _silent(self) -> dict[int, str]:
        self.say("")  # this one leaves because of another
        before = {rank: self._read("count", rank) for rank in self._others()}
        time.sleep(_SILENCE_S)
        return {
            rank: f"rank {rank} of {self._ranks.size} ({self._read('who', rank)}) is gone"
            for rank in self._others()
            if self._read("count", rank) == before[rank] and not self._has("word", rank)
        }

    def _others(self) -> list[int]:
        return [rank for rank in range(self._ranks.size) if rank != self._ranks.rank]

    def _has(self, what: str, rank: int) -> bool:
        return bool(self._store.check([f"{what}/{rank}"]))

    def _read(self, what: str, rank: int) -> str:
        return self._store.get(f"{what}/{rank}").decode() if self._has(what, rank) else ""

    def _count(self) -> None:
        number = 0
        while not self._is_over.wait(_BEAT_S):
            number += 1
            try:
                self._store.set(f"count/{self._ranks.rank}", str(number))
            except RuntimeError:
                return  # the store is gone, and whoever served it
