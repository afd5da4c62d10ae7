"""What methods with a teacher share: how it begins, how it follows, and that it survives."""

from __future__ import annotations

import copy
import math
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.pretrain.small_run import Heard, small_pretrain
from tests.pretrain.taught import student_of
from tests.training.toys import toy_batch
from wsi_tower.errors import SettingsError
from wsi_tower.pretrain import Byol, ByolSettings, Dino, DinoSettings, Moco, MocoSettings
from wsi_tower.pretrain.teacher import TaughtObjective, TeacherSettings
from wsi_tower.training import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wsi_tower.pretrain.teacher import Student

TAUGHT: dict[str, Callable[..., TaughtObjective]] = {
    "byol": lambda **teacher: Byol(ByolSettings(hidden_length=32, **teacher)),
    "moco": lambda **teacher: Moco(MocoSettings(hidden_length=32, **teacher)),
    "dino": lambda **teacher: Dino(
        DinoSettings(hidden_length=32, prototypes=24, local_views=1, local_px=16, **teacher)
    ),
}
SMALL = {
    "byol": "hidden_length=64",
    "moco": "hidden_length=64",
    # Temperature, prototypes and centre all change between the steps.
    "dino": "hidden_length=64 prototypes=64 local_views=2 local_px=16 teacher_temperature=0.07 "
    "warm_up=0.9 frozen=0.4",
}


def train_step(objective: TaughtObjective, student: Student, step: int, steps: int) -> None:
    """A step of plain gradient descent, and what follows it."""
    batch, draws = toy_batch(objective.views(), step, samples=6)
    student.zero_grad()
    torch.autograd.backward(objective(student, batch, draws).total)
    with torch.no_grad():
        for own in objective.trained_parameters(student, step):
            assert own.grad is not None
            own.sub_(own.grad, alpha=0.1)
    objective.after_step(student, batch, Progress(step + 1, steps))


@given(
    momentum=st.floats(0, 1),
    steps=st.integers(1, 10_000),
    data=st.data(),
)
def test_momentum_rises_as_the_papers_say(momentum: float, steps: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, steps - 1))
    rising = TeacherSettings(momentum=momentum)
    published = 1 - (1 - momentum) * (math.cos(math.pi * k / steps) + 1) / 2
    assert rising.momentum_at(Progress(k + 1, steps)) == pytest.approx(published, abs=1e-12)
    assert momentum - 1e-12 <= rising.momentum_at(Progress(k + 1, steps)) <= 1
    still = TeacherSettings(momentum=momentum, momentum_rises=False)
    assert still.momentum_at(Progress(k + 1, steps)) == momentum


def test_momentum_by_hand() -> None:
    settings = TeacherSettings(momentum=0.9)
    first, middle = settings.momentum_at(Progress(1, 100)), settings.momentum_at(Progress(51, 100))
    assert first == pytest.approx(0.9)
    assert middle == pytest.approx(0.95)


@pytest.mark.parametrize("method", TAUGHT)
def test_the_teacher_is_a_moving_average_of_the_student(method: str) -> None:
    torch.manual_seed(0)
    objective = TAUGHT[method](momentum=0.8)
    student = student_of(objective)
    teacher = dict(objective.teacher.named_parameters())
    assert not {own.data_ptr() for own in teacher.values()} & {
        own.data_ptr() for own in student.parameters()
    }
    expected = {name: dict(student.named_parameters())[name].detach().clone() for name in teacher}
    for step in range(4):
        for name, own in teacher.items():
            torch.testing.assert_close(own, expected[name])
        train_step(objective, student, step, steps=4)
        momentum = 1 - 0.2 * (math.cos(math.pi * step / 4) + 1) / 2
        for name, own in student.named_parameters():
            if name in expected:
                expected[name] = momentum * expected[name] + (1 - momentum) * own.detach()
    apart = [name for name in teacher if not torch.equal(teacher[name], expected[name])]
    assert apart or method == "moco"
    assert all(own.grad is None and not own.requires_grad for own in teacher.values())


@pytest.mark.parametrize("method", TAUGHT)
def test_autocast_reaches_all_that_is_trained(method: str) -> None:
    objective = TAUGHT[method]()
    student = student_of(objective)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(student, *toy_batch(objective.views(), 0, samples=6)).total
    assert loss.dtype == torch.float32
    torch.autograd.backward(loss)
    for own in objective.trained_parameters(student, 0):
        assert own.grad is not None
        assert own.grad.isfinite().all()


@pytest.mark.parametrize("method", TAUGHT)
def test_the_ends_of_momentum(method: str) -> None:
    for momentum in (0.0, 1.0):
        objective = TAUGHT[method](momentum=momentum, momentum_rises=False)
        student = student_of(objective)
        leading = student if momentum == 0 else copy.deepcopy(student)
        train_step(objective, student, 0, steps=9)
        own = dict(leading.named_parameters())
        for name, weight in objective.teacher.named_parameters():
            assert torch.equal(weight, own[name]), name


def test_the_teacher_counts_what_it_has_seen_itself() -> None:
    objective = TAUGHT["byol"](momentum=0.5)
    student = student_of(objective)
    train_step(objective, student, 0, steps=9)
    batch, _ = toy_batch(objective.views(), 0, samples=6)
    norm = objective.teacher.encoder.get_submodule("fine.1")
    # One pass for each view: two batches.
    assert int(norm.get_buffer("num_batches_tracked")) == len(batch.views)


@pytest.mark.parametrize("method", SMALL)
def test_an_interrupted_run_ends_with_the_same_weights(workspace: Path, method: str) -> None:
    class Interrupting(Heard):
        def stepped(self, progress: Progress, loss: float) -> None:
            super().stepped(progress, loss)
            if progress.step == 2:
                signal.raise_signal(signal.SIGINT)

    values: dict[str, Any] = {
        "method": method,
        "steps": 4,
        "batch_size": 4,
        "backbone": "test_resnet",
    }
    values |= {"method_values": dict(pair.split("=") for pair in SMALL[method].split())}
    whole, cut, resumed = Heard(), Interrupting(), Heard()
    made = small_pretrain(workspace, name="whole", watcher=whole, **values)
    with pytest.raises(KeyboardInterrupt):
        small_pretrain(workspace, watcher=cut, **values)
    again = small_pretrain(workspace, resume=True, watcher=resumed, **values)
    assert (cut.steps, resumed.steps) == ([1, 2], [3, 4])
    assert again.record.header.content_digest == made.record.header.content_digest
    # The teacher and what else the method keeps, too.
    states = [heard.ingredients[0].objective.state_dict() for heard in (whole, resumed)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("settings", [ByolSettings, MocoSettings, DinoSettings])
@pytest.mark.parametrize("momentum", [-0.1, 1.5, float("nan")])
def test_momentum_is_a_part(settings: type[TeacherSettings], momentum: float) -> None:
    with pytest.raises(SettingsError, match=f"momentum is {momentum:g}; choose a number from 0 to"):
        settings(momentum=momentum)
