"""Runs as their folders tell: how they ended, what is damaged, what differs."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from tests.runs.folders import row, write_log, write_run
from wsi_tower.errors import (
    CheckpointError,
    DivergedError,
    InputError,
    StorageError,
    TooFewTilesError,
    WsiTowerError,
)
from wsi_tower.records import held_lock
from wsi_tower.runs import (
    begin_run,
    differing_settings,
    named_runs,
    record_failure,
    recorded_ending,
    recorded_run,
    recorded_runs,
)
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def study(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "study")


def test_a_finished_run_tells_all(study: Workspace) -> None:
    folder = write_run(study, "a")
    run = recorded_run(study, "a")
    assert (run.status, run.step, run.steps, run.seconds) == ("finished", 40, 40, 61.0)
    assert (run.slides, run.tiles, run.settings["method"]) == (2, 120, "tower")
    assert run.last.losses == {"loss": 2.0, "contrast": 1.0}
    assert (run.encoder, run.log, run.curves) == (study.encoders / "a", folder / "log.csv", None)
    told = json.loads(json.dumps(run.to_json(), allow_nan=False))
    assert (told["rank"], told["gap"], told["images_per_s"]) == (31, 1.25, 100)


def test_numbers_that_are_none_are_null_in_json(study: Workspace) -> None:
    write_run(study, "a", rows=[row(40, 2, "nan", "nan")])
    told = json.loads(json.dumps(recorded_run(study, "a").to_json(), allow_nan=False))
    assert (told["rank"], told["gap"]) == (None, None)


def test_without_an_end_it_was_killed_or_goes_on(study: Workspace) -> None:
    folder = write_run(study, "a", rows=[row(20, 3)], status=None, checkpoint=25)
    killed = recorded_run(study, "a")
    assert (killed.status, killed.step, killed.encoder) == ("interrupted", 25, None)
    with held_lock(study.lock(folder), wait=False):
        assert recorded_run(study, "a").status == "running"
    assert recorded_run(study, "a").status == "interrupted"


def test_looking_takes_no_lock_from_those_who_train(study: Workspace) -> None:
    folder = write_run(study, "a", status=None)
    recorded_run(study, "a")
    with held_lock(study.lock(folder), wait=False) as state:
        assert state == "held"


def test_a_run_of_before_ends_were_written_is_finished_with_its_encoder(study: Workspace) -> None:
    folder = write_run(study, "a")
    (folder / "end.json").unlink()
    assert recorded_run(study, "a").status == "finished"
    shutil.rmtree(study.encoders)
    assert recorded_run(study, "a").status == "interrupted"


def test_a_kill_after_a_failure_is_an_interruption(study: Workspace) -> None:
    folder = write_run(study, "a", status="failed", checkpoint=20)
    hour_ago = time.time() - 3600
    os.utime(folder / "end.json", (hour_ago, hour_ago))
    run = recorded_run(study, "a")
    assert (run.status, run.message) == ("interrupted", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "holds no run.json"),
        ("{", "run.json is damaged"),
        ("[]", "run.json is damaged"),
        ('{"kind": "run"}', "run.json is damaged"),
        ('{"kind": "x", "training": {"steps": 1}, "method": "a"}', "not that of a wsi-tower run"),
        ('{"kind": "run", "training": {"steps": "1"}, "method": "a"}', "not that of a wsi-tower"),
    ],
)
def test_a_damaged_folder_is_a_run_with_its_reason(
    study: Workspace, content: str | None, said: str
) -> None:
    write_run(study, "sound")
    path = study.run("bad") / "run.json"
    path.parent.mkdir()
    if content is not None:
        path.write_text(content)
    runs = {run.name: run for run in recorded_runs(study)}
    assert (runs["bad"].status, runs["sound"].status) == ("damaged", "finished")
    assert said in runs["bad"].message
    json.dumps(runs["bad"].to_json())


def test_a_damaged_log_and_end_are_named_too(study: Workspace) -> None:
    (write_run(study, "a") / "log.csv").write_bytes(b"\xff\n")
    (write_run(study, "b") / "end.json").write_text('{"status": "well"}')
    assert "log.csv is no log" in recorded_run(study, "a").message
    assert "end.json is damaged" in recorded_run(study, "b").message


def test_the_newest_comes_first(study: Workspace) -> None:
    for day, name in enumerate(("b", "c", "a"), start=1):
        write_run(study, name, created=f"2026-11-0{day}T00:00:00+00:00")
    (study.runs / ".partial-1").mkdir()
    (study.runs / "notes.txt").touch()
    assert [run.name for run in recorded_runs(study)] == ["a", "c", "b"]
    assert recorded_runs(Workspace(study.root / "none")) == []


def test_unknown_names_say_what_there_is(study: Workspace) -> None:
    with pytest.raises(InputError, match=r"no run 'a', and no other; begin one with `wsi-tower pr"):
        named_runs(study, ["a"])
    write_run(study, "tower-seed0")
    write_run(study, "tower-seed1")
    with pytest.raises(InputError, match=r"no run 'tower'; did you mean tower-seed\d or tower-s"):
        named_runs(study, ["tower-seed0", "tower"])
    with pytest.raises(InputError, match=r"no run 'zz'; there are tower-seed0, tower-seed1$"):
        named_runs(study, ["zz"])
    with pytest.raises(InputError, match=r"no run '\.\./runs/tower-seed0'"):
        named_runs(study, ["../runs/tower-seed0"])


# ------------------------------------------------------------------ how a run ends


def _told(folder: Path) -> dict[str, object]:
    told: dict[str, object] = json.loads((folder / "end.json").read_text())
    return told


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (DivergedError("the loss is nan"), "diverged", "diverged"),
        (StorageError("full"), "failed", "storage"),
        (RuntimeError("CUDA out of memory\nmore"), "failed", "device"),
        (KeyboardInterrupt(), "interrupted", ""),
    ],
)
def test_how_a_block_ends_is_recorded(
    tmp_path: Path, error: BaseException, status: str, reason: str
) -> None:
    begin_run(tmp_path, {})
    with pytest.raises(type(error)), recorded_ending(tmp_path):
        raise error
    told = _told(tmp_path)
    assert (told["status"], told["reason"]) == (status, reason)
    assert told["message"] == str(error).partition("\n")[0]


def test_an_attempt_that_did_not_begin_leaves_the_end_as_it_was(tmp_path: Path) -> None:
    with recorded_ending(tmp_path) as ending:
        ending.has_stopped_early = True
    with pytest.raises(CheckpointError), recorded_ending(tmp_path):
        raise CheckpointError("there is a run")
    assert _told(tmp_path)["status"] == "stopped early"


def test_seconds_add_up_over_attempts_and_kills(tmp_path: Path) -> None:
    begin_run(tmp_path, {})
    log = write_log(tmp_path, [])
    began = (tmp_path / "run.json").stat().st_mtime
    os.utime(log, (began + 100, began + 100))  # the first was killed a hundred seconds later
    for _ in range(2):
        with recorded_ending(tmp_path):
            time.sleep(0.06)
    seconds = _told(tmp_path)["seconds"]
    assert isinstance(seconds, float)
    assert 100.1 <= seconds < 110  # the machine may be slow


def test_a_run_begun_again_forgets_how_it_ended(tmp_path: Path) -> None:
    record_failure(tmp_path, TooFewTilesError("few"))
    begin_run(tmp_path, {"method": "tower"})
    assert not (tmp_path / "end.json").exists()
    assert json.loads((tmp_path / "run.json").read_text())["created"]


def test_what_ended_a_run_is_heard_even_if_it_cannot_be_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.touch()  # nothing can be written into it
    with pytest.raises(WsiTowerError, match="the loss is nan"), recorded_ending(folder):
        raise DivergedError("the loss is nan")


def test_a_run_that_could_not_begin_is_a_failed_one(study: Workspace) -> None:
    record_failure(study.run("a"), TooFewTilesError("a batch of 9 needs more"))
    run = recorded_run(study, "a")
    assert (run.status, run.reason, run.steps) == ("failed", "too-few-tiles", None)
    assert run.message == "a batch of 9 needs more"


# ------------------------------------------------------------------ what differs


def test_settings_that_differ_are_named_method_first(study: Workspace) -> None:
    training = {"steps": 40, "batch_size": 8, "lr": 0.01, "seed": 0}
    write_run(study, "a")
    write_run(study, "b", method="simclr", objective={"hidden": 9}, training=training)
    differing = differing_settings(named_runs(study, ["a", "b"]))
    assert list(differing.items()) == [
        ("method", ["tower", "simclr"]),
        ("training.lr", [0.001, 0.01]),
        ("objective.hidden", [None, 9]),
        ("objective.temperature", [0.1, None]),
    ]


def test_what_follows_from_steps_is_not_named_beside_them(study: Workspace) -> None:
    few, many = ({"steps": steps, "warmup_steps": steps // 20} for steps in (40, 400))
    write_run(study, "a", training=few)
    write_run(study, "b", training=many)
    assert differing_settings(named_runs(study, ["a", "b"])) == {"training.steps": [40, 400]}
    write_run(study, "c", training=few | {"warmup_steps": 9})
    assert differing_settings(named_runs(study, ["a", "c"])) == {"training.warmup_steps": [2, 9]}


def test_tiles_differ_by_their_contents(study: Workspace) -> None:
    write_run(study, "a")
    write_run(study, "b", tiles={"0 a": "d0"}, counts={"slides": 1, "tiles": 60})
    write_run(study, "c", tiles={"0 a": "d0", "1 b": "other"})
    assert differing_settings(named_runs(study, ["a", "a"])) == {}
    assert differing_settings(named_runs(study, ["a", "b"])) == {
        "tiles": ["120 of 2 slides", "60 of 1 slides"]
    }
    assert differing_settings(named_runs(study, ["a", "c"])) == {
        "tiles": ["120 of 2 slides (a's)", "120 of 2 slides (c's)"]
    }
