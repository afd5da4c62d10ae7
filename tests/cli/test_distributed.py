"""`torchrun … -m wsi_tower pretrain` as a user runs it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner

from tests.training.ranked_run import free_port
from wsi_tower.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow  # each starts at least two processes, which load torch first

ROOT = Path(__file__).parents[2]
PRETRAIN = ("-m", "wsi_tower", "pretrain")
SMALL = ("--batch-size", "8", "--backbone", "test_efficientnet_gn", "--crop-px", "32")
TOLD = ("--set", "train.watch_every=0", "--set", "train.log_every=1")
CONTRAST = ("--set", "restoration_weight=0")
"""Leaves out the decoder, whose BatchNorm and Adam make much of rounding in forty steps."""
LIMIT_S = 180


@pytest.fixture(scope="module")
def tiled(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of two slides of 3 × 2.5 mm in tiles of 64 µm."""
    workspace = tmp_path_factory.mktemp("distributed")
    arguments = ["tile", slides, "-w", workspace, "--mpp", 1, "--tile-px", 64]
    assert typed(*arguments, "--no-report", "-j", 1) == 0
    return workspace


@pytest.fixture
def study(tiled: Path, tmp_path: Path) -> Path:
    """A workspace of one's own with the stores of `tiled`."""
    shutil.copytree(tiled / "tiles", tmp_path / "study" / "tiles")
    return tmp_path / "study"


def typed(*arguments: object) -> int:
    """Exit code of a command in this process."""
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False).exit_code


def started(*command: object, **environment: str) -> subprocess.Popen[str]:
    """A process of Python."""
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def torchrun(ranks: int, *arguments: object) -> subprocess.Popen[str]:
    """Ranks as `torchrun` starts them."""
    return started(
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks),
        *(*PRETRAIN, *SMALL, *TOLD, *arguments),
    )


def by_hand(rank: int, port: int, *arguments: object) -> subprocess.Popen[str]:
    """One of two ranks as a scheduler starts them."""
    names = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    return started(*PRETRAIN, *SMALL, *TOLD, *arguments, **names, MASTER_PORT=str(port))


def losses(study: Path, name: str) -> list[float]:
    with (study / "runs" / name / "log.csv").open(encoding="utf-8", newline="") as file:
        return [float(row["contrast"]) for row in csv.DictReader(file)]


