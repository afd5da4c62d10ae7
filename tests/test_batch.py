"""The fail-safe loop: every slide gets its row, whatever happens to it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from wsi_tower.batch import BatchSettings, Outcome, Progress, SlideRow, run_batch, worker_number
from wsi_tower.errors import (
    EmptySlideError,
    SettingsError,
    StoreBusyError,
    UnreadableSlideError,
    UnsupportedSlideError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Job:
    slide_id: str
    fate: str
    source: str = "somewhere.svs"


JOBS = [
    Job("a", "done"),
    Job("b", "unreadable"),
    Job("c", "bug"),
    Job("d", "empty"),
    Job("e", "unsupported"),
    Job("f", "done"),
]


def work(job: Job, wait: bool, progress: Progress) -> Outcome:
    """Does what the job's fate says; at module level, so that it can travel to workers."""
    progress(job.slide_id, 1, 2)
    progress(job.slide_id, 2, 2)
    match job.fate:
        case "unreadable":
            raise UnreadableSlideError("slide b is damaged")
        case "bug":
            raise ZeroDivisionError("something nobody thought of")
        case "empty":
            raise EmptySlideError("of 10 tiles 0 have tissue")
        case "unsupported":
            raise UnsupportedSlideError("slide e is OME-Zarr")
        case "secret":
            raise ConnectionError("https://me:pw@host/a.svs?X-Amz-Signature=SECRET refused")
        case "die":
            os._exit(1)
        case "slow":
            time.sleep(0.5)
            return Outcome("done", 7, {"worker": worker_number()})
        case "busy once" if not wait:
            raise StoreBusyError("another process is writing it")
    return Outcome("done", 7, {"waited": wait})


def told(rows: list[SlideRow]) -> list[tuple[str, str, str]]:
    return [(row.slide_id, row.status, row.reason) for row in rows]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_slide_gets_its_row_in_order(workers: int) -> None:
    seen: list[str] = []
    environment = dict(os.environ)
    rows = run_batch(
        JOBS, work, BatchSettings(workers), on_row=lambda row: seen.append(row.slide_id)
    )
    assert told(rows) == [
        ("a", "done", ""),
        ("b", "failed", "unreadable"),
        ("c", "failed", "ZeroDivisionError"),
        ("d", "empty", "no-tissue"),
        ("e", "unsupported", "unsupported-format"),
        ("f", "done", ""),
    ]
    assert sorted(seen) == [job.slide_id for job in JOBS]
    assert "something nobody thought of" in rows[2].traceback
    assert [row.is_failure for row in rows] == [False, True, True, False, True, False]
    assert rows[0].tiles == 7
    # Workers have one thread a library; what this process does next has all.
    assert dict(os.environ) == environment


@pytest.mark.parametrize("workers", [1, 2])
def test_busy_slides_are_put_off_and_then_waited_for(workers: int) -> None:
    finished: list[str] = []
    rows = run_batch(
        [Job("x", "busy once"), Job("y", "done")],
        work,
        BatchSettings(workers),
        on_row=lambda row: finished.append(row.slide_id),
    )
    assert finished == ["y", "x"]
    assert told(rows) == [("x", "done", ""), ("y", "done", "")]
    assert rows[0].details == {"waited": True}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_can_tell_their_number(workers: int) -> None:
    jobs = [Job(name, "slow") for name in "abcd"]
    rows = run_batch(jobs, work, BatchSettings(workers))
    assert {row.details["worker"] for row in rows} == set(range(workers))


def test_two_slides_of_one_name_are_two_rows() -> None:
    rows = run_batch([Job("a", "done"), Job("a", "unreadable")], work, BatchSettings(1))
    assert [row.status for row in rows] == ["done", "failed"]


def test_a_dying_worker_costs_its_slide_alone() -> None:
    jobs = [Job("killer", "die"), *(Job(f"s{number}", "done") for number in range(4))]
    rows = run_batch(jobs, work, BatchSettings(2))
    assert told(rows)[0] == ("killer", "failed", "worker-died")
    assert "out of memory, or a file that crashes its reader" in rows[0].message
    assert {row.status for row in rows[1:]} == {"done"}


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_reaches_the_caller(workers: int) -> None:
    beats: list[tuple[str, int, int]] = []
    run_batch(
        [Job("a", "done"), Job("b", "done")],
        work,
        BatchSettings(workers),
        progress=lambda *beat: beats.append(beat),
    )
    if workers == 1:
        assert beats == [("a", 1, 2), ("a", 2, 2), ("b", 2, 2)] or ("a", 2, 2) in beats
    assert all(beat[2] == 2 for beat in beats)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address=":0",
        local_directory=str(tmp_path),
        protocol="tcp",
    ) as cluster:
        yield cluster.scheduler_address


def test_a_running_cluster_does_the_same(scheduler: str) -> None:
    rows = run_batch(JOBS, work, BatchSettings(scheduler=scheduler))
    assert [row.status for row in rows] == [
        "done", "failed", "failed", "empty", "unsupported", "done",
    ]  # fmt: skip


def test_no_cluster_at_the_address_is_said_at_once() -> None:
    with pytest.raises(SettingsError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        run_batch(JOBS, work, BatchSettings(scheduler="tcp://127.0.0.1:9"))


def test_workers_are_never_more_than_slides() -> None:
    assert BatchSettings(8).processes_for(3) == 3
    assert BatchSettings(2).processes_for(3) == 2
    assert BatchSettings(0).processes_for(1) == 1
    with pytest.raises(SettingsError, match="not -1"):
        BatchSettings(-1)


def test_secrets_of_urls_stay_out_of_rows() -> None:
    (row,) = run_batch([Job("a", "secret")], work, BatchSettings(1))
    assert "https://host/a.svs refused" in row.message
    for text in (row.message, row.traceback):
        assert "SECRET" not in text
        assert "pw" not in text
