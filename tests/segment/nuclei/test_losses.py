"""The objective against loops written from its description."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from wsi_tower.draws import Draws
from wsi_tower.segment.nuclei import ContrastSettings, PatchContrast
from wsi_tower.segment.nuclei.losses import (
    Sets,
    contrast_losses,
    drawn_places,
    pixel_entropy,
    similarities,
    window_means,
    windows_at,
)
from wsi_tower.segment.nuclei.objective import Pixels, drawn_sets
from wsi_tower.training import Progress, TensorDraws, TileBatch

SMALL = ContrastSettings(classes=2, window_px=10, stride_px=5, windows=8, anchors=4)


def drawn(count: int) -> TensorDraws:
    return TensorDraws(Draws(0, 0, np.arange(count)), torch.device("cpu"))


def test_a_crop_of_300_px_has_169_windows() -> None:
    assert window_means(torch.rand(1, 4, 300, 300), 50, 20).shape == (1, 4, 13, 13)
    assert window_means(torch.rand(1, 1, 250, 250), 50, 20).shape == (1, 1, 11, 11)


def test_entropy_is_in_bits_and_finite_at_both_ends() -> None:
    found = pixel_entropy(torch.tensor([0.0, 0.5, 0.25, 1.0]))
    quarter = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, quarter, 0.0]))


def test_a_window_is_drawn_as_often_as_it_is_decided() -> None:
    entropy = torch.tensor([[[0.9, 0.5, 1.0]]])
    draws = torch.linspace(0, 1 - 1e-6, 60_100).view(1, 1, -1)
    shares = torch.bincount(drawn_places(entropy, draws).flatten(), minlength=3) / 60_100
    weights = torch.tensor([0.1, 0.5, 0.001])
    torch.testing.assert_close(shares, weights / weights.sum(), atol=1e-3, rtol=0)


def test_windows_by_one_index_are_slices() -> None:
    maps = torch.rand(2, 3, 20, 30)
    tops, lefts = torch.tensor([[0, 5], [12, 3]]), torch.tensor([[7, 20], [0, 22]])
    found = windows_at(maps, tops, lefts, 8)
    for picture in range(2):
        for place in range(2):
            top, left = int(tops[picture, place]), int(lefts[picture, place])
            expected = maps[picture, :, top : top + 8, left : left + 8]
            assert torch.equal(found[picture, place], expected)


def naive(sets: list[Sets], pictures: int, temperature: float) -> tuple[float, float]:
    def alike(one: Tensor, other: Tensor) -> float:
        return -float(((one - other) ** 2).mean()) / temperature

    within = between = 0.0
    for number, own in enumerate(sets):
        foreign = [p for k, one in enumerate(sets) if k != number for p in one.positives]
        for anchor in own.anchors:
            for positive in own.positives:
                near = -alike(anchor, positive)
                far = sum(math.exp(alike(anchor, n)) for n in own.negatives)
                within += near + math.log(far)
                if foreign:
                    between += near + math.log(sum(math.exp(alike(anchor, p)) for p in foreign))
    scale = len(sets[0].anchors) ** 2 * pictures
    return within / scale, between / scale


@pytest.mark.parametrize(("channels", "temperature"), [(1, 1.0), (3, 1.0), (3, 0.1)])
def test_losses_are_those_of_a_loop(channels: int, temperature: float) -> None:
    torch.manual_seed(0)
    sets = []
    for channel in range(channels):
        positives = torch.rand(3 + channel, 12)
        numbers = torch.tensor([0, 0, 1, 2])
        sets.append(Sets(positives[numbers], positives, torch.rand(5, 12)))
    found = [float(one) for one in contrast_losses(sets, 7, temperature)]
    assert found == pytest.approx(naive(sets, 7, temperature), rel=1e-4)


def test_similarity_is_the_negative_mean_square() -> None:
    torch.testing.assert_close(
        similarities(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])),
        torch.tensor([[-0.5, 0.0]]),
    )


def test_alike_positives_lose_less_where_negatives_differ() -> None:
    same = torch.full((4, 9), 0.3)
    near = contrast_losses([Sets(same, same, same)], 1, 1.0)[0]
    apart = contrast_losses([Sets(same, same, same + 0.7)], 1, 1.0)[0]
    assert apart < near


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_channel_sure_of_one_thing_has_one_set(level: float) -> None:
    images = torch.rand(2, 3, 30, 30)
    confidence = torch.full((2, 2, 30, 30), level)
    entropy = window_means(pixel_entropy(confidence), 10, 5)
    for one in drawn_sets(images, confidence, entropy, drawn(2), SMALL):
        assert (len(one.positives), len(one.negatives)) == ((0, 16) if level == 0 else (16, 0))


def test_a_skipped_step_moves_nothing() -> None:
    objective = PatchContrast(SMALL)
    network = objective.network(Pixels())
    with torch.no_grad():
        head = network.get_parameter("decoder.head.bias")
        head.fill_(200.0)  # sure that everything is positive: no negatives
    batch = TileBatch((torch.rand(2, 3, 30, 30),), torch.arange(2))
    loss = objective(network, batch, drawn(2))
    assert float(loss.total.detach()) == 0.0
    assert float(loss.parts["skipped"]) == 1.0
    assert list(objective.trained_parameters(network, 0)) == []


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    objective = PatchContrast(SMALL)
    network = objective.network(Pixels())
    loss = objective(network, TileBatch((torch.rand(4, 3, 40, 40),), torch.arange(4)), drawn(4))
    loss.total.backward()
    assert float(loss.parts["skipped"]) == 0.0
    assert all(one.grad is not None and one.grad.isfinite().all() for one in network.parameters())


def test_it_is_over_when_the_criterion_rises_no_more() -> None:
    objective = PatchContrast(SMALL, patience=3)
    network = objective.network(Pixels())
    batch = TileBatch((torch.rand(4, 3, 40, 40),), torch.arange(4))
    over = []
    for step, share in enumerate([0.1, 0.5, 0.0, 0.0, 0.0], start=1):
        objective._seen = torch.tensor([share, 0.0])
        objective.after_step(network, batch, Progress(step, 9))
        over.append(objective.is_over())
    # The mean rises until step 2 and falls from then on.
    assert over == [False, False, False, False, True]
