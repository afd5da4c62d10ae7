"""The loop's work on Dask: local worker processes, or a cluster that is already there."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from wsi_tower import __version__
from wsi_tower.batch.rows import SlideRow
from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distributed import Client, Future, LocalCluster

    from wsi_tower.batch.settings import BatchSettings
    from wsi_tower.batch.work import Job, JobT, Work

__all__ = ["cluster_client", "rows_from_cluster", "worker_number"]

_WORKERS_SECONDS = 60

# One thread a process: libraries that start one a core in each would fight. Dask's own choice also
# gives freed memory back at once, which costs image work several times its computing time.
_WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
}


@contextmanager
def cluster_client(settings: BatchSettings, processes: int) -> Iterator[Client]:
    """A client of the cluster of the settings, or of so many processes of one's own.

    Raises:
        SettingsError: the scheduler does not answer, or its workers cannot do the work.
    """
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
        _own_environment(),
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


@contextmanager
def _own_environment() -> Iterator[None]:
    """Take back what Dask puts into this process's environment for its workers to inherit.

    Whatever this process does next, such as training, would else have their one thread, too.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


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


def rows_from_cluster(
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


def worker_number() -> int:
    """Number of this process among local workers, from 0; 0 also outside and on a cluster."""
    if "distributed" not in sys.modules:
        return 0
    from distributed import get_worker

    try:
        name = get_worker().name
    except ValueError:
        return 0
    return name if isinstance(name, int) else 0
