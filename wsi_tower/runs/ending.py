"""How the last attempt at a run ended: ``end.json`` in its folder.

Layout (format version 1)::

    kind, format_version     "run-end", 1
    status                   "finished", "stopped early", "interrupted", "diverged" or "failed"
    reason, message          of the error, where it was one
    seconds                  of training, all attempts together
    ended                    when (UTC, ISO 8601)

It is written when an attempt ends and by nobody else, so a process that is killed leaves none: a
run without it is under way while its lock is held, and was interrupted otherwise. ``run.json``
beside it has the settings, and is written when a run is begun.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

from wsi_tower.errors import (
    CheckpointError,
    CorruptStoreError,
    StorageError,
    WsiTowerError,
    storage_errors,
)
from wsi_tower.records import write_text_aside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = [
    "EndStatus",
    "Ending",
    "RecordedEnd",
    "begin_run",
    "record_failure",
    "recorded_ending",
    "seconds_of",
]

EndStatus: TypeAlias = Literal["finished", "stopped early", "interrupted", "diverged", "failed"]
"""``stopped early``: the loss no longer fell; ``diverged``: it was no number any more."""

_NAME = "end.json"
_DEVICE_REFUSALS = (RuntimeError, MemoryError)
"""What torch raises when a device refuses: out of memory, an operation that it does not have."""


@dataclass(frozen=True, slots=True)
class RecordedEnd:
    """What ``end.json`` says."""

    status: EndStatus
    """How it ended."""
    seconds: float
    """Of training, all attempts together."""
    reason: str = ""
    """Short code of the error, where it was one."""
    message: str = ""
    """What went wrong, and what to do."""
    ended: str = ""
    """When (UTC, ISO 8601)."""

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """That of a run's folder; None where there is none.

        Raises:
            CorruptStoreError: the file is damaged.
        """
        path = folder / _NAME
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            status, seconds = told["status"], float(told["seconds"])
            words = {name: str(told[name]) for name in ("reason", "message", "ended")}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptStoreError(_damaged(path, error)) from error
        if status not in get_args(EndStatus):
            raise CorruptStoreError(_damaged(path, ValueError(f"status {status!r}")))
        return cls(status, seconds, **words)

    def write(self, folder: Path) -> None:
        """Put it into a run's folder.

        Raises:
            StorageError: the disk refused.
        """
        told: dict[str, Any] = {"kind": "run-end", "format_version": 1, "status": self.status}
        told |= {"reason": self.reason, "message": self.message, "seconds": round(self.seconds, 1)}
        told["ended"] = _now()
        write_text_aside(folder / _NAME, json.dumps(told, indent=1) + "\n")


def begin_run(folder: Path, told: Mapping[str, Any]) -> None:
    """Write ``run.json``: what a run is, as plain values; forget how an earlier one ended there.

    Raises:
        StorageError: the disk refused.
    """
    with storage_errors(folder):
        (folder / _NAME).unlink(missing_ok=True)
    values = {"kind": "run", "format_version": 1, "created": _now(), **told}
    write_text_aside(folder / "run.json", json.dumps(values, indent=1) + "\n")


class Ending:
    """What an attempt says of itself before it ends."""

    has_stopped_early = False
    """Whether the loss no longer fell."""


@contextmanager
def recorded_ending(folder: Path) -> Iterator[Ending]:
    """Record in a run's folder how the block ends.

    A `CheckpointError` is not recorded: the attempt did not begin, and what lies there is not its.

    Raises:
        StorageError: the disk refused when all else was done.
    """
    ending, before, began = Ending(), seconds_of(folder) or 0.0, time.perf_counter()

    def seconds() -> float:
        return before + time.perf_counter() - began

    try:
        yield ending
    except CheckpointError:
        raise
    except KeyboardInterrupt:
        with suppress(StorageError):
            RecordedEnd("interrupted", seconds()).write(folder)
        raise
    except (WsiTowerError, *_DEVICE_REFUSALS) as error:
        with suppress(StorageError):  # that which ended the run is what the user must hear
            _failed(error, seconds()).write(folder)
        raise
    RecordedEnd("stopped early" if ending.has_stopped_early else "finished", seconds()).write(
        folder
    )


def record_failure(folder: Path, error: Exception) -> None:
    """Record that a run could not even begin.

    Raises:
        StorageError: the disk refused.
    """
    _failed(error, seconds_of(folder) or 0.0).write(folder)


def seconds_of(folder: Path) -> float | None:
    """Seconds of training so far; of a run that was killed, those from its first to its last row.

    None where nothing tells.
    """
    with suppress(CorruptStoreError):
        end = RecordedEnd.of(folder)
        if end is not None:
            return end.seconds
    try:
        began, last = ((folder / name).stat().st_mtime for name in ("run.json", "log.csv"))
    except OSError:
        return None
    return max(0.0, last - began)


def _failed(error: Exception, seconds: float) -> RecordedEnd:
    if isinstance(error, WsiTowerError):
        status: EndStatus = "diverged" if error.reason == "diverged" else "failed"
        return RecordedEnd(status, seconds, error.reason, str(error))
    said = str(error).partition("\n")[0] or type(error).__name__
    return RecordedEnd("failed", seconds, "device", said)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _damaged(path: Path, error: Exception) -> str:
    return (
        f"{path} is damaged ({type(error).__name__}: {error}); remove it to see the run without it"
    )
