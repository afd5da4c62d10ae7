"""`run_batch`: a row for each slide, wherever it was worked on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from wsi_tower.batch.cluster import cluster_client, rows_from_cluster
from wsi_tower.batch.work import TOPIC, Work, throttled, unwatched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from wsi_tower.batch.rows import Outcome, SlideRow
    from wsi_tower.batch.settings import BatchSettings
    from wsi_tower.batch.work import JobT, Progress

__all__ = ["run_batch"]


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
        beat = throttled(progress)
        yield lambda jobs, wait: (
            (number, work.row(job, wait, beat)) for number, job in jobs.items()
        )
        return
    with cluster_client(settings, processes) as client:
        client.subscribe_topic(TOPIC, lambda event: progress(*event[1]))
        yield lambda jobs, wait: rows_from_cluster(client, work, jobs, wait)