def when(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    """Wait until something has happened while a process works."""
    deadline = time.monotonic() + LIMIT_S
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def rows(study: Path, name: str) -> int:
    log = study / "runs" / name / "log.csv"
    return len(log.read_text().splitlines()) if log.exists() else 0


def checkpoints(study: Path, name: str) -> list[Path]:
    return sorted((study / "runs" / name / "checkpoints").glob("step-*.pt"))


def process_of_rank(rank: int, launcher: int) -> int:
    """Number of the process that a launcher started as a rank."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            told = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == launcher and f"RANK={rank}".encode() in told:
            return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")


# ------------------------------------------------------------------ the same run


def test_two_ranks_do_what_one_does_and_say_it_once(study: Path) -> None:
    steps = ("-w", study, "--steps", 6)
    assert typed("pretrain", *SMALL, *TOLD, *steps, "--name", "one") == 0
    process = torchrun(2, *steps, "--name", "two", "--json")
    stdout, stderr = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, stderr) == (0, "")
    assert json.loads(stdout)["steps"] == 6
    assert losses(study, "two") == pytest.approx(losses(study, "one"), rel=1e-4)
    assert len(losses(study, "two")) == 6
    assert (study / "encoders" / "two" / "encoder.json").exists()
    assert (study / "runs" / "two" / "restored.png").exists()


# ------------------------------------------------------------------ what cannot be


def test_ranks_that_were_started_otherwise_are_named(study: Path) -> None:
    arguments = ("-w", study, "--steps", 2)
    port = free_port()
    rates = ("0.001", "0.002")
    both = [by_hand(rank, port, *arguments, "--lr", rate) for rank, rate in enumerate(rates)]
    told, silent = (process.communicate(timeout=LIMIT_S) for process in both)
    assert [process.returncode for process in both] == [2, 2]
    assert "error: rank 1 was started otherwise than rank 0" in told[1]
    assert "training.lr is 0.002 there and 0.001 here" in told[1]
    assert silent == ("", "")
    assert not (study / "runs").exists()


@pytest.mark.parametrize(
    ("ranks", "arguments", "said"),
    [
        (3, (), "batch_size 8 cannot be shared by 3 processes; make it a multiple of 3"),
        (4, ("--batch-size", "2"), "batch_size 2 cannot be shared by 4 processes"),
        (2, ("--set", "temperature"), "'temperature' is no NAME=VALUE"),
    ],
)
def test_what_no_rank_can_do_is_told_once(
    study: Path, ranks: int, arguments: tuple[str, ...], said: str
) -> None:
    process = torchrun(ranks, "-w", study, "--steps", 2, *arguments)
    stdout, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode != 0
    assert stdout == ""
    assert stderr.count(said) == stderr.count("error: ") == 1
    assert not (study / "runs").exists()


def test_a_gpu_that_is_not_there_is_told_once(study: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    process = torchrun(2, "-w", study, "--steps", 2, "--device", "cuda")
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode != 0
    assert stderr.count("device cuda was asked for, but torch sees no GPU") == 1


def test_a_port_that_is_taken_is_named(study: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = by_hand(0, port, "-w", study, "--steps", 2)
        _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert f"rank 0 of 2 cannot meet the others at port {port} of 127.0.0.1" in stderr
    assert "torchrun --standalone" in stderr


def test_ranks_without_a_place_to_meet_are_told_to_use_torchrun(study: Path) -> None:
    process = started(*PRETRAIN, *SMALL, "-w", study, RANK="0", WORLD_SIZE="2")
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert "MASTER_ADDR is ''" in stderr
    assert "start with torchrun" in stderr


# ------------------------------------------------------------------ what goes wrong on the way


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds ranks by /proc")
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_rank_is_named_and_others_go_on_from_its_checkpoint(study: Path, lost: int) -> None:
    steps = ("-w", study, "--steps", 40, "--set", "train.checkpoint_every=3", *CONTRAST)
    assert typed("pretrain", *SMALL, *TOLD, *steps, "--name", "whole") == 0
    process = torchrun(2, *steps)
    when(process, lambda: rows(study, "tower") > 5)
    number = process_of_rank(lost, process.pid)
    os.kill(number, signal.SIGKILL)
    killed = time.monotonic()
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert time.monotonic() - killed < 60
    assert process.returncode != 0
    assert f"error: rank {lost} of 2 (process {number} on " in stderr
    assert "Go on from it with the same command and --resume" in stderr
    assert checkpoints(study, "tower")
    assert not (study / "encoders" / "tower").exists()
    assert typed("pretrain", *SMALL, *TOLD, *steps, "--resume") == 0
    assert len(losses(study, "tower")) == 40
    assert losses(study, "tower") == pytest.approx(losses(study, "whole"), rel=1e-4)


def test_a_rank_that_is_lost_without_a_launcher_is_named_too(study: Path) -> None:
    port = free_port()
    arguments = ("-w", study, "--steps", 10_000)
    first, second = (by_hand(rank, port, *arguments) for rank in range(2))
    when(first, lambda: rows(study, "tower") > 2)
    second.kill()
    _, stderr = first.communicate(timeout=60)
    assert first.returncode == 2
    assert f"error: rank 1 of 2 (process {second.pid} on " in stderr
    second.communicate()


def test_torchrun_starts_a_lost_rank_again(study: Path) -> None:
    steps = ("-w", study, "--steps", 30, "--set", "train.checkpoint_every=3", *CONTRAST)
    assert typed("pretrain", *SMALL, *TOLD, *steps, "--name", "whole") == 0
    process = started(
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2),
        *("--max-restarts", 1, *PRETRAIN, *SMALL, *TOLD, *steps, "--resume"),
    )
    when(process, lambda: rows(study, "tower") > 5)
    os.kill(process_of_rank(1, process.pid), signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, stderr
    assert "going on after step " in stderr
    assert stdout.startswith("tower: 30 steps in ")
    assert losses(study, "tower") == pytest.approx(losses(study, "whole"), rel=1e-4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_checkpoint_and_is_told_once(
    study: Path, number: signal.Signals
) -> None:
    process = torchrun(2, "-w", study, "--steps", 10_000)
    when(process, lambda: rows(study, "tower") > 2)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=LIMIT_S)
    assert process.returncode != 0
    (checkpoint,) = checkpoints(study, "tower")
    assert int(checkpoint.stem[5:]) == rows(study, "tower") - 1
    said = stderr.count("interrupted; the same command with --resume goes on from there")
    assert said == (1 if number == signal.SIGINT else 0)


# ------------------------------------------------------------------ a cluster


def test_the_slurm_script_joins_two_nodes(study: Path, tmp_path: Path) -> None:
    """With stand-ins for SLURM's commands: two nodes of two ranks each, all on this machine."""
    stand_ins = {
        "scontrol": "echo localhost; echo other",
        "srun": '"$@" & "$@"; first=$?; wait $! && exit $first',
        "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
    }
    for name, script in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    told = {"JOB_ID": str(free_port() - 20_000), "JOB_NODELIST": "n[1-2]"}
    told |= {"JOB_NUM_NODES": "2", "GPUS_ON_NODE": "2"}
    environment = {f"SLURM_{name}": value for name, value in told.items()}
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "pipelines/pretrain-slurm.sh", *SMALL, *TOLD, "-w", str(study), "--steps", "3"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "3 steps of 8 on 4 ranks of cpu in fp32" in done.stderr
    assert done.stdout.startswith("tower: 3 steps in ")
    assert len(losses(study, "tower")) == 3
