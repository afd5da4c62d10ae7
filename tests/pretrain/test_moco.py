"""`moco`: its contract, and its value by the paper's algorithm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from tests.pretrain.papers import info_nce_of_the_paper
from tests.pretrain.taught import grown_apart, small_vit, student_of
from tests.training.contract import ObjectiveContract
from tests.training.toys import ToyEncoder, toy_batch
from wsi_tower.errors import SettingsError, TooFewTilesError
from wsi_tower.pretrain import Moco, MocoSettings
from wsi_tower.training import TrainSettings, ViewPlan
from wsi_tower.training.optimisers import optimiser_for

if TYPE_CHECKING:
    from wsi_tower.models import Encoder
    from wsi_tower.training import Objective


class TestMoco(ObjectiveContract):
    def objective(self) -> Objective:
        return Moco(MocoSettings(hidden_length=128))


class TestMocoWithoutBatchNormOnGrey(ObjectiveContract):
    channels = 1

    def objective(self) -> Objective:
        return Moco(MocoSettings(hidden_length=64, norm="none", temperature=0.2))


class TestMocoOnATransformer(ObjectiveContract):
    def encoder(self) -> Encoder:
        return small_vit()

    def objective(self) -> Objective:
        return Moco(MocoSettings(hidden_length=64))


@pytest.mark.parametrize("temperature", [0.2, 1.0])
@pytest.mark.parametrize("predictor", [True, False])
def test_moco_is_algorithm_1(temperature: float, predictor: bool) -> None:
    objective = Moco(MocoSettings(hidden_length=32, temperature=temperature, predictor=predictor))
    student, teacher = grown_apart(objective), objective.teacher
    batch, draws = toy_batch(objective.views(), 1)
    total = 0.0
    for own, other in (batch.views, reversed(batch.views)):
        queries = student.head(student.encoder(own).pooled).detach()
        queries = student.tail(queries).detach() if predictor else queries
        keys = teacher.head(teacher.encoder(other).pooled)
        total += 2 * temperature * info_nce_of_the_paper(queries, keys, temperature)
    loss = objective(student, batch, draws)
    assert loss.total.item() == pytest.approx(total, rel=1e-4)


def test_moco_s_parts_on_a_resnet_are_the_paper_s() -> None:
    objective = Moco(MocoSettings())
    student = student_of(objective)
    assert objective.views() == ViewPlan(views=2, partner="same")
    assert student.descriptor == "pooled"
    assert objective.temperature_of(student.encoder) == 1.0
    for part, width in ((student.head, 16), (student.tail, 256)):
        layers = [one for one in part.modules() if not list(one.children())]
        kinds = [type(layer).__name__ for layer in layers]
        assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
        shapes = [tuple(own.shape) for own in part.parameters() if own.ndim == 2]
        assert shapes == [(4096, width), (256, 4096)]
        # The last BatchNorm has neither scale nor shift, and no layer has a bias.
        assert not list(layers[-1].parameters())
        assert [one.bias for one in layers if isinstance(one, nn.Linear)] == [None, None]


def test_on_a_transformer_the_head_is_deeper_and_the_temperature_lower() -> None:
    objective = Moco(MocoSettings(hidden_length=32))
    student = student_of(objective, small_vit())
    shapes = [tuple(own.shape) for own in student.head.parameters() if own.ndim == 2]
    assert shapes == [(32, 48), (32, 32), (256, 32)]
    assert objective.temperature_of(student.encoder) == 0.2


@pytest.mark.parametrize("frozen", [True, False])
def test_a_transformer_s_patch_projection_stays_as_it_began(frozen: bool) -> None:
    torch.manual_seed(0)
    objective = Moco(MocoSettings(hidden_length=32, frozen_patches=frozen))
    student = student_of(objective, small_vit())
    projection = student.encoder.patch_projection
    assert isinstance(projection, nn.Conv2d)
    assert projection.weight.shape == (48, 3, 8, 8)
    before = projection.weight.detach().clone()
    optimiser = optimiser_for(student, TrainSettings(1, weight_decay=0.1, lr=0.1))
    torch.autograd.backward(objective(student, *toy_batch(objective.views(), 0)).total)
    optimiser.step()
    assert torch.equal(projection.weight, before) == frozen
    trained = {id(one) for one in objective.trained_parameters(student, 0)}
    assert {id(one) in trained for one in projection.parameters()} == {not frozen}
    # Everything else is trained either way.
    others = {id(one) for one in student.parameters()} - {
        id(one) for one in projection.parameters()
    }
    assert others <= trained


def test_other_encoders_have_no_patches_to_freeze() -> None:
    assert ToyEncoder().patch_projection is None
    student = student_of(Moco(MocoSettings(hidden_length=32)))
    assert all(one.requires_grad for one in student.parameters())


def test_moco_of_one_tile_is_refused() -> None:
    objective = Moco(MocoSettings(hidden_length=32, norm="none"))
    student = student_of(objective)
    with pytest.raises(TooFewTilesError, match="batch of 1 tile"):
        objective(student, *toy_batch(objective.views(), 0, samples=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0; choose a number above 0"),
        ({"head_layers": 0}, "head_layers is 0; choose 1 or more"),
        ({"hidden_length": 0}, "hidden_length is 0; choose 1 or more"),
        ({"descriptor_length": -1}, "descriptor_length is -1; choose 1 or more"),
        ({"norm": "layer"}, "norm is 'layer'; choose one of none, batch"),
    ],
)
def test_impossible_mocos_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        MocoSettings(**settings)
