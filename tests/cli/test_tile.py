"""`wsi-tower tile` as a user runs it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wsi_tower.cli.main import cli
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace


def tile(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["tile", *map(str, arguments)], catch_exceptions=False)


def test_a_folder_becomes_stores_a_report_and_pictures(slides: Path, tmp_path: Path) -> None:
    result = tile(slides, "-w", tmp_path / "w", "--mpp", 1, "-j", 1)
    assert result.exit_code == 0, result.output
    assert "2 slides: 2 done" in result.stdout
    page = Path(result.stdout.strip().splitlines()[-1].removeprefix("Look at "))
    assert page.is_file()
    assert sorted(path.name for path in (page.parent / "pictures").iterdir()) == [
        "phantom-01.jpg",
        "phantom-02.jpg",
    ]
    for name in ("phantom-01", "phantom-02"):
        with TileStore.open(tmp_path / "w" / "tiles" / f"{name}.zarr") as store:
            assert len(store) > 10


def test_json_is_alone_on_standard_output(slides: Path, tmp_path: Path) -> None:
    result = tile(slides, "-w", tmp_path / "w", "--mpp", 1, "-j", 1, "--json")
    document = json.loads(result.stdout)
    assert {row["status"] for row in document["slides"]} == {"done"}
    assert {"status", "reason", "tiles", "seconds"} <= document["slides"][0].keys()
    assert document["seconds"] >= max(row["seconds"] for row in document["slides"])


def test_two_workers_give_the_same_stores_as_one(slides: Path, tmp_path: Path) -> None:
    digests = []
    for workers in (1, 2):
        workspace = tmp_path / str(workers)
        tile(slides, "-w", workspace, "--mpp", 1, "-j", workers)
        with TileStore.open(workspace / "tiles" / "phantom-02.zarr") as store:
            digests.append(store.header.content_digest)
    assert digests[0] == digests[1]


def test_a_rerun_skips_and_other_settings_fail(slides: Path, tmp_path: Path) -> None:
    tile(slides, "-w", tmp_path / "w", "--mpp", 1, "-j", 1)
    again = tile(slides, "-w", tmp_path / "w", "--mpp", 1, "-j", 1)
    assert (again.exit_code, "2 skipped" in again.stdout) == (0, True)
    other = tile(slides, "-w", tmp_path / "w", "--mpp", 2, "-j", 1, "--json")
    assert other.exit_code == 1
    assert {row["reason"] for row in json.loads(other.stdout)["slides"]} == {"other-settings"}


def test_a_bad_slide_costs_a_row_and_the_exit_code(slides: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.svs"
    bad.write_text("not a slide")
    result = tile(slides, bad, "-w", tmp_path / "w", "--mpp", 1, "-j", 1, "--json")
    assert result.exit_code == 1
    rows = {row["slide_id"]: row for row in json.loads(result.stdout)["slides"]}
    assert [rows[name]["status"] for name in ("phantom-01", "phantom-02", "bad")] == [
        "done",
        "done",
        "failed",
    ]
    assert rows["bad"]["reason"] == "unreadable"
    assert "UnreadableSlideError" in rows["bad"]["traceback"]


def test_a_list_gives_cohort_columns_and_resolutions(slides: Path, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort.csv"
    cohort.write_text(
        "sample_id,image_path,target_mpp,patient\n"
        f"first,{slides / 'phantom-01.svs'},1,p1\n"
        f"second,{slides / 'phantom-02.svs'},4,p2\n"
    )
    result = tile(cohort, "-w", tmp_path / "w", "--tile-px", 64, "-j", 1)
    assert result.exit_code == 0, result.output
    with TileStore.open(tmp_path / "w" / "tiles" / "second.zarr") as store:
        assert (store.plan.target_mpp, store.plan.level) == (4.0, 1)
    assert Workspace(tmp_path / "w").cohort()["second"]["patient"] == "p2"


def test_the_report_holds_every_row(slides: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.svs"
    bad.touch()
    result = tile(slides, bad, "-w", tmp_path / "w", "--mpp", 1, "-j", 1, "--json")
    folder = Path(json.loads(result.stdout)["report"]).parent
    with (folder / "slides.csv").open(newline="") as file:
        rows = {row["slide_id"]: row for row in csv.DictReader(file)}
    assert rows["bad"]["status"] == "failed"
    assert "is empty (0 bytes)" in rows["bad"]["message"]
    assert "is empty (0 bytes)" in (folder / "index.html").read_text()


def test_an_empty_slide_is_no_failure_and_has_a_picture(slides: Path, tmp_path: Path) -> None:
    result = tile(
        slides / "phantom-01.svs", "-w", tmp_path / "w", "--mpp", 1, "--min-od", 9, "--json"
    )
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)["slides"]
    assert (row["status"], row["reason"]) == ("empty", "no-tissue")
    assert "highest" in row["message"]
    assert (tmp_path / "w" / "reports" / "pictures" / "phantom-01.jpg").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--overlap", "256"], "overlap of 256 px must be smaller than the tile of 256 px"),
        (["--mpp-of", "nobody.svs=0.5"], "names nobody.svs, which is no slide"),
        (["--mpp-of", "phantom-01.svs"], "takes NAME=VALUE"),
        (["--mpp-of", "phantom-1.svs=0.5"], "did you mean phantom-01.svs?"),
        (["--tile-px", "big"], "whole number or native, not 'big'"),
        (["--min-focus", "5"], "needs --focus"),
        (["--jpeg-quality", "101"], "between 1 and 100, not 101"),
        (["--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler answers"),
    ],
)
def test_wrong_options_end_at_once_with_their_value(
    slides: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    result = tile(slides, "-w", tmp_path / "w", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "w" / "tiles").exists()


def test_whole_run_errors_are_json_too(tmp_path: Path) -> None:
    result = tile(tmp_path, "-w", tmp_path / "w", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["reason"] == "no-slides"


def test_given_pixel_size_warns_in_the_row(slides: Path, tmp_path: Path) -> None:
    result = tile(
        slides / "phantom-01.svs", "-w", tmp_path / "w", "--mpp", 2, "--tile-px", 64,
        "--mpp-of", "phantom-01=2", "--json",
    )  # fmt: skip
    (row,) = json.loads(result.stdout)["slides"]
    assert row["details"]["mpp"] == 2.0
    assert row["details"]["mpp_origin"] == "user"
    assert "the given pixel size of 2 µm/px is used" in row["details"]["warning"]
