"""The loop: the same weights however often it was stopped, and a clear end when it cannot go on."""

from __future__ import annotations

import csv
import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.test_contract import AgreeingViews
from tests.training.toy_run import ToyObjective, toy_train
from tests.training.toys import ToyEncoder
from wsi_tower.errors import CheckpointError, DivergedError, StorageError
from wsi_tower.training import (
    Loss,
    Progress,
    StepReport,
    TensorDraws,
    TileBatch,
    TrainSettings,
    Watcher,
    learning_rate,
    weight_decay,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsi_tower.models import Network

ROOT = Path(__file__).parents[2]


class Hearing(Watcher):
    """Keeps what it hears, and raises a signal after a step where told."""

    def __init__(self, *, signal_after: int = 0, number: int = signal.SIGINT) -> None:
        self.losses: list[float] = []
        self.reports: list[StepReport] = []
        self.messages: list[str] = []
        self.signal_after, self.number = signal_after, number

    def stepped(self, progress: Progress, loss: float) -> None:
        self.losses.append(loss)
        if progress.step == self.signal_after:
            signal.raise_signal(self.number)

    def logged(self, report: StepReport) -> None:
        self.reports.append(report)

    def warned(self, message: str) -> None:
        self.messages.append(message)


def weights(network: Network) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def alike(one: Network, other: Network) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(*pair) for pair in pairs)


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "checkpoints").iterdir())


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ------------------------------------------------------------------ a run


def test_a_run_learns_logs_and_keeps_checkpoints(tmp_path: Path) -> None:
    heard = Hearing()
    result, _ = toy_train(tmp_path, watcher=heard, steps=40, lr=5e-3, keep_checkpoints=2)
    assert (result.steps, result.has_stopped_early) == (40, False)
    assert checkpoints(tmp_path) == ["step-00000035", "step-00000040"]
    assert result.checkpoint.stem == "step-00000040"
    assert sum(heard.losses[-5:]) < 0.9 * sum(heard.losses[:5])
    assert result.loss == pytest.approx(sum(heard.losses) / 40)
    logged = rows(tmp_path)
    assert [int(row["step"]) for row in logged] == list(range(1, 41))
    assert [float(row["loss"]) for row in logged] == heard.losses
    assert logged[0].keys() == {
        *("step", "lr", "loss", "agreement", "grad_norm", "images_per_s", "rank", "gap")
    }
    looked = [int(row["step"]) for row in logged if row["rank"]]
    assert looked == list(range(4, 41, 4))
    assert all(1 <= float(row["rank"]) <= 8 and float(row["gap"]) > 0
               for row in logged if row["rank"])  # fmt: skip
    assert heard.messages == []


def test_rates_follow_the_schedule(tmp_path: Path) -> None:
    heard = Hearing()
    toy_train(tmp_path, watcher=heard)
    settings = TrainSettings(12, warmup_steps=3)
    expected = [learning_rate(step, settings) for step in range(12)]
    assert [report.lr for report in heard.reports] == expected


class _Silent(ToyObjective):
    """Its gradient is 0, so that nothing but decay moves a weight."""

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        return Loss(0 * super().forward(network, batch, draws).total)


def test_weights_decay_by_the_schedule(tmp_path: Path) -> None:
    values: dict[str, Any] = {"weight_decay": 0.1, "final_weight_decay": 0.9, "lr": 0.5}
    _, decayed = toy_train(tmp_path, objective=_Silent(), optimiser="adamw", **values)
    torch.manual_seed(0)
    first = _Silent().network(ToyEncoder())
    settings = TrainSettings(12, warmup_steps=3, **values)
    # Loshchilov and Hutter 2019, algorithm 2, without a gradient.
    left = math.prod(
        1 - learning_rate(step, settings) * weight_decay(step, settings) for step in range(12)
    )
    for (name, after), before in zip(decayed.named_parameters(), first.parameters(), strict=True):
        expected = before * left if before.ndim > 1 else before
        torch.testing.assert_close(after, expected, msg=name)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "lars"])
def test_every_optimiser_resumes_bit_for_bit(tmp_path: Path, name: str) -> None:
    _, whole = toy_train(tmp_path / "whole", steps=7, optimiser=name)

    class Full(Hearing):
        def stepped(self, progress: Progress, loss: float) -> None:
            super().stepped(progress, loss)
            if progress.step == 6:
                raise RuntimeError("the power fails")

    with pytest.raises(RuntimeError, match="power fails"):
        toy_train(tmp_path / "halved", steps=7, optimiser=name, watcher=Full())
    assert checkpoints(tmp_path / "halved") == ["step-00000005"]
    # Other first weights, which the checkpoint replaces.
    _, halved = toy_train(tmp_path / "halved", steps=7, optimiser=name, resume=True, initial=9)
    assert alike(whole, halved)
    assert [row["loss"] for row in rows(tmp_path / "halved")] == [
        row["loss"] for row in rows(tmp_path / "whole")
    ]


