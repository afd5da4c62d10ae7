"""Dice and cross-entropy by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.segment.finetune import dice_and_cross_entropy


def test_by_hand() -> None:
    # sigmoid(0) = 1/2, sigmoid(ln 3) = 3/4; mask: 1, 0, 1, 1.
    logits = torch.tensor([[0.0, math.log(3)], [math.log(3), 0.0]])[None, None]
    masks = torch.tensor([[1.0, 0.0], [1.0, 1.0]])[None, None]
    dice, entropy = dice_and_cross_entropy(logits, masks)
    # Σ p y = 1/2 + 3/4 + 1/2 = 7/4, Σ p = 5/2, Σ y = 3: Dice = (2 · 7/4 + 1) / (11/2 + 1) = 9/13.
    assert dice.item() == pytest.approx(1 - 9 / 13)
    told = (math.log(2), math.log(4), math.log(4 / 3), math.log(2))
    assert entropy.item() == pytest.approx(sum(told) / 4)


def test_each_class_counts_alike() -> None:
    logits = torch.full((1, 2, 2, 2), 40.0)
    masks = torch.zeros(1, 2, 2, 2)
    masks[:, 0] = 1
    dice, _ = dice_and_cross_entropy(logits, masks)
    # The first class is found whole; of the second nothing is true: (0 + 1) / (4 + 0 + 1).
    assert dice.item() == pytest.approx((0 + 1 - 1 / 5) / 2)


def test_nothing_found_of_nothing_is_no_loss() -> None:
    dice, entropy = dice_and_cross_entropy(torch.full((2, 1, 4, 4), -60.0), torch.zeros(2, 1, 4, 4))
    assert dice.item() == pytest.approx(0)
    assert entropy.item() == pytest.approx(0)


@given(st.integers(0, 10_000))
def test_it_is_the_naive_sum_and_knows_no_order(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 1, 4, 5, generator=generator)
    masks = (torch.rand(3, 1, 4, 5, generator=generator) < 0.4).float()
    both = found = true = entropy = 0.0
    for logit, label in zip(logits.flatten().tolist(), masks.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit))
        both, found, true = both + p * label, found + p, true + label
        entropy -= math.log(p if label else 1 - p) / 60
    dice, cross_entropy = dice_and_cross_entropy(logits, masks)
    assert dice.item() == pytest.approx(1 - (2 * both + 1) / (found + true + 1), abs=1e-5)
    assert cross_entropy.item() == pytest.approx(entropy, abs=1e-5)
    turned = dice_and_cross_entropy(logits.flip(0), masks.flip(0))
    assert turned[0].item() == pytest.approx(dice.item(), abs=1e-6)
