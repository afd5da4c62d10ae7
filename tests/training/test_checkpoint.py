"""Checkpoints: complete or absent, found again, and refused where they are another run's."""

from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pytest
import torch

from wsi_tower.errors import CheckpointError, SettingsError, StorageError
from wsi_tower.training import Checkpoint, Checkpoints
from wsi_tower.training.checkpoint import _save
from wsi_tower.training.log import RunLog

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = {"training": {"lr": 0.1, "batch_size": 64}, "seed": 1}


def state(value: float) -> dict[str, Any]:
    return {"network": {"weight": torch.full((3, 2), value)}, "mean": {"count": 3}}


def kept(folder: Path, *steps: int, keep: int = 3) -> Checkpoints:
    checkpoints = Checkpoints(folder, "toy", SETTINGS, keep)
    for step in steps:
        checkpoints.save(Checkpoint(step, state(step)))
    return checkpoints


def test_the_newest_comes_back_and_k_are_kept(tmp_path: Path) -> None:
    checkpoints = kept(tmp_path, 5, 10, 100, 20_000, keep=2)
    names = [path.name for path in checkpoints.paths()]
    assert names == ["step-00000100.pt", "step-00020000.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    found = checkpoints.newest(pytest.fail)
    assert found is not None
    assert found.step == 20_000
    assert torch.equal(found.state["network"]["weight"], torch.full((3, 2), 20_000.0))
    assert found.state["mean"] == {"count": 3}


def test_torch_reads_it_without_trusting_it(tmp_path: Path) -> None:
    (path,) = kept(tmp_path, 7).paths()
    content = torch.load(path, weights_only=True)
    assert {name: content[name] for name in ("kind", "format_version", "method", "step")} == {
        "kind": "run",
        "format_version": 1,
        "method": "toy",
        "step": 7,
    }
    assert content["settings"] == SETTINGS


def test_there_may_be_none(tmp_path: Path) -> None:
    assert kept(tmp_path / "nothing").newest(pytest.fail) is None


@pytest.mark.parametrize("left", [0, 10, 600])
def test_a_cut_off_newest_falls_back_to_the_one_before(tmp_path: Path, left: int) -> None:
    checkpoints = kept(tmp_path, 1, 2, 3)
    for path in checkpoints.paths()[1:]:
        path.write_bytes(path.read_bytes()[:left])
    messages: list[str] = []
    found = checkpoints.newest(messages.append)
    assert found is not None
    assert found.step == 1
    assert [f"step-0000000{step}.pt is damaged" in message
            for step, message in zip((3, 2), messages, strict=True)] == [True, True]  # fmt: skip
    checkpoints.paths()[0].write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"none of the 3 checkpoints.*can be read"):
        checkpoints.newest(messages.append)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "toy", SETTINGS)
    weight = torch.arange(5000.0)
    checkpoints.save(Checkpoint(1, {"network": weight}))
    path = checkpoints.save(Checkpoint(2, {"network": weight}))
    content = bytearray(path.read_bytes())
    content[content.find(weight.numpy().tobytes()) + 4000] ^= 64
    path.write_bytes(content)
    messages: list[str] = []
    found = checkpoints.newest(messages.append)
    assert found is not None
    assert found.step == 1
    assert len(messages) == 1


def test_other_runs_are_refused_by_name_and_value(tmp_path: Path) -> None:
    kept(tmp_path, 4)
    with pytest.raises(CheckpointError, match=r"is of method toy, not tower; resume with"):
        Checkpoints(tmp_path, "tower", SETTINGS).newest(pytest.fail)
    other = {"training": {"lr": 0.2, "batch_size": 64}, "seed": 1, "crop_px": 3}
    message = r"crop_px is None there and 3 here; training\.lr is 0\.1 there and 0\.2 here"
    with pytest.raises(CheckpointError, match=message):
        Checkpoints(tmp_path, "toy", other).newest(pytest.fail)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "run", "format_version": 9}, "has format version 9; this wsi-tower reads 1"),
        ({"weight": torch.ones(1)}, "is no checkpoint of a wsi-tower run"),
        (torch.ones(1), "is no checkpoint of a wsi-tower run"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "step-00000001.pt")
    with pytest.raises(CheckpointError, match=message):
        Checkpoints(tmp_path, "toy", SETTINGS).newest(pytest.fail)


def test_a_full_disk_is_said_and_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = kept(tmp_path, 1, 2, keep=2)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"step-00000003\.pt: no space left on the device"):
        checkpoints.save(Checkpoint(3, state(3)))
    left = sorted(path.stem for path in tmp_path.iterdir())
    assert left == ["step-00000001", "step-00000002"]
    found = checkpoints.newest(pytest.fail)
    assert found is not None
    assert found.step == 2


def test_a_disk_that_fills_up_under_way_is_said_as_that() -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, content: Any) -> int:
            if len(content) > 1000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return len(content)

    with pytest.raises(OSError, match="No space left") as caught:
        _save({"weight": torch.zeros(5000)}, cast("BinaryIO", Full()))
    assert caught.value.errno == errno.ENOSPC


# ------------------------------------------------------------------ the log


def rows(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_the_log_is_plain_csv(tmp_path: Path) -> None:
    log = RunLog(tmp_path, step=0)
    log.add(10, {"lr": 0.5, "loss": 1.25, "rank": None})
    log.add(20, {"lr": 0.25, "loss": 1.0, "rank": 3.5})
    assert rows(log.path) == ["step,lr,loss,rank", "10,0.5,1.25,", "20,0.25,1.0,3.5"]
    log.close()


def test_resuming_cuts_the_log_back_to_the_checkpoint(tmp_path: Path) -> None:
    log = RunLog(tmp_path, step=0)
    for step in (10, 20, 30):
        log.add(step, {"loss": step / 8})
    log.close()
    with log.path.open("a") as file:
        file.write("40,1")  # a process that was killed while it wrote
    resumed = RunLog(tmp_path, step=20)
    resumed.add(30, {"loss": 9.0})
    resumed.close()
    assert rows(resumed.path) == ["step,loss", "10,1.25", "20,2.5", "30,9.0"]
    RunLog(tmp_path, step=0).close()
    assert rows(resumed.path) == []


def test_tensorboard_is_written_when_asked(tmp_path: Path) -> None:
    log = RunLog(tmp_path, step=0, tensorboard=True)
    log.add(1, {"loss": 0.5, "rank": None})
    log.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in events.read_bytes()
    assert b"rank" not in events.read_bytes()


def test_tensorboard_that_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(SettingsError, match=r"pip install 'wsi-tower\[tensorboard\]'"):
        RunLog(tmp_path, step=0, tensorboard=True)
    assert list(tmp_path.iterdir()) == []
