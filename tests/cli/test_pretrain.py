"""`wsi-tower pretrain` as a user runs it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
import pytest
from click.testing import CliRunner

from wsi_tower.cli.main import cli
from wsi_tower.pretrain import METHODS, PresetName, Start

if TYPE_CHECKING:
    from click.testing import Result

SMALL = ("--steps", "2", "--batch-size", "8", "--backbone", "resnet10t", "--crop-px", "32")
QUIET = ("--set", "train.watch_every=0")
ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture(scope="module")
def tiled(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of two slides of 3 × 2.5 mm in tiles of 64 µm."""
    workspace = tmp_path_factory.mktemp("pretrain")
    arguments = ("--mpp", 1, "--tile-px", 64, "--no-report", "-j", 1)
    assert run("tile", slides, "-w", workspace, *arguments).exit_code == 0
    return workspace


@pytest.fixture
def study(tiled: Path, tmp_path: Path) -> Path:
    """A workspace of one's own with the stores of `tiled`."""
    shutil.copytree(tiled / "tiles", tmp_path / "study" / "tiles")
    return tmp_path / "study"


def test_it_says_what_it_does_and_what_it_made(study: Path) -> None:
    result = run("pretrain", "-w", study, *SMALL)
    assert result.exit_code == 0, result.output
    plan, *looks = result.stderr.splitlines()
    assert plan.startswith("tower with preset small: resnet10t from random weights, 32-px views of")
    assert plan.endswith("tiles, 2 steps of 8 on cpu in fp32")
    assert len(looks) == 2
    for number, line in enumerate(looks, start=1):
        assert line.startswith(f"step {number}/2  loss ")
        # Slides of 3 mm have no pairs beyond 10 mm: no distances to compare.
        assert all(word in line for word in ("contrast", "restoration", "feature rank", "tiles/s"))
        assert "far/near" not in line
    done, *pictures = result.stdout.splitlines()
    assert done.startswith("tower: 2 steps in ")
    assert done.endswith(f"encoder tower in {study / 'encoders' / 'tower'}")
    for line, name in zip(pictures, ("curves.png", "restored.png"), strict=True):
        path = study / "runs" / "tower" / name
        assert line == f"Look at {path}"
        assert path.read_bytes().startswith(b"\x89PNG")


def test_near_and_far_decide_what_the_watch_compares(study: Path) -> None:
    result = run("pretrain", "-w", study, *SMALL, "--near", "200um", "--far", "1mm")
    assert "  far/near distance " in result.stderr.splitlines()[-1]


