"""`simclr`: its contract, and its value by the paper's formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.pretrain.papers import nt_xent_of_the_paper
from tests.training.contract import ObjectiveContract
from tests.training.toys import ToyEncoder, toy_batch
from wsi_tower.errors import SettingsError, TooFewTilesError
from wsi_tower.pretrain import Simclr, SimclrSettings
from wsi_tower.training import ViewPlan

if TYPE_CHECKING:
    from wsi_tower.training import Objective


class TestSimclr(ObjectiveContract):
    def objective(self) -> Objective:
        return Simclr(SimclrSettings())


class TestSimclrOnGrey(ObjectiveContract):
    channels = 1

    def objective(self) -> Objective:
        return Simclr(SimclrSettings(temperature=0.1))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_simclr_is_nt_xent_of_two_views(temperature: float) -> None:
    torch.manual_seed(0)
    objective = Simclr(SimclrSettings(temperature=temperature))
    network = objective.network(ToyEncoder()).eval()
    batch, draws = toy_batch(objective.views(), 1)
    assert network.head is not None
    first, second = (network.head(network.encoder(view).pooled).detach() for view in batch.views)
    expected = nt_xent_of_the_paper(first, second, temperature)
    loss = objective(network, batch, draws).total
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_simclr_s_head_is_stacke_s() -> None:
    network = Simclr(SimclrSettings()).network(ToyEncoder())
    assert network.head is not None
    assert network.descriptor == "pooled"
    kinds = [type(layer).__name__ for layer in network.head.modules()]
    assert kinds[2:] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    shapes = [tuple(own.shape) for own in network.head.parameters() if own.ndim == 2]
    assert shapes == [(512, 16), (128, 512)]


def test_simclr_compares_two_views_of_the_same_tile() -> None:
    assert Simclr(SimclrSettings()).views() == ViewPlan(views=2, partner="same")


def test_simclr_of_one_tile_is_refused() -> None:
    objective = Simclr(SimclrSettings())
    network = objective.network(ToyEncoder())
    with pytest.raises(TooFewTilesError, match="batch of 1 tile"):
        objective(network, *toy_batch(objective.views(), 0, samples=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.5}, "temperature is -0.5; choose a number above 0"),
        ({"hidden_length": 0}, "hidden_length is 0; choose 1 or more"),
        ({"descriptor_length": -1}, "descriptor_length is -1; choose 1 or more"),
    ],
)
def test_impossible_simclrs_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SimclrSettings(**settings)
