"""One fail-safe loop over slides: in this process, on local worker processes, or on a cluster.

Whatever happens to a slide becomes a row; the loop goes on. This is the only place in wsi-tower
that catches every exception.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from wsi_tower import __version__
from wsi_tower.errors import (
    EmptySlideError,
    SettingsError,
    StoreBusyError,
    UnsupportedSlideError,
    WsiTowerError,
    without_secrets,
)
from wsi_tower.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from distributed import Client, Future, LocalCluster

__all__ = ["BatchSettings", "Outcome", "Progress", "SlideRow", "Status", "run_batch", "unwatched"]

Status: TypeAlias = Literal["done", "skipped", "empty", "failed", "unsupported", "busy"]
"""``skipped`` is already done with the same settings, ``empty`` has no tissue; ``busy`` is being
written by another process and is tried again, so no finished run shows it."""

_TOPIC = "wsi-tower-progress"
_PROGRESS_SECONDS = 0.2
_WORKERS_SECONDS = 60


# One thread a process: libraries that start one a core in each would fight. Dask's own choice also
# gives freed memory back at once, which costs image work several times its computing time.
_WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
}


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
class Outcome:
    """What working on a slide gave."""

    status: Literal["done", "skipped"]
    """``skipped`` where it was done before with the same settings."""
    tiles: int
    """Tiles in the slide's store."""
    details: dict[str, Any] = field(default_factory=dict)
    """Plain values for the report."""


