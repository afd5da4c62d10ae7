"""One job done so that nothing it meets gets out: the result is a row."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar

from wsi_tower.batch.rows import SlideRow
from wsi_tower.errors import (
    EmptySlideError,
    StoreBusyError,
    UnsupportedSlideError,
    WsiTowerError,
    without_secrets,
)
from wsi_tower.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsi_tower.batch.rows import Outcome, Status

__all__ = ["TOPIC", "Job", "JobT", "Progress", "Work", "throttled", "unwatched"]

TOPIC = "wsi-tower-progress"
"""Under which workers tell the client how far they are."""
_PROGRESS_SECONDS = 0.2


class Job(Protocol):
    """What the loop must know of a slide to be worked on."""

    @property
    def slide_id(self) -> str:
        """Its id in the workspace."""

    @property
    def source(self) -> str:
        """Path or URL, as the user gave it."""


JobT = TypeVar("JobT", bound=Job)

Progress: TypeAlias = "Callable[[str, int, int], None]"
"""Called with slide id, tiles written and tiles in all."""


@dataclass(frozen=True, slots=True)
class Work(Generic[JobT]):
    """The function to run on every job, as it travels to a worker."""

    function: Callable[[JobT, bool, Progress], Outcome]
    """Takes the job, whether to wait for a busy artefact, and where to report progress."""

    def row(self, job: JobT, wait: bool, progress: Progress) -> SlideRow:
        """Work on one job; never raises."""
        started = time.perf_counter()
        keep_freed_memory()
        try:
            outcome = self.function(job, wait, progress)
            row = SlideRow(job.slide_id, job.source, outcome.status)
            row = replace(row, tiles=outcome.tiles, details=outcome.details)
        except Exception as error:  # noqa: BLE001 - the one fail-safe loop
            row = _failure(job, error)
        return replace(row, seconds=round(time.perf_counter() - started, 3))

    def row_on_worker(self, job: JobT, wait: bool) -> SlideRow:
        """`row` inside a Dask worker, with progress sent to the client."""
        from distributed import get_worker

        worker = get_worker()
        return self.row(job, wait, throttled(lambda *beat: worker.log_event(TOPIC, list(beat))))


def unwatched(*told: object) -> None:
    """A progress hook for when nobody watches."""


def _failure(job: Job, error: Exception) -> SlideRow:
    status: Status = "failed"
    if isinstance(error, EmptySlideError):
        status = "empty"
    elif isinstance(error, UnsupportedSlideError):
        status = "unsupported"
    elif isinstance(error, StoreBusyError):
        status = "busy"
    known = isinstance(error, WsiTowerError)
    return SlideRow(
        job.slide_id,
        job.source,
        status,
        reason=error.reason if isinstance(error, WsiTowerError) else type(error).__name__,
        message=without_secrets(str(error) if known else f"{type(error).__name__}: {error}"),
        traceback="" if status == "empty" else without_secrets(traceback.format_exc()),
    )


def throttled(progress: Progress) -> Progress:
    """A hook that tells ``progress`` no more often than people can read."""
    last = 0.0

    def beat(slide_id: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_SECONDS or done == total:
            last = now
            progress(slide_id, done, total)

    return beat
