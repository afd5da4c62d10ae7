"""`similarity`: its contract, and its value by the paper's formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.training.contract import ObjectiveContract
from tests.training.toys import ToyEncoder, toy_batch
from wsi_tower.errors import SettingsError, TrainingError
from wsi_tower.pretrain import Similarity, SimilaritySettings
from wsi_tower.training import TileBatch, ViewPlan

if TYPE_CHECKING:
    from wsi_tower.training import Objective


class TestSimilarity(ObjectiveContract):
    def objective(self) -> Objective:
        return Similarity(SimilaritySettings())


class TestSquaredSimilarityOnGrey(ObjectiveContract):
    channels = 1

    def objective(self) -> Objective:
        return Similarity(SimilaritySettings(form="squared"))


@pytest.mark.parametrize(
    ("settings", "margin", "is_normalised", "power"),
    [
        ({}, 1.0, True, 1),
        ({"form": "squared"}, 2.0, False, 2),
        ({"margin": 1.7, "normalised": False}, 1.7, False, 1),
        ({"form": "squared", "margin": 0.5, "normalised": True}, 0.5, True, 2),
    ],
)
def test_similarity_is_the_mean_of_the_paper_s_formula(
    settings: dict[str, Any], margin: float, is_normalised: bool, power: int
) -> None:
    torch.manual_seed(0)
    objective = Similarity(SimilaritySettings(**settings))
    network = objective.network(ToyEncoder()).eval()
    batch, draws = toy_batch(objective.views(), 3)
    first, second = (network.describe(view).detach() for view in batch.views)
    assert first.shape == (12, 128)
    assert batch.is_near is not None
    total = 0.0
    for one, other, is_near in zip(first, second, batch.is_near, strict=True):
        left, right = (one / one.norm(), other / other.norm()) if is_normalised else (one, other)
        distance = float((left - right).norm())
        y = 0 if is_near else 1
        error = (1 - y) * distance + y * max(0.0, margin - distance)
        total += error if power == 1 else error**2 / 2
    assert {bool(is_near) for is_near in batch.is_near} == {False, True}
    loss = objective(network, batch, draws).total
    assert loss.item() == pytest.approx(total / 12, rel=1e-4)


def test_similarity_asks_for_near_and_distant_tiles() -> None:
    objective = Similarity(SimilaritySettings())
    assert objective.views() == ViewPlan(views=2, partner="near-or-distant")
    network = objective.network(ToyEncoder())
    assert network.descriptor == "head"
    assert network.head is not None
    # One linear layer in place of the classifier.
    assert [tuple(own.shape) for own in network.head.parameters()] == [(128, 16), (128,)]
    batch, draws = toy_batch(ViewPlan(views=2), 0)
    with pytest.raises(TrainingError, match="which pairs of tiles are near"):
        objective(network, batch, draws)


def test_identical_distant_tiles_give_a_finite_gradient() -> None:
    objective = Similarity(SimilaritySettings())
    network = objective.network(ToyEncoder())
    _, draws = toy_batch(objective.views(), 0, samples=4)
    grey = torch.full((4, 3, 32, 32), 0.5)
    batch = TileBatch((grey, grey), torch.arange(4), is_near=torch.tensor([0, 1, 0, 1]).bool())
    torch.autograd.backward(objective(network, batch, draws).total)
    gradients = [own.grad for own in network.parameters() if own.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": 0.0}, "margin is 0; choose a number above 0"),
        ({"margin": 2.5}, "lie at most 2 apart; choose up to 2, or normalised=false"),
        ({"form": "cubed"}, "form is 'cubed'; choose one of plain, squared"),
        ({"descriptor_length": 0}, "descriptor_length is 0"),
    ],
)
def test_impossible_similarities_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SimilaritySettings(**settings)


def test_a_wide_margin_suits_free_descriptors() -> None:
    assert SimilaritySettings(margin=2.5, normalised=False).margin_in_use == 2.5
