"""Reading logs: the end of a long one, what was cut off, what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.runs.folders import HEADS, row, write_log
from wsi_tower.errors import CorruptStoreError
from wsi_tower.runs import LogTail, log_tail, logged_columns

if TYPE_CHECKING:
    from pathlib import Path


def test_losses_are_means_of_the_last_tenth_of_the_steps(tmp_path: Path) -> None:
    # Of 100 steps the last tenth begins after step 90.
    rows = [row(10, 9, 20, 1.5), row(90, 7), row(92, 3), row(100, 1)]
    tail = log_tail(write_log(tmp_path, rows))
    assert tail.step == 100
    assert tail.losses == {"loss": 2.0, "contrast": 1.0}
    assert (tail.rank, tail.gap, tail.images_per_s) == (20, 1.5, 100)


def test_ten_rows_at_most_make_a_mean(tmp_path: Path) -> None:
    rows = [row(step, 100 if step <= 990 else 1) for step in range(1, 1001)]
    assert log_tail(write_log(tmp_path, rows)).losses["loss"] == 1


def test_the_pace_is_a_median(tmp_path: Path) -> None:
    path = write_log(tmp_path, [row(1, 1), row(2, 1)])
    path.write_text(path.read_text() + "3,0,1,1,1,7,,\n")
    assert log_tail(path).images_per_s == 100


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_half_a_row_at_the_end_counts_for_nothing(tmp_path: Path, cut: int) -> None:
    path = write_log(tmp_path, [row(10, 4, 8), row(20, 3)])
    path.write_text(path.read_text()[:-cut])
    tail = log_tail(path)
    assert (tail.step, tail.losses["loss"], tail.rank) == (10, 4, 8)


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    path = write_log(tmp_path, [row(step, 1) for step in range(1, 20_001)])
    damaged = bytearray(path.read_bytes())
    damaged[1000:1010] = b"\xff" * 10  # far from the end: nobody looks there
    path.write_bytes(damaged)
    assert log_tail(path).step == 20_000


def test_a_look_of_the_watch_is_searched_for_farther_back(tmp_path: Path) -> None:
    rows = [row(step, 1, *(("17.5", "1.5") if step == 3000 else ())) for step in range(1, 5001)]
    tail = log_tail(write_log(tmp_path, rows))
    assert (tail.rank, tail.gap) == (17.5, 1.5)


def test_there_may_be_no_log_and_no_row(tmp_path: Path) -> None:
    assert log_tail(tmp_path / "log.csv") == LogTail()
    assert logged_columns(tmp_path / "log.csv") == {}
    (tmp_path / "log.csv").touch()
    assert log_tail(tmp_path / "log.csv") == LogTail()
    assert log_tail(write_log(tmp_path, [])) == LogTail()


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00\n", HEADS.encode() + b"\nx,1,1,1,1,1,,\n", HEADS.encode() + b"\n1,2\n"],
)
def test_what_is_no_log_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    for read in (log_tail, logged_columns):
        with pytest.raises(CorruptStoreError, match=r"log\.csv is no log of a run .*checkpoints"):
            read(path)


def test_columns_have_values_where_the_log_has(tmp_path: Path) -> None:
    columns = logged_columns(write_log(tmp_path, [row(10, 4, 8), row(20, 3)]))
    assert columns["loss"] == [(10, 4.0), (20, 3.0)]
    assert columns["rank"] == [(10, 8.0)]
    assert "gap" not in columns