def test_json_is_alone_on_standard_output(study: Path) -> None:
    result = run("pretrain", "-w", study, *SMALL, *QUIET, "--method", "simclr", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    expected = ("name", "method", "preset", "encoder", "run", "steps", "loss", "stopped_early")
    assert tuple(told) == (*expected, "seconds", "pictures")
    assert (told["name"], told["method"], told["steps"]) == ("simclr", "simclr", 2)
    paths = [told["encoder"], told["run"], *told["pictures"]]
    assert all(Path(path).is_absolute() and Path(path).exists() for path in paths)


def test_tensorboard_files_lie_beside_the_log(study: Path) -> None:
    result = run("pretrain", "-w", study, *SMALL, *QUIET, "--tensorboard")
    assert result.exit_code == 0, result.output
    assert list((study / "runs" / "tower" / "tensorboard").glob("events.*"))


def test_resuming_says_where_it_goes_on(study: Path) -> None:
    arguments = ("pretrain", "-w", study, *SMALL, *QUIET)
    assert run(*arguments, "--resume").exit_code == 0  # there need be none
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "go on with --resume, begin again with --overwrite" in refused.stderr
    again = run(*arguments, "--resume")
    assert again.exit_code == 0
    assert "going on after step 2" in again.stderr
    other = run(*arguments, "--resume", "--lr", "0.5")
    assert other.exit_code == 2
    assert "training.lr is 0.001 there and 0.5 here" in other.stderr


def test_a_config_file_and_typed_options_together(study: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        f"method: simclr\nworkspace: [{study}]\nsteps: 9\nbatch_size: 8\nbackbone: resnet10t\n"
        "crop-px: 32\nset:\n  temperature: 0.3\n  hidden_length: 64\n  train:\n"
        "    watch_every: 0\n    clip_norm: 1.0\n",
        encoding="utf-8",
    )
    result = run("pretrain", "--config", config, "--steps", 1, "--set", "temperature=0.4")
    assert result.exit_code == 0, result.output
    told = json.loads((study / "runs" / "simclr" / "run.json").read_text())
    assert told["training"]["steps"] == 1
    assert told["training"]["clip_norm"] == 1.0
    assert (told["objective"]["temperature"], told["objective"]["hidden_length"]) == (0.4, 64)


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("typed", "reason", "said"),
    [
        ("--method towr", "settings", "there is no method 'towr'; did you mean tower?"),
        ("--preset papr", "settings", "preset is 'papr'; choose one of auto, paper, small"),
        ("--start imagnet", "settings", "start is 'imagnet'; choose one of random, imagenet"),
        ("--backbone resnet1o", "encoder", "unknown encoder 'resnet1o'; did you mean resnet"),
        ("--name ../x", "settings", "encoder name '../x' has other signs than letters"),
        ("--name resnet18", "settings", "means an encoder of timm already"),
        ("--set tempreature=1", "settings", "'tempreature'; did you mean temperature?"),
        ("--set temperature=warm", "settings", "temperature is 'warm'; give a number"),
        ("--set agument.stain=1", "settings", "no group 'agument'; did you mean augment?"),
        ("--set augment.stian=1", "settings", "no setting 'stian'; did you mean stain?"),
        ("--set train.clipnorm=1", "settings", "'clipnorm'; did you mean clip_norm?"),
        ("--set train.betas=1", "settings", "betas is '1'; give 2 values with commas"),
        ("--set temperature", "settings", "'temperature' is no NAME=VALUE"),
        ("--epochs 1", "settings", "epochs 1 and steps 2 both say how long"),
        ("--steps 0", "settings", "steps is 0; choose 1 or more"),
        ("--lr nan", "settings", "lr must be above 0, not nan"),
        ("--batch-size 1", "settings", "batch_size 1 in 1 part(s) leaves one tile"),
        ("--batch-size 5000", "too-few-tiles", "a batch of 5000 needs more than the"),
        ("--crop-px 99", "settings", "views show up to 99 px of a tile, and tiles have 64 px"),
        ("--device gpu", "settings", "device must be one of auto, cpu, cuda, not 'gpu'"),
        ("--near 2", "settings", "--near: length '2' is not a number with a unit"),
        ("--near 20mm", "settings", "far must be finite and at least near (20000 µm)"),
        ("--method similarity", "too-few-tiles", "the 0 tiles with a near or distant partner"),
        ("--resume --overwrite", "settings", "resume goes on with a run and overwrite begins it"),
        ("--images nowhere", "settings", "nowhere is no folder of images"),
        ("--weights no.pt", "encoder", "weights no.pt cannot be read (No such file"),
        ("--lr 1e9 --set train.watch_every=1", "diverged", "at step 1, learning rate 1e+09"),
    ],
)
def test_what_cannot_be_is_named_and_leaves_no_encoder(
    tiled: Path, tmp_path: Path, typed: str, reason: str, said: str
) -> None:
    for store in tiled.glob("tiles/*.zarr"):
        (tmp_path / "tiles").mkdir(exist_ok=True)
        (tmp_path / "tiles" / store.name).symlink_to(store)
    result = run("pretrain", "-w", tmp_path, *SMALL, "--json", *typed.split())
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert (error["reason"], said in error["message"]) == (reason, True), error
    assert error["message"] in result.stderr
    assert not (tmp_path / "encoders").exists()


