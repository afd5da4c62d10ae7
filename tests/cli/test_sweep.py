"""Sweeps: `wsi-tower pretrain --config` with lists, as a user runs them."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.runs.folders import write_run
from wsi_tower.cli.main import cli
from wsi_tower.cli.pretrain import command
from wsi_tower.cli.sweep import Share, Sweep, with_settings_of
from wsi_tower.errors import SettingsError
from wsi_tower.records import held_lock
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    import click
    from click.testing import Result

ROOT = Path(__file__).parents[2]
SMALL = "steps: 2\nbatch_size: 8\nbackbone: resnet10t\ncrop_px: 32\nmethod: simclr\n"
QUIET = "set:\n  train:\n    watch_every: 0\n"


def context_of(text: str, folder: Path, *typed: str) -> click.Context:
    path = folder / "try.yaml"
    path.write_text(text, encoding="utf-8")
    return command.make_context("pretrain", ["--config", str(path), *typed])


def swept(text: str, folder: Path, *typed: str) -> Sweep | None:
    context = context_of(text, folder, *typed)
    config = context.params["config"]
    config.checked()
    return Sweep.of(config, context.params, context)


def names(text: str, folder: Path, *typed: str) -> list[str]:
    sweep = swept(text, folder, *typed)
    assert sweep is not None
    return [run.name for run in sweep.runs]


# ------------------------------------------------------------------ which runs there are


def test_the_last_list_of_the_file_runs_fastest(tmp_path: Path) -> None:
    sweep = swept("seed: [0, 1]\nset:\n  train:\n    clip_norm: [null, 1]\nlr: [0.1]", tmp_path)
    assert sweep is not None
    assert sweep.keys == ("seed", "train.clip_norm", "lr")
    assert [list(run.varied.values()) for run in sweep.runs] == [
        ["0", "none", "0.1"],
        ["0", "1", "0.1"],
        ["1", "none", "0.1"],
        ["1", "1", "0.1"],
    ]
    second = sweep.runs[1].values
    assert (second["seed"], second["lr"], second["values"]) == (0, 0.1, ("train.clip_norm=1",))


def test_names_say_what_varies(tmp_path: Path) -> None:
    text = (
        "method: [tower, simclr]\nlr: [1e-3]\nset:\n  mask: [none]\n  augment:\n    stain: [0.05]"
    )
    assert names(text, tmp_path) == [
        "try-tower-stain0.05-lr0.001-mask-none",
        "try-simclr-stain0.05-lr0.001-mask-none",
    ]
    assert names("seed: [3]", tmp_path, "--name", "mine") == ["mine-seed3"]
    assert names("name: his\nseed: [3]", tmp_path) == ["his-seed3"]


def test_names_stay_when_lists_grow_or_change_places(tmp_path: Path) -> None:
    before = names("lr: [0.1, 0.01]\nseed: [0, 1]", tmp_path)
    after = names("seed: [2, 1, 0]\nlr: [1e-2, 1, 1.0e-1]", tmp_path)
    assert set(before) < set(after)
    assert len(set(after)) == 9


def test_settings_of_one_last_name_keep_their_whole_names(tmp_path: Path) -> None:
    text = "set:\n  contrast: [nt-xent]\n  augment:\n    contrast: [0.1]"
    assert names(text, tmp_path) == ["try-augment.contrast0.1-contrast-nt-xent"]


def test_values_with_other_signs_and_long_names_have_a_digest(tmp_path: Path) -> None:
    hub, other = names("backbone: ['hf-hub:a/b', 'hf-hub:c/b']", tmp_path)
    assert hub.startswith("try-b-")
    assert hub != other
    long = names(f"backbone: [{'x' * 90}0, {'x' * 90}1]", tmp_path)
    assert len(set(long)) == 2
    assert max(map(len, long)) <= 80


def test_a_setting_of_two_numbers_varies_as_a_list_of_lists(tmp_path: Path) -> None:
    flat = "set:\n  train:\n    betas: [0.9, 0.99]\n"
    assert swept(flat, tmp_path) is None
    context = context_of(flat, tmp_path, "--set", "train.betas=1,1")
    told = with_settings_of(context.params["config"], context.params)
    assert told["values"] == ("train.betas=0.9,0.99", "train.betas=1,1")
    sweep = swept("set:\n  train:\n    betas: [[0.9, 0.99], [0.8, 0.99]]\n", tmp_path)
    assert sweep is not None
    assert [run.values["values"] for run in sweep.runs] == [
        ("train.betas=0.9,0.99",),
        ("train.betas=0.8,0.99",),
    ]
    assert sweep.runs[0].name == "try-betas0.9-0.99"


@pytest.mark.parametrize(
    ("text", "typed", "said"),
    [
        ("lr: []", (), "has lr: []; list values, or leave it out"),
        ("set: {temperature: []}", (), "has temperature: []; list values"),
        ("lr: [0.1, fast]", (), "has lr: [0.1, 'fast']; 'fast' is not a valid float"),
        ("seed: [0, 0]", (), "has seed: [0, 0]; it names 0 twice"),
        ("lr: [0.1, 1e-1]", (), "it names 0.1 twice"),
        ("lr: [null, 1]", (), "has lr: [None, 1]; write a value in place of null"),
        ("lr: [[1, 2]]", (), "has lr: [[1, 2]]; lr takes one value, so list plain values"),
        ("set: {a: [{b: 1}]}", (), "has a: [{'b': 1}]; a takes one value"),
        ("set: {train: {betas: [1, [1, 2]]}}", (), "write one value [a, b], or a list of them"),
        ("lr: [1, 2]", ("--lr", "3"), "runs through lr: [1, 2], and --lr 3.0 was typed; leave"),
        ("set: {mask: [none]}", ("--set", "mask=x"), "and --set mask=x was typed"),
        ("device: [cpu, cuda]", (), "has device: ['cpu', 'cuda']; give it one value"),
        ("mix: [true, false]", (), "has mix: [True, False]; give it one value"),
        ("name: [a, b]", (), "has name: ['a', 'b']; give it one value"),
        ("sede: [1, 2]", (), "has an unknown option 'sede'; did you mean seed?"),
    ],
)
def test_lists_that_cannot_be_are_named(
    tmp_path: Path, text: str, typed: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        swept(text, tmp_path, *typed)
    assert said in str(raised.value)
    assert str(tmp_path / "try.yaml") in str(raised.value)


@given(st.integers(1, 9), st.integers(0, 60))
def test_every_run_is_of_one_share(of: int, runs: int) -> None:
    shares = [Share.parsed(f"{place}/{of}") for place in range(1, of + 1)]
    counts = [sum(share.has(number) for number in range(runs)) for share in shares]
    assert sum(counts) == runs
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="write 2/4 for the second of four, counted from 1"):
        Share.parsed(text)


# ------------------------------------------------------------------ what becomes of them


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture(scope="module")
def tiled(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("sweep")
    arguments = ("--mpp", 1, "--tile-px", 64, "--no-report", "-j", 1)
    assert run("tile", slides, "-w", workspace, *arguments).exit_code == 0
    return workspace


@pytest.fixture
def study(tiled: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiled / "tiles", tmp_path / "study" / "tiles", copy_function=os.link)
    return tmp_path / "study"


def sweep_of(study: Path, text: str) -> tuple[object, ...]:
    path = study / "try.yaml"
    path.write_text(text, encoding="utf-8")
    return ("pretrain", "--config", path, "-w", study)


def table(study: Path) -> dict[str, dict[str, str]]:
    path = study / "reports" / "sweeps" / "try.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def would(*arguments: object) -> dict[str, str]:
    result = run(*arguments, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    return {one["name"]: one["would"] for one in json.loads(result.stdout)["runs"]}


def test_one_that_fails_is_a_row_and_what_is_done_is_skipped(study: Path) -> None:
    arguments = sweep_of(study, SMALL + QUIET + "lr: [0.001, 1.0e+30]\nbatch-size: [8, 5000]\n")
    every = ["try-batch_size8-lr0.001", "try-batch_size5000-lr0.001"]
    every += ["try-batch_size8-lr1e30", "try-batch_size5000-lr1e30"]
    assert would(*arguments) == dict.fromkeys(every, "train")
    assert not (study / "runs").exists()

    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert f"run 1 of 4, {every[0]} (lr 0.001, batch_size 8): train, 2 steps" in result.stderr
    assert "failed: a batch of 5000 needs more than the" in result.stderr
    assert result.stdout.splitlines()[-1] == f"Table in {study / 'reports' / 'sweeps' / 'try.csv'}"
    rows = table(study)
    assert list(rows) == every
    assert [row["status"] for row in rows.values()] == ["finished", "failed", "diverged", "failed"]
    done, failed, diverged, _ = rows.values()
    assert (done["lr"], done["batch_size"], done["step"], done["steps"]) == ("0.001", "8", "2", "2")
    assert float(done["loss"]) > 0
    assert float(done["seconds"]) > 0
    assert (failed["reason"], diverged["reason"]) == ("too-few-tiles", "diverged")
    assert [path.name for path in (study / "encoders").iterdir()] == [every[0]]

    # What ended is left alone, what could not begin is tried again.
    assert list(would(*arguments).values()) == ["skip", "train", "skip", "train"]
    before = {path: path.stat().st_mtime_ns for path in (study / "runs" / every[0]).rglob("*")}
    again = run(*arguments, "--json")
    assert again.exit_code == 1
    told = json.loads(again.stdout)
    assert [one["did"] for one in told["runs"]] == ["skip", "train", "skip", "train"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert run("runs", "-w", study).stdout.count("try-") == 4 + 3  # and why three failed


def test_a_run_of_a_sweep_is_the_run_alone(study: Path) -> None:
    arguments = sweep_of(study, SMALL + QUIET + "seed: [4, 5]\n")
    assert run(*arguments).exit_code == 0
    typed = "--steps 2 --batch-size 8 --backbone resnet10t --crop-px 32 --method simclr"
    alone = ("--set", "train.watch_every=0", "--seed", 5, "--name", "alone")
    assert run("pretrain", "-w", study, *typed.split(), *alone).exit_code == 0
    encoders = study / "encoders"
    weights = [
        (encoders / name / "encoder.safetensors").read_bytes()
        for name in ("alone", "try-seed5", "try-seed4")
    ]
    assert weights[0] == weights[1] != weights[2]


def test_other_settings_are_refused_before_anything_is_trained(study: Path) -> None:
    arguments = sweep_of(study, SMALL + QUIET + "seed: [0]\n")
    assert run(*arguments).exit_code == 0
    grown = sweep_of(study, SMALL + QUIET + "seed: [0, 1]\n")
    assert would(*grown, "--lr", 0.5) == {"try-seed0": "refuse", "try-seed1": "train"}
    result = run(*grown, "--lr", 0.5, "--json")
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["reason"]) == (2, "other-settings")
    assert "run try-seed0: training.lr is 0.001 there and 0.5 here" in error["message"]
    assert "another --name, or begin all of it again with --overwrite" in error["message"]
    assert not (study / "runs" / "try-seed1").exists()
    # What moves no weight may differ.
    assert would(*grown, "--set", "train.threads=1") == {"try-seed0": "skip", "try-seed1": "train"}
    assert would(*grown, "--lr", 0.5, "--overwrite") == {"try-seed0": "train", "try-seed1": "train"}


def test_settings_that_exclude_one_another_are_left_out(study: Path) -> None:
    halves = "steps: 1\nseed: [0]\n" + QUIET.replace("set:\n", "set:\n  mask: [none]\n")
    text = SMALL.replace("steps: 2\n", "").replace("method: simclr\n", "") + halves
    both = text.replace("mask: [none]", "mask: [none, blocks]\n  intensity: [none, curves]")
    result = run(*sweep_of(study, both), "--shard", "1/4")
    assert result.exit_code == 0, result.output
    assert "  try-intensity-none-mask-none-seed0: intensity and mask are both" in result.stdout
    statuses = [row["status"] for row in table(study).values()]
    assert statuses == ["impossible", "waiting", "waiting", "waiting"]
    # A value that no run can have is a mistake.
    wrong = both.replace("blocks]", "blocks, blcks]")
    result = run(*sweep_of(study, wrong))
    assert result.exit_code == 2
    assert "run try-intensity-none-mask-blcks-seed0: method tower's setting mask" in result.stderr


def test_shards_share_runs_and_keep_one_table(study: Path) -> None:
    arguments = sweep_of(study, SMALL + QUIET + "seed: [0, 1]\n")
    result = run(*arguments, "--shard", "2/2")
    assert result.exit_code == 0, result.output
    rows = table(study)
    assert [row["status"] for row in rows.values()] == ["waiting", "finished"]
    planned = run(*arguments, "--shard", "1/2", "--dry-run")
    assert planned.stdout.splitlines()[-1] == "1 run; 1 more of other shards"
    assert "try-seed1" not in planned.stdout


def test_a_run_that_another_process_trains_is_passed_over(study: Path) -> None:
    arguments = sweep_of(study, SMALL + QUIET + "seed: [0]\n")
    folder = write_run(Workspace(study), "try-seed0", status=None)
    with held_lock(Workspace(study).lock(folder), wait=False):
        result = run(*arguments, "--json")
    (told,) = json.loads(result.stdout)["runs"]
    assert (result.exit_code, told["did"], told["status"]) == (0, "busy", "running")


def test_ctrl_c_stops_after_a_checkpoint_and_the_same_command_goes_on(study: Path) -> None:
    text = SMALL.replace("steps: 2", "steps: 100000") + "seed: [0, 1]\n"
    arguments = [str(one) for one in sweep_of(study, text)]
    log = study / "runs" / "try-seed0" / "log.csv"
    with subprocess.Popen(
        [sys.executable, "-m", "wsi_tower", *arguments, "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 100
        while not log.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)  # for a step or two
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=100)
    assert (process.returncode, stdout) == (130, ""), stderr
    assert stderr.splitlines()[-1].endswith("the same command goes on from there")
    assert [row["status"] for row in table(study).values()] == ["interrupted", "waiting"]
    assert would(*arguments) == {"try-seed0": "resume", "try-seed1": "train"}


@pytest.mark.parametrize(
    ("text", "typed", "reason", "said"),
    [
        ("steps: 2", "--dry-run", "settings", "--dry-run is for a sweep, and nothing varies here"),
        ("steps: 2", "--shard 1/2", "settings", "--shard 1/2 is for a sweep, and nothing varies"),
        ("seed: [1]", "--shard 3/2", "settings", "--shard '3/2' is no share; write 2/4"),
        ("method: [tower, towr]", "", "settings", "run try-towr: there is no method 'towr'; did"),
        ("set: {msk: [a]}", "", "settings", "run try-msk-a: method tower has no setting 'msk'"),
        ("set: {train: {lr: [x]}}", "", "settings", "training's setting lr is 'x'; give a number"),
        ("seed: [1]", "--name ../x", "settings", "run ../x-seed1: encoder name '../x-seed1' has"),
        ("lr: [1, 2]\nset: {train.lr: 3}", "", "settings", "whether lr 1 or 2; take that list out"),
        ("seed: [1]", "-w nowhere", "no-slides", "nowhere has no tile stores"),
    ],
)
def test_what_cannot_be_is_named_and_trains_nothing(
    tiled: Path, tmp_path: Path, text: str, typed: str, reason: str, said: str
) -> None:
    (tmp_path / "try.yaml").write_text(text)
    (tmp_path / "tiles").symlink_to(tiled / "tiles")
    shape = ("--crop-px", 32, "--json")
    config = ("--config", tmp_path / "try.yaml")
    result = run("pretrain", "-w", tmp_path, *shape, *config, *typed.split())
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["reason"]) == (2, reason)
    assert said in error["message"]
    assert not (tmp_path / "runs").exists()


def test_a_sweep_under_torchrun_is_refused(tiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    config = ROOT / "pipelines" / "sweep.yaml"
    result = run("pretrain", "--config", config, "-w", tiled, "--dry-run")
    assert result.exit_code == 2
    assert "torchrun started 4 processes" in result.stderr
    assert "--shard 1/4" in result.stderr


def test_the_example_runs_as_it_stands(tiled: Path) -> None:
    config = ROOT / "pipelines" / "sweep.yaml"
    planned = would("pretrain", "--config", config, "-w", tiled, "--crop-px", 32)
    assert list(planned.items()) == [
        ("sweep-intensity-curves-mask-blocks-seed0", "train"),
        ("sweep-intensity-curves-mask-blocks-seed1", "train"),
        ("sweep-intensity-none-mask-blocks-seed0", "train"),
        ("sweep-intensity-none-mask-blocks-seed1", "train"),
        ("sweep-intensity-curves-mask-none-seed0", "train"),
        ("sweep-intensity-curves-mask-none-seed1", "train"),
        ("sweep-intensity-none-mask-none-seed0", "leave out"),
        ("sweep-intensity-none-mask-none-seed1", "leave out"),
    ]
