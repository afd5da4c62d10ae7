"""Rank and distances against hand-worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.toys import ToyEncoder
from wsi_tower.models import Network
from wsi_tower.training import Probe, distance_gap, effective_rank, watched


def test_rank_of_features_that_fill_k_directions_alike_is_k() -> None:
    for rank in (1, 3, 8):
        features = torch.zeros(20, 8)
        features[range(rank), range(rank)] = 5.0
        assert effective_rank(features) == pytest.approx(rank)


def test_rank_is_the_entropy_of_singular_values() -> None:
    # Singular values 3 and 1: shares 3/4 and 1/4.
    features = torch.diag(torch.tensor([3.0, 1.0]))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(features) == pytest.approx(math.exp(entropy))
    assert effective_rank(torch.zeros(4, 3)) == 0
    assert effective_rank(torch.full((50, 16), 0.3)) == pytest.approx(1)


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_rank_knows_neither_scale_nor_rotation(seed: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(12, 5)) * generator.uniform(0.1, 3, 5)
    rotation = np.linalg.qr(generator.normal(size=(5, 5)))[0]
    one = effective_rank(torch.from_numpy(features))
    other = effective_rank(torch.from_numpy(scale * features @ rotation))
    assert one == pytest.approx(other)
    assert 1 <= one <= 5


def test_gap_is_the_ratio_of_mean_distances() -> None:
    anchors = torch.zeros(2, 2)
    near = torch.tensor([[0.0, 1.0], [3.0, 4.0]])  # 1 and 5
    distant = torch.tensor([[6.0, 8.0], [0.0, 2.0]])  # 10 and 2
    assert distance_gap(anchors, near, distant) == pytest.approx(2.0)
    assert math.isnan(distance_gap(anchors, anchors, distant))


def test_random_features_have_a_gap_of_about_1() -> None:
    one, two, three = torch.randn(3, 4000, 16, generator=torch.Generator().manual_seed(0))
    assert distance_gap(one, two, three) == pytest.approx(1, abs=0.02)


def test_looking_moves_nothing() -> None:
    torch.manual_seed(0)
    network = Network(ToyEncoder())
    network.encoder.coarse.eval()  # type: ignore[union-attr]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pictures = torch.randint(0, 256, (70, 3, 16, 16), dtype=torch.uint8)
    seen = watched(network, Probe(pictures, pictures.flip(3), pictures.roll(1, 0)))
    assert 1 <= seen.rank <= 16
    assert seen.gap is not None
    assert watched(network, Probe(pictures)).gap is None
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    modes = {name: module.training for name, module in network.named_modules()}
    assert not modes["encoder.coarse"]
    assert not modes["encoder.coarse.1"]
    assert modes["encoder.fine"]
    assert modes[""]
