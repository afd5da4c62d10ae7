"""Losses against double loops written from the papers' formulas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pretrain.papers import info_nce_of_the_paper, nt_xent_of_the_paper
from wsi_tower.errors import TooFewTilesError
from wsi_tower.pretrain.losses import info_nce, margin_loss, nt_xent, restoration_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

TEMPERATURES = (0.1, 0.5, 1.0)


def descriptors(seed: int, samples: int = 5, length: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(samples, length, generator=generator, dtype=torch.float64)
    return first, first + torch.randn(samples, length, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@settings(deadline=None)
@given(seed=st.integers(0, 2**31), samples=st.integers(2, 6))
def test_nt_xent_is_the_paper_s(temperature: float, seed: int, samples: int) -> None:
    first, second = descriptors(seed, samples)
    expected = nt_xent_of_the_paper(first, second, temperature)
    assert nt_xent(first, second, temperature).item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@settings(deadline=None)
@given(seed=st.integers(0, 2**31), samples=st.integers(2, 6))
def test_info_nce_is_the_paper_s(temperature: float, seed: int, samples: int) -> None:
    queries, keys = descriptors(seed, samples)
    expected = info_nce_of_the_paper(queries, keys, temperature)
    assert info_nce(queries, keys, temperature).item() == pytest.approx(
        expected, rel=1e-4, abs=1e-5
    )


def test_nt_xent_has_two_negatives_of_every_other_sample() -> None:
    # All views alike: the positive is one of 2N − 1 equal scores, whatever the temperature.
    alike = torch.ones(7, 3)
    assert nt_xent(alike, alike, 0.1).item() == pytest.approx(math.log(1 + 2 * (7 - 1)))
    assert info_nce(alike, alike, 0.1).item() == pytest.approx(math.log(1 + (7 - 1)))


def test_nt_xent_of_orthogonal_samples_by_hand() -> None:
    axes = torch.eye(3)
    # One positive of cosine 1 against four negatives of cosine 0.
    assert nt_xent(axes, axes, 0.5).item() == pytest.approx(math.log(1 + 4 * math.exp(-2)))


@pytest.mark.parametrize("loss", [nt_xent, info_nce])
def test_one_sample_alone_is_refused(loss: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    with pytest.raises(TooFewTilesError, match=r"batch of 1 tile .* batches of 2 or more"):
        loss(torch.ones(1, 4), torch.ones(1, 4), 0.5)


@pytest.mark.parametrize("loss", [nt_xent, info_nce])
def test_length_of_descriptors_does_not_matter(
    loss: Callable[[Tensor, Tensor, float], Tensor],
) -> None:
    first, second = descriptors(3)
    scaled = loss(first * 7, second / 3, 0.1)
    assert scaled.item() == pytest.approx(loss(first, second, 0.1).item(), rel=1e-5)


@pytest.mark.parametrize("loss", [nt_xent, info_nce])
def test_autocast_rounds_no_cosine(loss: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    first, second = (rows.float() for rows in descriptors(4, samples=32, length=64))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = loss(first, second, 0.1)
    assert rounded.dtype == torch.float32
    assert rounded.item() == loss(first, second, 0.1).item()


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # Near at 0.6; distant at 0.6, 0.4 short; distant at 1.5, beyond the margin; near at 2.
        ("plain", (0.6 + 0.4 + 0 + 2) / 4),
        ("squared", (0.6**2 + 0.4**2 + 0 + 2**2) / 2 / 4),
    ],
)
def test_margin_loss_by_hand(form: str, expected: float) -> None:
    first = torch.zeros(4, 2)
    second = torch.tensor([[0.6, 0.0], [0.0, 0.6], [0.9, 1.2], [2.0, 0.0]])
    is_near = torch.tensor([True, False, False, True])
    loss = margin_loss(first, second, is_near, 1.0, form)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(expected)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 4))
def test_margin_loss_is_the_papers_formula(seed: int, margin: float) -> None:
    first, second = descriptors(seed)
    plain = squared = 0.0
    # y is 0 for a near pair and 1 for a distant one.
    labels = [0, 1, 0, 1, 1]
    for one, other, y in zip(first, second, labels, strict=True):
        d = float((one - other).square().sum().sqrt())
        plain += (1 - y) * d + y * max(0.0, margin - d)
        squared += (1 - y) * d**2 / 2 + y * max(0.0, margin - d) ** 2 / 2
    is_near = torch.tensor(labels) == 0
    assert margin_loss(first, second, is_near, margin).item() == pytest.approx(plain / 5, rel=1e-4)
    assert margin_loss(first, second, is_near, margin, "squared").item() == pytest.approx(
        squared / 5, rel=1e-4, abs=1e-6
    )


@pytest.mark.parametrize("form", ["plain", "squared"])
@pytest.mark.parametrize("distance", [0.0, 1e-30, 1e-8])
def test_margin_loss_has_a_gradient_where_tiles_are_alike(form: str, distance: float) -> None:
    first = torch.ones(2, 8, requires_grad=True)
    second = first.detach().clone()
    second[:, 0] += distance
    is_near = torch.tensor([True, False])
    torch.autograd.backward(margin_loss(first, second, is_near, 1.0, form))  # type: ignore[arg-type]
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()


def test_restoration_is_averaged_over_the_whole_picture() -> None:
    target = torch.zeros(2, 3, 4, 4)
    restored = target.clone()
    restored[0, 0, 0, 0] = 0.5
    assert restoration_loss(restored, target).item() == pytest.approx(0.5 / 96)
    assert restoration_loss(restored, target, "mse").item() == pytest.approx(0.25 / 96)