def test_a_killed_process_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    toy_train(tmp_path / "whole", steps=14)
    command = [sys.executable, "-m", "tests.training.toy_run", str(tmp_path / "killed"), "14"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 8:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert checkpoints(tmp_path / "killed") == ["step-00000005"]
    resumed = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert resumed.stdout.split() == [str(step) for step in range(6, 15)]
    last = "checkpoints/step-00000014.pt"
    one, other = (
        torch.load(tmp_path / name / last, weights_only=True)["state"]
        for name in ("whole", "killed")
    )
    assert _same_values(one, other)
    assert [row["loss"] for row in rows(tmp_path / "killed")] == [
        row["loss"] for row in rows(tmp_path / "whole")
    ]


def _same_values(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            _same_values(value, other[name]) for name, value in one.items()
        )
    if isinstance(one, list):
        return all(map(_same_values, one, other))
    return bool(one == other)


def test_threads_log_and_watch_change_no_weight(tmp_path: Path) -> None:
    _, one = toy_train(tmp_path / "one")
    _, other = toy_train(tmp_path / "other", threads=1, log_every=5, watch_every=0)
    assert alike(one, other)
    assert [int(row["step"]) for row in rows(tmp_path / "other")] == [5, 10, 12]


# ------------------------------------------------------------------ settings that act


def test_accumulated_parts_add_up_to_the_batch(tmp_path: Path) -> None:
    class Pull(AgreeingViews):
        """A loss that is a mean over samples, without BatchNorm's share in it."""

        def network(self, encoder: Any) -> Network:
            network = super().network(encoder)
            for module in encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
            return network

        def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
            shift = 0.1 * draws.normal("shift", 8)
            apart = network.describe(batch.views[0]) - network.describe(batch.views[1]) + shift
            return Loss(apart.square().mean())

    heard = [Hearing(), Hearing()]
    _, one = toy_train(tmp_path / "1", objective=Pull(), watcher=heard[0], watch_every=0)
    _, four = toy_train(
        tmp_path / "4", objective=Pull(), watcher=heard[1], watch_every=0, accumulate=4
    )
    assert heard[0].losses == pytest.approx(heard[1].losses, rel=1e-4)
    for first, second in zip(weights(one).values(), weights(four).values(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=2e-5)


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    heard = [Hearing(), Hearing()]
    options: dict[str, Any] = {"optimiser": "sgd", "betas": (0.0, 0.0), "weight_decay": 0.0}
    options |= {"steps": 1, "lr": 1.0, "warmup_steps": 0}
    torch.manual_seed(0)
    start = weights(ToyObjective().network(_toy_encoder()))
    _, network = toy_train(tmp_path / "1", watcher=heard[0], clip_norm=0.01, **options)
    moved = sum(
        (weights(network)[name] - start[name]).square().sum()
        for name, _ in network.named_parameters()
    )
    assert float(moved) ** 0.5 == pytest.approx(0.01, rel=1e-3)
    assert heard[0].reports[0].grad_norm > 0.01


def _toy_encoder() -> Any:
    from tests.training.toys import ToyEncoder

    return ToyEncoder()


@pytest.mark.parametrize(
    "options", [{"precision": "bf16"}, {"channels_last": False}, {"accumulate": 2}]
)
def test_precision_and_layout_learn_alike(tmp_path: Path, options: dict[str, Any]) -> None:
    heard = [Hearing(), Hearing()]
    toy_train(tmp_path / "plain", watcher=heard[0])
    _, network = toy_train(tmp_path / "other", watcher=heard[1], **options)
    if "accumulate" not in options:
        assert heard[1].losses == pytest.approx(heard[0].losses, rel=0.05)
    assert all(one.dtype == torch.float32 for one in network.parameters())
    expected = torch.channels_last if options.get("channels_last", True) else None
    if expected is not None:
        assert network.encoder.fine[0].weight.is_contiguous(memory_format=expected)  # type: ignore[union-attr,index]


def test_compiling_keeps_the_names_of_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(type(module).__name__))
    _, network = toy_train(tmp_path, steps=1, compile=True)
    assert compiled == ["ToyEncoder", "Sequential"]
    assert "encoder.fine.0.weight" in network.state_dict()


def test_parameters_that_a_step_does_not_train_stay(tmp_path: Path) -> None:
    class HeadLater(ToyObjective):
        def trained_parameters(self, network: Network, step: int) -> Iterable[nn.Parameter]:
            return network.parameters() if step >= 3 else network.encoder.parameters()

    torch.manual_seed(0)
    start = weights(ToyObjective().network(_toy_encoder()))
    for steps, is_still in ((3, True), (4, False)):
        _, network = toy_train(
            tmp_path / str(steps), objective=HeadLater(), steps=steps, min_lr=1e-3
        )
        moved = weights(network)
        assert torch.equal(moved["head.1.weight"], start["head.1.weight"]) is is_still
        assert not torch.equal(moved["encoder.fine.0.weight"], start["encoder.fine.0.weight"])


def test_patience_ends_a_run_that_no_longer_learns(tmp_path: Path) -> None:
    class Stuck(AgreeingViews):
        def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
            return Loss(2 + 0 * super().forward(network, batch, draws).total)

    result, _ = toy_train(tmp_path, objective=Stuck(), steps=50, patience=6)
    assert (result.steps, result.has_stopped_early) == (7, True)
    again, _ = toy_train(tmp_path, objective=Stuck(), steps=50, patience=6, resume=True)
    assert again == result


# ------------------------------------------------------------------ what goes wrong


class _Nan(AgreeingViews):
    """Its loss is no number from the eighth step on."""

    def __init__(self, *, in_gradient: bool) -> None:
        super().__init__()
        self._in_gradient = in_gradient

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        total = super().forward(network, batch, draws).total
        if draws._draws.step < 7:
            return Loss(total)
        if self._in_gradient:
            return Loss(total + (total - total).sqrt())
        return Loss(total * torch.nan)


@pytest.mark.parametrize(
    ("in_gradient", "message"),
    [(False, "the loss is nan at step 8"), (True, "the gradient's norm is nan at step 8")],
)
def test_a_loss_that_is_no_number_stops_the_run(
    tmp_path: Path, in_gradient: bool, message: str
) -> None:
    heard = Hearing()
    objective = _Nan(in_gradient=in_gradient)
    with pytest.raises(DivergedError, match=message) as caught:
        toy_train(tmp_path, objective=objective, watcher=heard)
    rate = learning_rate(7, TrainSettings(12, warmup_steps=3))
    assert f"learning rate {rate:g}" in str(caught.value)
    assert "step-00000005.pt" in str(caught.value)
    assert checkpoints(tmp_path) == ["step-00000005"]
    assert len(heard.losses) == 7


def test_an_interrupt_leaves_a_checkpoint_of_the_last_whole_step(tmp_path: Path) -> None:
    _, whole = toy_train(tmp_path / "whole")
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        toy_train(tmp_path / "cut", watcher=Hearing(signal_after=7))
    assert signal.getsignal(signal.SIGINT) is before
    assert checkpoints(tmp_path / "cut") == ["step-00000005", "step-00000007"]
    _, resumed = toy_train(tmp_path / "cut", resume=True)
    assert alike(whole, resumed)


def test_an_interrupt_that_the_process_ignores_ends_nothing(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result, _ = toy_train(tmp_path, watcher=Hearing(signal_after=7))
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.steps == 12


def test_a_schedulers_signal_takes_its_course_after_the_checkpoint(tmp_path: Path) -> None:
    class EndedError(Exception):
        pass

    def end(number: int, frame: object) -> None:
        assert checkpoints(tmp_path)[-1] == "step-00000007"
        raise EndedError

    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(EndedError):
            toy_train(tmp_path, watcher=Hearing(signal_after=7, number=signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path) -> None:
    toy_train(tmp_path, steps=1)
    with pytest.raises(
        CheckpointError, match=r"holds a run already, up to step-00000001.*--resume"
    ):
        toy_train(tmp_path, steps=1)


def test_resuming_needs_the_same_run(tmp_path: Path) -> None:
    toy_train(tmp_path, steps=2)
    with pytest.raises(CheckpointError, match=r"training\.steps is 2 there and 3 here"):
        toy_train(tmp_path, steps=3, resume=True)
    with pytest.raises(CheckpointError, match=r"encoder is None there and 'other' here"):
        toy_train(tmp_path, steps=2, resume=True, run={"recipe": {"encoder": "other"}})
    with pytest.raises(CheckpointError, match="of another network"):
        toy_train(tmp_path, steps=2, resume=True, objective=AgreeingViews())


def test_resuming_from_nothing_begins(tmp_path: Path) -> None:
    result, _ = toy_train(tmp_path, steps=2, resume=True)
    assert result.steps == 2
    again, _ = toy_train(tmp_path, steps=2, resume=True)
    assert again == result


def test_a_full_disk_ends_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    fsync = os.fsync

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 2:  # the log, the first checkpoint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space left on the device"):
        toy_train(tmp_path)
    assert checkpoints(tmp_path) == ["step-00000005"]
    monkeypatch.undo()
    _, resumed = toy_train(tmp_path, resume=True)
    _, whole = toy_train(tmp_path / "whole")
    assert alike(whole, resumed)
