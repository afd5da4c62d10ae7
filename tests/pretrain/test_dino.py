"""`dino`: its contract, its value by the paper's algorithm, and what keeps it from collapse."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.pretrain.small_run import Heard, small_pretrain
from tests.pretrain.taught import grown_apart, small_vit, student_of
from tests.training.contract import ObjectiveContract
from tests.training.toy_run import toy_train
from tests.training.toys import ToyEncoder, toy_batch
from wsi_tower.errors import EncoderError, SettingsError
from wsi_tower.models import build_encoder
from wsi_tower.pretrain import Dino, DinoSettings
from wsi_tower.pretrain.prototypes import Prototypes
from wsi_tower.pretrain.teacher import Student
from wsi_tower.training import Progress, ViewPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from wsi_tower.models import Encoder
    from wsi_tower.training import Objective


def small_dino(**settings: Any) -> Dino:
    values: dict[str, Any] = {"prototypes": 64, "hidden_length": 64, "local_views": 3}
    return Dino(DinoSettings(**(values | {"local_px": 16} | settings)))


class DinoContract(ObjectiveContract):
    settings: Mapping[str, Any] = MappingProxyType({})

    def objective(self) -> Objective:
        return small_dino(**self.settings)

    def test_a_toy_set_is_learnt(self) -> None:
        # Cross-entropy is the teacher's entropy, which comes and goes, and the student's divergence
        # from it, which can be learnt away where the teacher stands still.
        self.settings = {**self.settings, "momentum": 1.0, "centre_momentum": 1.0, "warm_up": 0.0}
        run = self._run()

        def divergence() -> float:
            return sum(run.loss(step).parts["divergence"].item() for step in range(10_000, 10_004))

        before = divergence()
        for step in range(self.steps_to_learn):
            run.train_step(step)
        assert divergence() < 0.5 * before


class TestDino(DinoContract):
    pass


class TestDinoOfLargeViewsOnGrey(DinoContract):
    channels = 1
    settings = MappingProxyType({"local_views": 0, "learns_lengths": True, "frozen": 0.0})


class TestDinoOnATransformer(DinoContract):
    learning_rate = 3e-4
    settings = MappingProxyType({"teacher_temperature": 0.07, "warm_up": 0.02})

    def encoder(self) -> Encoder:
        return small_vit()


# ------------------------------------------------------------------ the loss


def softmax(scores: Tensor, temperature: float) -> list[float]:
    exponentials = [math.exp(float(score) / temperature) for score in scores]
    return [one / sum(exponentials) for one in exponentials]


@pytest.mark.parametrize("local_views", [0, 3])
@pytest.mark.parametrize("temperatures", [(0.1, 0.04), (0.2, 0.2)])
def test_dino_is_algorithm_1_with_multi_crop(
    local_views: int, temperatures: tuple[float, float]
) -> None:
    of_student, of_teacher = temperatures
    objective = small_dino(
        local_views=local_views,
        student_temperature=of_student,
        teacher_temperature=of_teacher,
        teacher_temperature_start=of_teacher,
    )
    student, teacher = grown_apart(objective), objective.teacher
    centre = torch.randn(64, generator=torch.Generator().manual_seed(3)) / 10
    objective.centre.mean.copy_(centre)
    batch, draws = toy_batch(objective.views(), 1, samples=4)
    views = [*batch.views, *batch.local_views]
    total, entropy, terms = 0.0, 0.0, 0
    for sample in range(4):
        for large, seen in enumerate(batch.views):
            taught = teacher.tail(teacher.head(teacher.encoder(seen[sample][None]).pooled))[0]
            chosen = softmax(taught - centre, of_teacher)
            entropy -= sum(share * math.log(share) for share in chosen) / 8
            for place, view in enumerate(views):
                if place == large:
                    continue
                said = student.tail(student.head(student.encoder(view[sample][None]).pooled))[0]
                shares = softmax(said.detach(), of_student)
                total -= sum(p * math.log(q) for p, q in zip(chosen, shares, strict=True))
                terms += 1
    assert terms == 4 * 2 * (1 + local_views)
    loss = objective(student, batch, draws)
    assert loss.total.item() == pytest.approx(total / terms, rel=1e-4)
    assert loss.parts["entropy"].item() == pytest.approx(entropy, rel=1e-4)
    # Cross-entropy is entropy and the Kullback-Leibler divergence, which is 0 or more.
    assert loss.parts["divergence"].item() == pytest.approx(total / terms - entropy, rel=1e-3)
    assert loss.parts["divergence"].item() > 0


def test_prototypes_are_directions() -> None:
    torch.manual_seed(0)
    prototypes = Prototypes(5, 7)
    vectors = nn.functional.normalize(torch.randn(3, 5), dim=1)
    scores = prototypes(vectors)
    for sample, vector in enumerate(vectors):
        for place, row in enumerate(prototypes.weight.detach()):
            cosine = float(vector @ row / (vector.norm() * row.norm()))
            assert scores[sample, place].item() == pytest.approx(cosine, abs=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(prototypes(vectors), scores)


def test_prototypes_may_learn_their_lengths() -> None:
    torch.manual_seed(0)
    prototypes = Prototypes(5, 7, learns_lengths=True)
    vectors = torch.randn(3, 5)
    before = prototypes(vectors)
    assert prototypes.lengths is not None
    with torch.no_grad():
        prototypes.lengths[2] = 3
    after = prototypes(vectors)
    torch.testing.assert_close(after[:, 2], 3 * before[:, 2])
    torch.testing.assert_close(after[:, 3:], before[:, 3:])


# ------------------------------------------------------------------ centre, temperature, freezing


def test_the_centre_is_a_moving_average_of_all_that_the_teacher_said() -> None:
    objective = small_dino(centre_momentum=0.9)
    student = grown_apart(objective)
    teacher, expected = objective.teacher, torch.zeros(64)
    for step in range(3):
        heard = []
        # A batch in two parts, as accumulated gradients have it.
        for part in range(2):
            batch, draws = toy_batch(objective.views(), 2 * step + part, samples=4)
            heard += [teacher.answer(view) for view in batch.views]
            objective(student, batch, draws)
        expected = 0.9 * expected + 0.1 * torch.cat(heard).mean(dim=0)
        objective.after_step(student, batch, Progress(step + 1, 9))
        torch.testing.assert_close(objective.centre.mean, expected)


def test_what_is_only_looked_at_moves_no_centre() -> None:
    objective = small_dino()
    student = student_of(objective)
    batch, draws = toy_batch(objective.views(), 0, samples=4)
    with torch.no_grad():
        objective(student, batch, draws)
    objective.after_step(student, batch, Progress(1, 9))
    assert not objective.centre.mean.any()


def test_without_centring_the_centre_stays() -> None:
    objective = small_dino(centre_momentum=1.0)
    student = student_of(objective)
    batch, draws = toy_batch(objective.views(), 0, samples=4)
    objective(student, batch, draws)
    objective.after_step(student, batch, Progress(1, 9))
    assert not objective.centre.mean.any()


@pytest.mark.parametrize(
    ("step", "warm_up", "temperature"),
    [(0, 0.3, 0.04), (15, 0.3, 0.055), (30, 0.3, 0.07), (99, 0.3, 0.07), (0, 0.0, 0.07)],
)
def test_the_teacher_s_temperature_rises_in_a_line(
    step: int, warm_up: float, temperature: float
) -> None:
    settings = {"teacher_temperature": 0.07, "teacher_temperature_start": 0.04}
    objective = small_dino(warm_up=warm_up, **settings)
    student = grown_apart(objective)
    batch, draws = toy_batch(objective.views(), 0, samples=4)
    if step:
        objective.after_step(student, batch, Progress(step, 100))
    constant = dict.fromkeys(settings, temperature)
    other = small_dino(**constant)
    student_of(other)
    other.load_state_dict(objective.state_dict())
    other.eval()
    expected = other(student, batch, draws).total.item()
    assert objective(student, batch, draws).total.item() == pytest.approx(expected, rel=1e-5)


def test_prototypes_are_trained_after_the_first_part_of_a_run() -> None:
    objective = small_dino(frozen=0.5)
    student = student_of(objective)
    prototypes = {id(one) for one in student.tail.parameters()}
    batch, _ = toy_batch(objective.views(), 0, samples=4)
    are_trained = []
    for step in range(8):
        trained = {id(one) for one in objective.trained_parameters(student, step)}
        are_trained.append(prototypes <= trained)
        assert {id(one) for one in student.parameters()} - prototypes <= trained
        objective.after_step(student, batch, Progress(step + 1, 8))
    assert are_trained == [False] * 4 + [True] * 4


@pytest.mark.parametrize("frozen", [0.0, 1.0])
def test_frozen_prototypes_neither_move_nor_decay(tmp_path: Path, frozen: float) -> None:
    objective = small_dino(frozen=frozen)
    settings: dict[str, Any] = {"steps": 3, "watch_every": 0, "weight_decay": 0.4, "lr": 0.1}
    _, network = toy_train(tmp_path, objective=objective, **settings)
    torch.manual_seed(0)
    first = student_of(small_dino()).tail
    assert isinstance(network, Student)
    (before,), (after,) = first.parameters(), network.tail.parameters()
    assert torch.equal(before, after) == (frozen == 1)


# ------------------------------------------------------------------ encoders


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "transformer": small_vit,
    "batch-norm": lambda: build_encoder("resnet10t"),
    "group-norm": lambda: build_encoder("resnet18", model_args={"norm_layer": "groupnorm"}),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_views_of_two_sizes_pass_every_encoder(kind: str) -> None:
    torch.manual_seed(0)
    objective = small_dino(frozen=0.0)
    student = student_of(objective, ENCODERS[kind]())
    batch, draws = toy_batch(objective.views(), 0, samples=3)
    assert [view.shape[-1] for view in (*batch.views, *batch.local_views)] == [32, 32, 16, 16, 16]
    loss = objective(student, batch, draws).total
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    for name, own in student.named_parameters():
        assert own.grad is not None, name
        assert torch.isfinite(own.grad).all(), name
    assert student.encoder.training


@pytest.mark.parametrize(
    ("encoder", "local_px", "message"),
    [
        (
            small_vit,
            12,
            "local_px is 12; choose a side that the encoder takes, .*multiples of 8 px",
        ),
        (
            lambda: build_encoder("convit_tiny"),
            96,
            "local_px is 96; .* or local_views=0: convit_tiny takes pictures of 224 × 224 px",
        ),
    ],
)
def test_small_views_that_an_encoder_cannot_take_are_refused_at_once(
    encoder: Callable[[], Encoder], local_px: int, message: str
) -> None:
    with pytest.raises(EncoderError, match=message):
        small_dino(local_px=local_px).network(encoder())


def test_small_views_are_no_larger_than_large_ones(workspace: Path) -> None:
    with pytest.raises(SettingsError, match="small views have 48 px and large ones only 32 px"):
        small_pretrain(workspace, method="dino", steps=1)
    assert not (workspace / "runs").exists()


# ------------------------------------------------------------------ what is kept


@pytest.mark.parametrize("kept", ["teacher", "student"])
def test_the_teacher_is_what_is_saved(workspace: Path, kept: str) -> None:
    heard = Heard()
    values = {"local_px": 16, "prototypes": 64, "hidden_length": 64, "local_views": 1, "kept": kept}
    made = small_pretrain(
        workspace, method="dino", backbone="test_resnet", watcher=heard, method_values=values
    )
    objective, student = heard.ingredients[0].objective, heard.ingredients[0].network
    assert isinstance(objective, Dino)
    networks = {"teacher": objective.teacher, "student": student}
    saved = load_file(made.encoder / "encoder.safetensors")
    equal = {
        name: all(
            torch.equal(value, saved[key.removeprefix("model.")])
            for key, value in network.encoder.state_dict().items()
        )
        for name, network in networks.items()
    }
    assert equal == {name: name == kept for name in networks}
    assert made.record.shape.descriptor == "pooled"


# ------------------------------------------------------------------ parts and settings


def test_dino_s_parts_are_the_paper_s() -> None:
    objective = Dino(DinoSettings())
    assert objective.views() == ViewPlan(views=2, local_views=8, local_px=96)
    student = student_of(objective, ToyEncoder())
    assert student.descriptor == "pooled"
    kinds = [type(one).__name__ for one in student.head.modules() if not list(one.children())]
    assert kinds == ["Linear", "GELU", "Linear", "GELU", "Linear"]
    shapes = [tuple(own.shape) for own in student.head.parameters() if own.ndim == 2]
    assert shapes == [(2048, 16), (2048, 2048), (256, 2048)]
    assert [tuple(own.shape) for own in student.tail.parameters()] == [(65_536, 256)]
    head = student.head(torch.randn(3, 16))
    torch.testing.assert_close(head.norm(dim=1), torch.ones(3))
    # The teacher chooses by prototypes of its own.
    assert {name for name, _ in objective.teacher.named_parameters()} == {
        name for name, _ in student.named_parameters()
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"local_views": -1}, "local_views is -1; choose 0 or more"),
        ({"local_px": 0}, "local_px is 0; choose 1 or more"),
        ({"prototypes": 1}, "prototypes is 1, and among fewer than 2 there is no choice"),
        ({"hidden_length": 0}, "hidden_length is 0; choose 1 or more"),
        ({"descriptor_length": 0}, "descriptor_length is 0; choose 1 or more"),
        ({"student_temperature": 0.0}, "student_temperature is 0; choose a number above 0"),
        ({"teacher_temperature": -1.0}, "teacher_temperature is -1; choose a number above 0"),
        ({"teacher_temperature_start": 0.0}, "temperature_start is 0; choose a number above 0"),
        ({"warm_up": 30.0}, "warm_up is 30; choose a number from 0 to 1"),
        ({"frozen": -1.0}, "frozen is -1; choose a number from 0 to 1"),
        ({"kept": "both"}, "kept is 'both'; choose one of teacher, student"),
        ({"centre_momentum": 2.0}, "centre_momentum is 2; choose a number from 0 to 1"),
    ],
)
def test_impossible_dinos_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        DinoSettings(**settings)