@dataclass(frozen=True, slots=True)
class SlideRow:
    """One slide's row in the report."""

    slide_id: str
    """Its id in the workspace."""
    source: str
    """Path or URL, as the user gave it."""
    status: Status
    """What became of it."""
    reason: str = ""
    """Short code, stable across versions; empty when done."""
    message: str = ""
    """What went wrong and what to do, for people."""
    tiles: int = 0
    """Tiles in the slide's store."""
    seconds: float = 0.0
    """Time spent on the slide."""
    details: dict[str, Any] = field(default_factory=dict)
    """Plain values for the report."""
    traceback: str = ""
    """Python traceback of a failure."""

    @property
    def is_failure(self) -> bool:
        """Whether the run's exit code must tell of it."""
        return self.status in ("failed", "unsupported")


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Where slides are worked on."""

    workers: int = 0
    """Local processes; 0 takes one per core, never more than slides. 1 works in this process."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, ``tcp://host:8786``; replaces local processes. Its
    workers must see the same files and have wsi-tower installed."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise SettingsError(f"workers must be 0 (one per core) or more, not {self.workers}")

    @property
    def processes(self) -> int:
        """Local processes, were there slides enough."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return self.workers or cores or 1

    def processes_for(self, slides: int) -> int:
        """Local processes for so many slides."""
        return max(1, min(self.processes, slides))


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
        return self.row(job, wait, _throttled(lambda *beat: worker.log_event(_TOPIC, list(beat))))


def unwatched(*told: object) -> None:
    """A progress hook for when nobody watches."""


def run_batch(
    jobs: Sequence[JobT],
    function: Callable[[JobT, bool, Progress], Outcome],
    settings: BatchSettings,
    *,
    on_row: Callable[[SlideRow], None] = unwatched,
    progress: Progress = unwatched,
) -> list[SlideRow]:
    """Run ``function`` on every job and return a row for each, in the order of ``jobs``.

    Jobs that another process is working on are put off to the end and then waited for, so that
    several runs on one workspace share the work.

    Args:
        jobs: the slides.
        function: what to do with one; importable by name, so that it can travel to workers. Takes
            the job, whether to wait where it would raise `StoreBusyError`, and a progress hook.
        settings: where to work.
        on_row: called with each finished row, in order of completion.
        progress: called now and then with slide id, tiles written and tiles in all.

    Raises:
        SettingsError: the Dask scheduler cannot be reached.
    """
    rows: dict[int, SlideRow] = {}
    with _runner(Work(function), settings, len(jobs), progress) as run:
        for wait in (False, True):
            left = {number: job for number, job in enumerate(jobs) if number not in rows}
            for number, row in run(left, wait):
                if row.status != "busy":
                    rows[number] = row
                    on_row(row)
    return [rows[number] for number in range(len(jobs))]


_Runner: TypeAlias = "Callable[[Mapping[int, Any], bool], Iterable[tuple[int, SlideRow]]]"
"""Takes jobs by number and whether to wait for busy ones; gives rows in order of completion."""


@contextmanager
def _runner(
    work: Work[Any], settings: BatchSettings, slides: int, progress: Progress
) -> Iterator[_Runner]:
    processes = settings.processes_for(slides)
    if settings.scheduler is None and processes == 1:
        beat = _throttled(progress)
        yield lambda jobs, wait: (
            (number, work.row(job, wait, beat)) for number, job in jobs.items()
        )
        return
    with _client(settings, processes) as client:
        client.subscribe_topic(_TOPIC, lambda event: progress(*event[1]))
        yield lambda jobs, wait: _rows_from_cluster(client, work, jobs, wait)


@contextmanager
def _client(settings: BatchSettings, processes: int) -> Iterator[Client]:
    import dask
    from distributed import Client

    if settings.scheduler is not None:
        try:
            client = Client(settings.scheduler, timeout="10s")
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"no Dask scheduler answers at {settings.scheduler!r} ({error}); start one with "
                f"`dask scheduler`, or leave --scheduler out to work on this machine"
            ) from error
        with client:
            _check_workers(client, settings.scheduler)
            yield client
        return
    # A slide that kills its worker is not tried again, and no other slide waits in that worker.
    with (
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": 0,
                "distributed.scheduler.worker-saturation": 1.0,
                "distributed.logging.distributed": "critical",
                "distributed.nanny.pre-spawn-environ": _WORKER_ENVIRONMENT,
            }
        ),
        _local_cluster(processes) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _local_cluster(processes: int) -> LocalCluster:
    """Worker processes of one thread, deaf to Ctrl-C: this process hears it and ends them."""
    from distributed import LocalCluster

    with _deaf_children():
        return LocalCluster(
            n_workers=processes,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",  # a free port, not to be seen from the network
            memory_limit=0,
            security=True,  # other users of a shared node must not be able to send it work
        )


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Let processes that are started meanwhile ignore Ctrl-C: they inherit that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)


def _check_workers(client: Client, address: str) -> None:
    """Refuse a cluster without workers, or whose workers lack this version of wsi-tower."""
    try:
        client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
    except TimeoutError as error:
        raise SettingsError(
            f"the Dask scheduler at {address} has had no worker for {_WORKERS_SECONDS} s; start "
            f"some with `dask worker {address}`"
        ) from error
    try:
        found: dict[str, str] = client.run(_version)
    except ImportError as error:
        raise SettingsError(
            f"a worker of the Dask cluster cannot import wsi-tower ({error}); install it there"
        ) from error
    for worker, version in found.items():
        if version != __version__:
            raise SettingsError(
                f"Dask worker {worker} runs wsi-tower {version}, this is {__version__}; install "
                f"one version everywhere"
            )


def _version() -> str:
    return __version__


def _rows_from_cluster(
    client: Client, work: Work[JobT], jobs: Mapping[int, JobT], wait: bool
) -> Iterator[tuple[int, SlideRow]]:
    """Rows in order of completion.

    A job whose worker died may only have shared it with the one that killed it, so such jobs are
    tried once more, each alone.
    """
    died: dict[int, JobT] = {}
    for number, row in _in_flight(client, work, jobs, wait, together=None):
        if row is None:
            died[number] = jobs[number]
        else:
            yield number, row
    for number, row in _in_flight(client, work, died, wait, together=1):
        yield number, row or _worker_died(jobs[number])


def _in_flight(
    client: Client, work: Work[JobT], jobs: Mapping[int, JobT], wait: bool, together: int | None
) -> Iterator[tuple[int, SlideRow | None]]:
    """Rows of jobs, ``together`` of them at a time (None: one a thread of the cluster).

    No job waits in a worker where another could take it down. None stands for a dead worker.
    """
    from distributed import KilledWorker, as_completed

    left = iter(jobs.items())
    numbers: dict[Future[SlideRow], int] = {}
    running = as_completed()
    while True:
        room = (together or max(1, sum(client.nthreads().values()))) - running.count()
        for number, job in islice(left, max(room, 0)):
            future = client.submit(work.row_on_worker, job, wait, pure=False, retries=0)
            numbers[future] = number
            running.add(future)
        if running.is_empty():
            return
        future = next(running)
        try:
            row = future.result()
        except KilledWorker:
            row = None
        yield numbers.pop(future), row


def _worker_died(job: Job) -> SlideRow:
    return SlideRow(
        job.slide_id,
        job.source,
        "failed",
        reason="worker-died",
        message=f"the worker process died while it worked on {job.source}: out of memory, or a "
        f"file that crashes its reader; try it alone with -j 1 and -v",
    )


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


def _throttled(progress: Progress) -> Progress:
    last = 0.0

    def beat(slide_id: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_SECONDS or done == total:
            last = now
            progress(slide_id, done, total)

    return beat