def test_an_empty_workspace_says_how_to_fill_it(tmp_path: Path) -> None:
    result = run("pretrain", "-w", tmp_path / "typo", "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["reason"] == "no-slides"
    assert (
        f"typo has no tile stores; make them with `wsi-tower tile SLIDES -w {tmp_path}"
        in (error["message"])
    )
    assert not (tmp_path / "typo").exists()


def test_weights_that_cannot_be_fetched_say_which_file_to_give(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    result = run("pretrain", "-w", study, *SMALL, "--start", "imagenet", "--backbone", "resnet50")
    assert result.exit_code == 2
    assert "model.safetensors" in result.stderr
    assert "timm/resnet50.tv_in1k cannot be fetched" in result.stderr
    assert "--weights FILE" in result.stderr


# ------------------------------------------------------------------ what goes wrong on the way


def _bytes(path: Path) -> int:
    return path.stat().st_size


def damage(workspace: Path) -> None:
    """Overwrite the middle of a slide's pixels; its index of tiles stays."""
    pixels = workspace / "tiles" / "phantom-02.zarr" / "tiles" / "pixels"
    shard = max((path for path in pixels.rglob("*") if path.is_file()), key=_bytes)
    content = bytearray(shard.read_bytes())
    middle = slice(len(content) // 3, len(content) // 2)
    content[middle] = b"\xff" * (middle.stop - middle.start)
    shard.write_bytes(content)


def test_damaged_tiles_are_named_and_left_out_or_end_the_run(study: Path) -> None:
    damage(study)
    arguments = ("pretrain", "-w", study, *SMALL, *QUIET, "--batch-size", "128")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "warning: slide phantom-02, tile row " in result.stderr
    assert "is left out: " in result.stderr
    strict = run(*arguments, "--strict", "--name", "strict")
    assert strict.exit_code == 2
    assert "error: slide phantom-02, tile row " in strict.stderr
    assert "leave out --strict to train without it" in strict.stderr
    assert not (study / "encoders" / "strict").exists()


def test_ctrl_c_says_how_to_go_on(study: Path) -> None:
    command = [sys.executable, "-m", "wsi_tower", "pretrain", "-w", str(study), *SMALL]
    command += ["--steps", "100000", "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        log = study / "runs" / "tower" / "log.csv"
        deadline = time.monotonic() + 60
        while not (log.exists() and log.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1] == (
        "interrupted; the same command with --resume goes on from there"
    )
    assert list(log.parent.glob("checkpoints/step-*.pt"))
    assert not (study / "encoders").exists()


# ------------------------------------------------------------------ help


def test_help_loads_nothing_heavy_and_names_every_choice() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from wsi_tower.cli.main import cli; "
        "print(CliRunner().invoke(cli, ['pretrain', '--help']).output); "
        "print([name for name in ('torch', 'numpy', 'timm', 'yaml') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    text, loaded = found.stdout.rstrip().rsplit("\n", 1)
    assert loaded == "[]"
    for choice in (*METHODS, *get_args(PresetName), *get_args(Start)):
        assert choice in text
    command = cli.get_command(click.Context(cli), "pretrain")
    assert command is not None
    for parameter in command.params:
        assert isinstance(parameter, click.Option)
        assert parameter.help
        assert max(parameter.opts, key=len) in text


def test_every_setting_of_a_run_can_be_given() -> None:
    from dataclasses import fields

    from wsi_tower.pretrain import PretrainSettings

    command = cli.get_command(click.Context(cli), "pretrain")
    assert command is not None
    options = {parameter.name for parameter in command.params}
    # --set gives the three kinds of values, --near and its like the pairs.
    settings: dict[str, Any] = {field.name: field for field in fields(PretrainSettings)}
    values = {"method_values", "augment_values", "train_values", "pairs"}
    assert settings.keys() - values <= options
    assert {"values", "near", "far", "cross_slide"} <= options
