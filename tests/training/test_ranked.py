"""Two processes train as one does, agree on what happens to either, and notice when one is gone."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training import ranked_run as scenes
from wsi_tower.errors import SettingsError
from wsi_tower.pretrain import METHODS
from wsi_tower.training import (
    Ranks,
    Share,
    TrainSettings,
    all_or_none,
    by_first,
    check_same,
    gathered,
    mean_over_ranks,
)

ROOT = Path(__file__).parents[2]
COMPARED = (scenes.methods, scenes.parts, scenes.batchnorm, scenes.some_steps)
"""Scenes that must come out as they do alone."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two ranks have played all scenes."""
    folder = tmp_path_factory.mktemp("ranked")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "tests.training.ranked_run", "2", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path) -> list[dict[str, Any]]:
    """What each of them saw; the last was killed in the end."""
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one process has played those that are compared."""
    folder = tmp_path_factory.mktemp("alone")
    for scene in COMPARED:
        scene(folder / scene.__name__)
    return folder


def logged(folder: Path) -> dict[str, list[float]]:
    """Columns of a log, without those that tell of the machine."""
    with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        name: [float(row[name]) for row in rows if row[name]]
        for name in rows[0]
        if name != "images_per_s"
    }


def assert_same_course(one: Path, other: Path, tolerance: float = 1e-5) -> None:
    first, second = logged(one), logged(other)
    assert first.keys() == second.keys()
    for name in first:
        # The norm of a gradient and a rank come from small differences of large numbers.
        wide = tolerance if name.startswith(("loss", "contrast", "restoration")) else 1e-3
        assert second[name] == pytest.approx(first[name], rel=wide, abs=wide), name


# ------------------------------------------------------------------ what ranks tell each other


def test_what_is_gathered_has_the_order_of_the_batch_and_a_gradient(
    seen: list[dict[str, Any]],
) -> None:
    for rank, told in enumerate(seen):
        assert told["gathers"]["all"] == [1.0, 2.0, 11.0, 12.0]
        # d/dx_k of the sum over ranks r of (r + 1) Σ k x_k: 3 k.
        assert told["gathers"]["gradient"] == [3.0 * (2 * rank), 3.0 * (2 * rank + 1)]
        assert told["gathers"]["mean"] == 0.5


def test_batchnorm_sees_the_global_batch(seen: list[dict[str, Any]], tmp_path: Path) -> None:
    whole = scenes.norms(tmp_path)
    for name in ("out", "gradient"):
        joined = [part for told in seen for part in told["norms"][name]]
        np.testing.assert_allclose(joined, whole[name], atol=2e-5)
    weights = np.sum([told["norms"]["weight_gradient"] for told in seen], axis=0)
    np.testing.assert_allclose(weights, whole["weight_gradient"], atol=1e-4)
    for told in seen:
        for here, there in zip(told["norms"]["state"], whole["state"], strict=True):
            np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-6)
    assert seen[0]["norms"]["state"] == seen[1]["norms"]["state"]


def test_what_rank_0_makes_reaches_all(seen: list[dict[str, Any]]) -> None:
    assert seen[0]["first"] == ["made by 0", "SettingsError: there is no such thing"]
    assert seen[1]["first"] == ["made by 0", "OtherRankError: there is no such thing"]


def test_alone_all_of_it_is_the_identity() -> None:
    samples = torch.arange(6.0).view(3, 2)
    assert gathered(samples) is samples
    assert mean_over_ranks(samples) is samples
    assert by_first(lambda: "made") == "made"
    check_same({"lr": 1})
    with pytest.raises(SettingsError, match=r"^as it was$"), all_or_none():
        raise SettingsError("as it was")


# ------------------------------------------------------------------ the same run


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_lose_what_one_does(folder: Path, alone: Path, name: str) -> None:
    assert_same_course(alone / "methods" / name, folder / "methods" / name)


@pytest.mark.parametrize("name", METHODS)
def test_weights_banks_and_averaged_copies_stay_in_step(
    seen: list[dict[str, Any]], name: str
) -> None:
    # Bit for bit: nothing but the same sums of the same numbers moves them.
    assert seen[0]["methods"][name] == seen[1]["methods"][name]


@pytest.mark.parametrize("scene", ["parts", "batchnorm", "some_steps"])
def test_so_do_parts_of_batches_batchnorm_and_parts_of_networks(
    folder: Path, alone: Path, seen: list[dict[str, Any]], scene: str
) -> None:
    assert_same_course(alone / scene, folder / scene)
    assert seen[0][scene] == seen[1][scene]


# ------------------------------------------------------------------ all stop where one does


def test_an_interrupt_of_one_rank_stops_all_after_the_same_step(
    folder: Path, seen: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert [told["interrupt"] for told in seen] == ["KeyboardInterrupt: "] * 2
    assert kept(folder / "interrupt") == [3]
    resumes_alone(folder / "interrupt", tmp_path)


def test_a_loss_that_is_no_number_on_one_rank_stops_all(
    folder: Path, seen: list[dict[str, Any]]
) -> None:
    told, silent = (one["nan"] for one in seen)
    assert told.startswith("DivergedError: the loss is nan at step 4")
    assert silent.startswith("OtherRankError: the loss is nan at step 4")
    assert logged(folder / "nan")["step"] == [1, 2, 3]


def test_patience_ends_on_all_ranks(seen: list[dict[str, Any]]) -> None:
    assert [told["patience"] for told in seen] == [{"steps": 7, "loss": 2.0, "early": True}] * 2


def test_a_full_disk_on_rank_0_stops_all(folder: Path, seen: list[dict[str, Any]]) -> None:
    told, silent = (one["full_disk"] for one in seen)
    assert told.startswith("StorageError: cannot write ")
    assert "no space left on the device" in told
    assert silent == f"OtherRankError: {told.partition(': ')[2]}"
    assert kept(folder / "full_disk") == [2]


def test_an_error_of_another_rank_is_told_by_rank_0_with_its_number(
    seen: list[dict[str, Any]],
) -> None:
    assert seen[0]["unreadable"] == "SettingsError: rank 1 of 2: tile 7 is a lemon"
    assert seen[1]["unreadable"] == "OtherRankError: rank 1 of 2: tile 7 is a lemon"


def test_ranks_that_disagree_are_told_who_and_in_what(seen: list[dict[str, Any]]) -> None:
    told, silent = (one["disagree"] for one in seen)
    assert told.startswith("SettingsError: rank 1 was started otherwise than rank 0")
    assert "training.lr is 0.2 there and 0.1 here" in told
    assert "seed" not in told
    assert silent.startswith("OtherRankError: ")


def test_a_killed_rank_is_named_and_one_rank_can_go_on(
    folder: Path, seen: list[dict[str, Any]], tmp_path: Path
) -> None:
    told = seen[0]["lose_one"]
    assert told.startswith("LostRankError: rank 1 of 2 (process ")
    assert "is gone, so the other ranks have stopped; the last checkpoint is as it was" in told
    assert kept(folder / "lose_one") == [2]
    resumes_alone(folder / "lose_one", tmp_path, checkpoint_every=2)


def kept(folder: Path) -> list[int]:
    """Steps of the checkpoints of a run."""
    return sorted(int(path.stem[5:]) for path in (folder / "checkpoints").iterdir())


def resumes_alone(folder: Path, whole: Path, **settings: Any) -> None:
    """See that a run of two that ended goes on in one process as if nothing had happened."""
    objective = scenes._OnLast(lambda: None)
    scenes.ranked_train(whole, objective, **settings)
    scenes.ranked_train(folder, objective, resume=True, **settings)
    assert logged(folder)["step"] == [1, 2, 3, 4, 5]
    assert_same_course(whole, folder)


# ------------------------------------------------------------------ shares


def test_parts_of_a_batch_are_shared_one_by_one() -> None:
    batch = np.arange(12)
    shares = [Share(rank, ranks=2, parts=3).of(batch) for rank in range(2)]
    assert [share.tolist() for share in shares] == [[0, 1, 4, 5, 8, 9], [2, 3, 6, 7, 10, 11]]
    # What ranks gather of a part is that part, in order.
    for part in range(3):
        own = [share[2 * part : 2 * part + 2] for share in shares]
        np.testing.assert_array_equal(np.concatenate(own), batch[4 * part : 4 * part + 4])


@pytest.mark.parametrize(
    ("share", "multiple"), [(Share(0, 3), 3), (Share(0, 16), 16), (Share(0, 2, 4), 8)]
)
def test_a_batch_that_cannot_be_shared_is_refused(share: Share, multiple: int) -> None:
    with pytest.raises(SettingsError, match=f"make it a multiple of {multiple}, or start fewer"):
        share.check(28 if multiple == 8 else 8)


# ------------------------------------------------------------------ who a process is


def test_the_environment_says_who_a_process_is() -> None:
    assert Ranks.here({}) == Ranks.here({"WORLD_SIZE": "4"}) == Ranks()
    told = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    here = Ranks.here(told)
    assert here == Ranks(rank=5, size=8, local_rank=1, local_size=4)
    assert not here.is_first
    assert not here.is_alone
    # Started without torchrun, on one machine.
    assert Ranks.here({"RANK": "1", "WORLD_SIZE": "2"}) == Ranks(1, 2, 1, 2)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK 2 of WORLD_SIZE 2"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "the variable RANK is 'one'"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "the variable WORLD_SIZE is '0'"),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": ""}, "the variable LOCAL_RANK is ''"),
    ],
)
def test_an_environment_that_cannot_be_is_refused(told: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Ranks.here(told)


# ------------------------------------------------------------------ GPUs


def test_every_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert TrainSettings(1).torch_device() == torch.device("cuda")
    told = {"RANK": "5", "WORLD_SIZE": "6", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert TrainSettings(1).torch_device() == torch.device("cuda", 1)
    assert TrainSettings(1, device="cpu").torch_device() == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(SettingsError, match=r"rank 5 is number 2 of its machine, which has 2 GPU"):
        TrainSettings(1).torch_device()


def test_reading_threads_are_shared_by_the_ranks_of_a_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert TrainSettings(1).reading_threads() == 16
    for name, value in {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert TrainSettings(1).reading_threads() == 4
    assert TrainSettings(1, threads=3).reading_threads() == 3
