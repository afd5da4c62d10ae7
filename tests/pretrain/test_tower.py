"""`tower`: its contract, its value by the papers' formulas, its ablations, what reaches what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.pretrain.papers import info_nce_of_the_paper, nt_xent_of_the_paper
from tests.training.contract import ObjectiveContract
from tests.training.toys import ToyEncoder, toy_batch, toy_tiles
from wsi_tower.draws import Draws
from wsi_tower.errors import EncoderError, SettingsError
from wsi_tower.pretrain import Tower, TowerSettings, restore
from wsi_tower.training import TensorDraws, TileBatch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from wsi_tower.models import Network
    from wsi_tower.training import Objective

CPU = torch.device("cpu")
PARTS = ("encoder", "head", "decoder")


class TestTower(ObjectiveContract):
    def objective(self) -> Objective:
        return Tower(TowerSettings())


class TestTowerOnGreyByDensity(ObjectiveContract):
    channels = 1

    def objective(self) -> Objective:
        return Tower(TowerSettings(intensity="density", restoration="mse", contrast="info-nce"))


class TestContrastOnly(ObjectiveContract):
    def objective(self) -> Objective:
        return Tower(TowerSettings(restoration_weight=0))


class TestRestorationOnly(ObjectiveContract):
    def objective(self) -> Objective:
        return Tower(TowerSettings(contrast_weight=0))


def built(**settings: Any) -> tuple[Tower, Network]:
    torch.manual_seed(0)
    objective = Tower(TowerSettings(**settings))
    return objective, objective.network(ToyEncoder())


def reached(network: Network) -> set[str]:
    """Parts of the network that have a gradient other than 0."""
    return {
        name
        for name in PARTS
        if (part := getattr(network, name)) is not None and _has_gradient(part)
    }


def _has_gradient(part: nn.Module) -> bool:
    return any(own.grad is not None and own.grad.abs().max() > 0 for own in part.parameters())


# ------------------------------------------------------------------------ value


@pytest.mark.parametrize("contrast", ["nt-xent", "info-nce"])
@pytest.mark.parametrize("restoration", ["l1", "mse"])
def test_the_loss_is_the_weighted_sum_of_the_paper_s_two(contrast: str, restoration: str) -> None:
    objective, network = built(
        contrast=contrast, restoration=restoration, contrast_weight=0.5, restoration_weight=3.0
    )
    network.eval()
    batch, draws = toy_batch(objective.views(), 0)
    clean = batch.views[0]
    with torch.no_grad():
        loss = objective(network, batch, draws)
        corrupted = objective.corruption(clean, draws)
        assert network.head is not None
        assert network.decoder is not None
        own, other = (network.head(network.encoder(view).pooled) for view in (clean, corrupted))
        logits = network.decoder(network.encoder(corrupted).pyramid, (32, 32))
    of_the_paper = nt_xent_of_the_paper if contrast == "nt-xent" else info_nce_of_the_paper
    contrasted = of_the_paper(own, other, 0.1)
    # Every pixel counts, masked or not, and the clean tile is what is restored.
    errors = 1 / (1 + torch.exp(-logits)) - clean
    restored = float((errors.abs() if restoration == "l1" else errors**2).mean())
    assert loss.parts["contrast"].item() == pytest.approx(contrasted, rel=1e-4)
    assert loss.parts["restoration"].item() == pytest.approx(restored, rel=1e-4)
    assert loss.total.item() == pytest.approx(0.5 * contrasted + 3 * restored, rel=1e-4)


def test_the_head_is_linear_relu_linear_to_128() -> None:
    _, network = built()
    assert network.head is not None
    shapes = [tuple(own.shape) for own in network.head.parameters()]
    assert shapes == [(16, 16), (16,), (128, 16), (128,)]
    assert network.descriptor == "pooled"


# -------------------------------------------------------------------- gradients


def test_both_losses_together_reach_all_parts() -> None:
    objective, network = built()
    torch.autograd.backward(objective(network, *toy_batch(objective.views(), 0)).total)
    assert reached(network) == set(PARTS)


def test_restoration_reaches_encoder_and_decoder_and_contrast_encoder_and_head() -> None:
    # Which term reaches what, in one network that has all three parts.
    for weights, expected in (
        ({"contrast_weight": 1e-30}, {"encoder", "decoder"}),
        ({"restoration_weight": 1e-30}, {"encoder", "head"}),
    ):
        objective, network = built(**weights)
        torch.autograd.backward(objective(network, *toy_batch(objective.views(), 0)).total)
        largest = {
            name: max(float(own.grad.abs().max()) for own in getattr(network, name).parameters())
            for name in PARTS
        }
        assert {name for name, size in largest.items() if size > 1e-20} == expected


# -------------------------------------------------------------------- ablations


@pytest.mark.parametrize(
    ("settings", "parts", "passes"),
    [
        ({}, {"head", "decoder"}, 2),
        ({"restoration_weight": 0}, {"head"}, 2),
        # What restores needs no pass of the clean view.
        ({"contrast_weight": 0}, {"decoder"}, 1),
    ],
)
def test_what_has_weight_0_is_neither_built_nor_computed(
    settings: dict[str, Any], parts: set[str], passes: int
) -> None:
    objective, network = built(**settings)
    assert {name for name in ("head", "decoder") if getattr(network, name) is not None} == parts
    seen: list[Tensor] = []
    network.encoder.register_forward_pre_hook(lambda _, images: seen.append(images[0]))
    batch, draws = toy_batch(objective.views(), 0)
    loss = objective(network, batch, draws)
    assert len(seen) == passes
    names = {"head": "contrast", "decoder": "restoration"}
    assert set(loss.parts) == {names[part] for part in parts}
    corrupted = objective.corruption(batch.views[0], draws)
    assert sum(torch.equal(images, corrupted) for images in seen) == 1


@pytest.mark.parametrize("settings", [{"mask": "none"}, {"intensity": "none"}])
def test_one_corruption_alone_will_do(settings: dict[str, Any]) -> None:
    objective, network = built(**settings)
    assert torch.isfinite(objective(network, *toy_batch(objective.views(), 0)).total)


def test_an_encoder_without_maps_can_be_contrasted_but_not_restore() -> None:
    class Flat(ToyEncoder):
        architecture = "flat"
        pyramid_channels = ()  # type: ignore[assignment]
        pyramid_strides = ()  # type: ignore[assignment]

    with pytest.raises(EncoderError, match="flat"):
        Tower(TowerSettings()).network(Flat())
    assert Tower(TowerSettings(restoration_weight=0)).network(Flat()).decoder is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"contrast_weight": 0, "restoration_weight": 0},
            "both 0, so nothing would be learnt; choose more than 0 for one",
        ),
        ({"contrast_weight": -1.0}, "contrast_weight is -1; choose 0 or more"),
        ({"restoration_weight": float("nan")}, "restoration_weight is nan; choose 0 or more"),
        ({"temperature": 0.0}, "temperature is 0; choose a number above 0"),
        ({"contrast": "triplet"}, "contrast is 'triplet'; choose one of nt-xent, info-nce"),
        ({"restoration": "l2"}, "restoration is 'l2'; choose one of l1, mse"),
        ({"descriptor_length": 0}, "descriptor_length is 0; choose 1 or more"),
        ({"mask_fraction": 1.0}, "mask_fraction is 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TowerSettings(**settings)


# ------------------------------------------------------------------ restoration


def test_restored_tiles_are_nearer_to_the_clean_ones_than_corrupted_ones_are() -> None:
    objective, network = built(contrast_weight=0.1)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    tiles = torch.from_numpy(toy_tiles())
    for step in range(80):
        draws = TensorDraws(Draws(0, step, range(16)), CPU)
        anchors = (torch.arange(16) * 3 + step) % len(tiles)
        optimiser.zero_grad()
        loss = objective(network, TileBatch((tiles[anchors],), anchors), draws)
        torch.autograd.backward(loss.total)
        optimiser.step()
    clean, corrupted, restored = restore(
        objective, network, tiles, TensorDraws(Draws(1, 0, range(len(tiles))), CPU)
    )
    assert torch.equal(clean, tiles)
    assert 0 <= restored.min() <= restored.max() <= 1
    assert (restored - clean).abs().mean() < 0.6 * (corrupted - clean).abs().mean()


@pytest.mark.parametrize("was_training", [True, False])
def test_looking_at_restorations_changes_nothing(was_training: bool) -> None:
    objective, network = built()
    network.train(was_training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    clean = torch.from_numpy(toy_tiles())[:4]
    result = restore(objective, network, clean, TensorDraws(Draws(0, 0, range(4)), CPU))
    assert network.training is was_training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not result.restored.requires_grad


def test_what_restores_nothing_says_so() -> None:
    objective, network = built(restoration_weight=0)
    with pytest.raises(SettingsError, match=r"no decoder .* restoration_weight=0"):
        restore(objective, network, torch.rand(1, 3, 32, 32), TensorDraws(Draws(0, 0, [0]), CPU))
