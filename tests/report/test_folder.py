"""The files of a report: whole or absent, and the same numbers for programs as for people."""

from __future__ import annotations

import csv
import errno
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from wsi_tower.batch import SlideRow
from wsi_tower.errors import SettingsError, StorageError
from wsi_tower.report import RunRecord, write_report

if TYPE_CHECKING:
    from pathlib import Path


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "slides.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_three_files_and_nothing_else(tmp_path: Path, run: RunRecord) -> None:
    page = write_report(tmp_path / "tile-1", run)
    assert page == tmp_path / "tile-1" / "index.html"
    names = sorted(entry.name for entry in page.parent.iterdir())
    assert names == ["index.html", "run.json", "slides.csv"]


def test_csv_gives_every_row_back(tmp_path: Path, run: RunRecord) -> None:
    write_report(tmp_path, run)
    read = table(tmp_path)
    assert len(read) == len(run.rows)
    for line, row in zip(read, run.rows, strict=True):
        if "\udcff" not in row.slide_id:
            assert (line["slide_id"], line["source"]) == (row.slide_id, row.source)
        assert (line["status"], line["reason"]) == (row.status, row.reason)
        assert (line["message"], line["traceback"]) == (row.message, row.traceback)
        assert (int(line["tiles"]), float(line["seconds"])) == (row.tiles, row.seconds)
    assert read[0]["mpp_origin"] == "ome-xml"
    assert read[0]["tissue_mm2"] == "83.2"
    assert list(read[0])[-1] == "traceback"


def test_nested_and_clashing_details_have_columns_of_their_own(
    tmp_path: Path, run: RunRecord
) -> None:
    details = {"pen": {"fraction": 0.1}, "status": "odd"}
    write_report(tmp_path, replace(run, rows=(SlideRow("a", "a.svs", "done", details=details),)))
    (line,) = table(tmp_path)
    assert line["pen.fraction"] == "0.1"
    assert (line["status"], line["details.status"]) == ("done", "odd")


def test_json_holds_the_whole_record(tmp_path: Path, run: RunRecord) -> None:
    write_report(tmp_path, run)
    read = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert (read["kind"], read["format_version"]) == ("run", 1)
    assert read["counts"] == {"done": 2, "skipped": 1, "failed": 2, "unsupported": 1, "empty": 1}
    assert read["settings"] == run.settings
    assert [row["slide_id"] for row in read["rows"]] == [row.slide_id for row in run.rows]
    assert read["rows"][2]["details"] == {"mpp": None}


@pytest.mark.parametrize("refused", [1, 2, 3])
def test_full_disk_leaves_whole_files_only(
    tmp_path: Path, run: RunRecord, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    write_report(tmp_path, run)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    calls = 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == refused:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        write_report(tmp_path, replace(run, rows=run.rows[:1]))
    after = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert after["index.html"] == before["index.html"]


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path, run: RunRecord) -> None:
    (tmp_path / "reports").write_text("")
    with pytest.raises(StorageError, match="reports"):
        write_report(tmp_path / "reports" / "tile-1", run)


@pytest.mark.parametrize("path", ["/etc/x.jpg", "../x.jpg", "pictures/../../x.jpg", ""])
def test_pictures_outside_the_report_are_refused(run: RunRecord, path: str) -> None:
    with pytest.raises(SettingsError, match="outside the report"):
        replace(run, pictures={"good": path})
