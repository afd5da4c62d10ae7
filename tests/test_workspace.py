from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from wsi_tower.errors import CorruptStoreError, StorageError
from wsi_tower.workspace import MARKER_NAME, Workspace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "deep" / "workspace").prepared()


def test_things_lie_where_the_convention_says(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert workspace.tile_store("a.b") == tmp_path / "tiles" / "a.b.zarr"
    assert workspace.reports == tmp_path / "reports"


def test_preparing_makes_and_marks_the_folder_once(workspace: Workspace) -> None:
    marker = workspace.root / MARKER_NAME
    assert json.loads(marker.read_text()) == {"kind": "workspace", "format_version": 1}
    before = marker.stat().st_mtime_ns
    workspace.prepared()
    assert marker.stat().st_mtime_ns == before


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "a" / "b")
    assert workspace.free_bytes() > 0
    assert workspace.cohort() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_its_place_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError, match=r"out is a file; choose another"):
        Workspace(tmp_path / "out").prepared()


def test_a_file_above_it_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        Workspace(tmp_path / "out" / "workspace").prepared()


@pytest.mark.parametrize("is_marked", [False, True])
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, is_marked: bool) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    if is_marked:
        Workspace(root).prepared()
    root.chmod(0o555)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    code = (
        "import os, pathlib\nfrom wsi_tower.workspace import Workspace\n"
        f"os.getuid() or os.setuid(65534)\nWorkspace(pathlib.Path({str(root)!r})).prepared()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    root.chmod(0o755)
    if "setuid" in result.stderr:
        pytest.skip("no way to be a user without permission here")
    assert "wsi_tower.errors.StorageError" in result.stderr
    assert "choose another" in result.stderr


def test_locks_lie_apart_from_what_they_guard(workspace: Workspace) -> None:
    store = workspace.tile_store("a")
    lock = workspace.lock(store)
    assert lock.parent == workspace.root / ".locks"
    assert lock != workspace.lock(workspace.tile_store("b"))
    assert lock != workspace.lock(workspace.reports / "a.zarr")


# Cohort


def test_cohorts_are_merged_and_newer_values_win(workspace: Workspace) -> None:
    workspace.merge_cohort({"b": {"site": "Bern", "label": "1"}, "a": {"site": "Lund"}})
    workspace.merge_cohort({"b": {"label": "2", "age": "70"}})
    assert workspace.cohort() == {
        "a": {"age": "", "label": "", "site": "Lund"},
        "b": {"age": "70", "label": "2", "site": "Bern"},
    }


def test_a_cohort_is_a_plain_table_in_a_stable_order(workspace: Workspace) -> None:
    workspace.merge_cohort({"b": {"z": "1"}, "a": {"y": 'quoted "x", and\nlines'}})
    with (workspace.root / "cohort.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["slide_id", "y", "z"],
        ["a", 'quoted "x", and\nlines', ""],
        ["b", "", "1"],
    ]


def test_no_columns_make_no_file(workspace: Workspace) -> None:
    workspace.merge_cohort({"a": {}, "b": {}})
    assert not (workspace.root / "cohort.csv").exists()


def test_a_column_called_slide_id_does_not_rename_slides(workspace: Workspace) -> None:
    workspace.merge_cohort({"a": {"slide_id": "other", "site": "Bern"}})
    assert workspace.cohort() == {"a": {"site": "Bern"}}


def test_odd_names_come_back(workspace: Workspace) -> None:
    rows = {"bad-\udcff": {"größe": "组"}, "a b,c": {"größe": ""}}
    workspace.merge_cohort(rows)
    assert workspace.cohort() == rows


def test_a_cohort_that_a_spreadsheet_saved_is_read(workspace: Workspace) -> None:
    text = "\ufeffslide_id,site\r\na,Bern\r\n"
    (workspace.root / "cohort.csv").write_bytes(text.encode())
    assert workspace.cohort() == {"a": {"site": "Bern"}}


@pytest.mark.parametrize("text", ["", "id,site\na,Bern\n", "slide_id,site\na,Bern,surplus\n"])
def test_a_cohort_of_another_form_is_refused(workspace: Workspace, text: str) -> None:
    (workspace.root / "cohort.csv").write_text(text)
    with pytest.raises(CorruptStoreError, match=r"cohort\.csv .*mend it"):
        workspace.merge_cohort({"a": {"site": "Bern"}})
    assert (workspace.root / "cohort.csv").read_text() == text


def test_processes_that_merge_at_once_lose_nothing(workspace: Workspace) -> None:
    code = (
        "import pathlib, sys\nfrom wsi_tower.workspace import Workspace\n"
        f"workspace = Workspace(pathlib.Path({os.fspath(workspace.root)!r}))\n"
        "for number in range(10):\n"
        "    workspace.merge_cohort({f'{sys.argv[1]}{number}': {'site': 'x'}})"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "abc"]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(workspace.cohort()) == 30
