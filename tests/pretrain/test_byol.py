"""`byol`: its contract, and its value by the paper's formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.pretrain.taught import grown_apart, student_of
from tests.training.contract import ObjectiveContract
from tests.training.toys import toy_batch
from wsi_tower.errors import SettingsError
from wsi_tower.pretrain import Byol, ByolSettings
from wsi_tower.training import ViewPlan

if TYPE_CHECKING:
    from torch import Tensor

    from wsi_tower.training import Objective


class TestByol(ObjectiveContract):
    def objective(self) -> Objective:
        return Byol(ByolSettings(hidden_length=128))


class TestByolWithoutBatchNormOnGrey(ObjectiveContract):
    channels = 1

    def objective(self) -> Objective:
        return Byol(ByolSettings(hidden_length=64, norm="none", momentum_rises=False))


def squared_distance(prediction: Tensor, target: Tensor) -> float:
    """Equation 2: between vectors brought to length 1."""
    return float((prediction / prediction.norm() - target / target.norm()).square().sum())


@pytest.mark.parametrize("predictor", [True, False])
def test_byol_is_the_paper_s_loss(predictor: bool) -> None:
    objective = Byol(ByolSettings(hidden_length=32, predictor=predictor))
    student, teacher = grown_apart(objective), objective.teacher
    batch, draws = toy_batch(objective.views(), 1)
    total = 0.0
    for own, other in (batch.views, reversed(batch.views)):
        for tile, same in zip(own, other, strict=True):
            projected = student.head(student.encoder(tile[None]).pooled)
            prediction = student.tail(projected) if predictor else projected
            target = teacher.head(teacher.encoder(same[None]).pooled)
            total += squared_distance(prediction[0].detach(), target[0])
    loss = objective(student, batch, draws)
    assert loss.total.item() == pytest.approx(total / 12, rel=1e-4)
    assert 0.01 < total / 12 < 8


def test_byol_begins_where_tiles_agree_with_themselves() -> None:
    # The same picture twice, no predictor, and a teacher that has not moved.
    objective = Byol(ByolSettings(hidden_length=32, predictor=False))
    student = student_of(objective)
    batch, draws = toy_batch(ViewPlan(views=1), 0)
    twice = type(batch)(batch.views * 2, batch.anchors)
    assert objective(student, twice, draws).total.item() == pytest.approx(0, abs=1e-5)


def test_byol_s_parts_are_the_paper_s() -> None:
    student = student_of(Byol(ByolSettings()))
    assert student.descriptor == "pooled"
    assert Byol(ByolSettings()).views() == ViewPlan(views=2, partner="same")
    for part, width in ((student.head, 16), (student.tail, 256)):
        kinds = [type(layer).__name__ for layer in part.modules()]
        assert kinds[2:] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
        shapes = [tuple(own.shape) for own in part.parameters() if own.ndim == 2]
        assert shapes == [(4096, width), (256, 4096)]


def test_the_target_has_no_predictor() -> None:
    objective = Byol(ByolSettings(hidden_length=32))
    student = student_of(objective)
    inside = {name for name, _ in student.named_parameters()}
    averaged = {name for name, _ in objective.teacher.named_parameters()}
    assert averaged == {name for name in inside if not name.startswith("tail.")}
    assert averaged < inside


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_length": 0}, "hidden_length is 0; choose 1 or more"),
        ({"descriptor_length": -1}, "descriptor_length is -1; choose 1 or more"),
        ({"norm": "layer"}, "norm is 'layer'; choose one of none, batch"),
    ],
)
def test_impossible_byols_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ByolSettings(**settings)


def test_a_batch_without_gradient_is_only_looked_at() -> None:
    objective = Byol(ByolSettings(hidden_length=32))
    student = grown_apart(objective)
    batch, draws = toy_batch(objective.views(), 1)
    with torch.no_grad():
        looked = objective(student, batch, draws).total
    assert looked.item() == objective(student, batch, draws).total.item()
