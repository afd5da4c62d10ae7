"""Heads against what they are known to give, and calibration against the temperature that was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsi_tower.classify import LearnSettings, calibrate, fitted_head
from wsi_tower.errors import LabelError
from wsi_tower.models import LinearClassifier, NeighbourClassifier
from wsi_tower.scores import expected_calibration_error

RNG = np.random.default_rng


def clouds(count: int, apart: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of normal clouds in five dimensions."""
    rng = RNG(seed)
    labels = np.arange(count) % 3
    features = rng.normal(size=(count, 5))
    features[np.arange(count), labels] += apart
    return features.astype(np.float32), labels.astype(np.int64)


def test_regression_of_counts_gives_their_shares() -> None:
    # A descriptor that is 0 or 1: without penalty the model is saturated, so that probabilities
    # are the shares of the table: 3 of 4 where it is 0, 1 of 5 where it is 1.
    features = np.array([[0.0]] * 4 + [[1.0]] * 5, np.float32)
    labels = np.array([0, 0, 0, 1, 0, 1, 1, 1, 1])
    head = fitted_head(features, labels, ("a", "b"), LearnSettings(penalty=1e-9))
    found = head.probabilities(torch.tensor([[0.0], [1.0]])).numpy()[:, 0]
    assert found == pytest.approx([3 / 4, 1 / 5], abs=1e-4)


def test_balanced_classes_weigh_alike() -> None:
    # The same descriptor for all: what is left is how much each class weighs.
    features, labels = np.zeros((10, 2), np.float32), np.array([0] * 9 + [1])
    for balanced, share in ((False, 0.9), (True, 0.5)):
        head = fitted_head(features, labels, ("a", "b"), LearnSettings(balanced=balanced))
        found = head.probabilities(torch.zeros(1, 2)).numpy()[0, 0]
        assert found == pytest.approx(share, abs=1e-3)


def test_the_penalty_is_that_of_ridge() -> None:
    # Where the loss is least, its derivative is 0: the sum of (p - y) x over samples is
    # -penalty × D × w.
    features, labels = clouds(300, 1.0, 0)
    head = fitted_head(features, labels, ("a", "b", "c"), LearnSettings(penalty=7))
    assert isinstance(head, LinearClassifier)
    inputs = head.standardised(torch.from_numpy(features)).double()
    off = head.probabilities(torch.from_numpy(features)).numpy() - np.eye(3)[labels]
    assert off.T @ inputs.numpy() == pytest.approx(-7 * 5 * head.weight.numpy(), abs=2e-3)


def test_descriptors_of_any_scale_are_told_apart_alike() -> None:
    features, labels = clouds(300, 2.0, 0)
    asked = torch.from_numpy(clouds(50, 2.0, 1)[0])
    one = fitted_head(features, labels, ("a", "b", "c"), LearnSettings())
    other = fitted_head(features * 1000 + 5, labels, ("a", "b", "c"), LearnSettings())
    same = one.probabilities(asked).numpy()
    assert other.probabilities(asked * 1000 + 5).numpy() == pytest.approx(same, abs=1e-3)


def test_neighbours_by_hand() -> None:
    features = np.array([[0.0], [0.1], [0.2], [5.0], [5.1]], np.float32)
    labels = np.array([0, 0, 1, 1, 1])
    settings = LearnSettings(head="neighbours", neighbours=3)
    head = fitted_head(features, labels, ("a", "b"), settings)
    assert isinstance(head, NeighbourClassifier)
    # Nearest to 0: two of a, one of b; to 5: three of b, since 0.2 is nearer than 0.1.
    found = head.probabilities(torch.tensor([[0.0], [5.0]])).numpy()
    assert found == pytest.approx(np.array([[3 / 5, 2 / 5], [1 / 5, 4 / 5]]))
    with pytest.raises(LabelError, match="5 training tiles are fewer than the 6 neighbours"):
        fitted_head(features, labels, ("a", "b"), LearnSettings(head="neighbours", neighbours=6))


def test_a_class_without_tiles_is_named() -> None:
    with pytest.raises(LabelError, match="no training tile is of class b"):
        fitted_head(np.zeros((2, 2), np.float32), np.array([0, 2]), ("a", "b", "c"),
                    LearnSettings())  # fmt: skip


def overconfident(factor: float) -> LinearClassifier:
    """A head whose logits are ``factor`` times what is true of `drawn`."""
    head = LinearClassifier(2, 2)
    head.weight.copy_(factor * torch.eye(2))
    return head


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn by their softmax: temperature 1 is true."""
    rng = RNG(seed)
    logits = rng.normal(scale=1.5, size=(count, 2))
    first = 1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))
    return logits.astype(np.float32), (rng.random(count) >= first).astype(np.int64)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_calibration_finds_the_temperature_that_was(factor: float) -> None:
    head = overconfident(factor)
    calibrate(head, *drawn(20_000, 0), "temperature")
    assert float(head.temperature) == pytest.approx(factor, rel=0.05)
    assert head.offset.tolist() == [0, 0]
    logits, labels = drawn(20_000, 1)
    ece = expected_calibration_error(head.probabilities(torch.from_numpy(logits)).numpy(), labels)
    assert ece < 0.015


def test_platt_mends_another_prior_which_temperature_cannot() -> None:
    logits, labels = drawn(20_000, 0)
    shifted = logits + np.array([1.5, 0], np.float32)
    eces = {}
    for how in ("none", "temperature", "platt"):
        head = overconfident(1)
        calibrate(head, shifted, labels, how)
        found = head.probabilities(torch.from_numpy(shifted)).numpy()
        eces[how] = expected_calibration_error(found, labels)
    assert eces["platt"] < 0.02 < eces["temperature"] <= eces["none"]


def test_temperature_changes_no_call() -> None:
    head = overconfident(4)
    asked = torch.from_numpy(drawn(500, 3)[0])
    before = head.probabilities(asked).argmax(dim=1)
    calibrate(head, *drawn(500, 4), "temperature")
    assert torch.equal(head.probabilities(asked).argmax(dim=1), before)


def test_what_nothing_contradicts_stays_finite() -> None:
    # All right: a temperature of 0 would be best.
    head = overconfident(1)
    logits = np.array([[3, 0], [0, 3]], np.float32)
    calibrate(head, logits, np.array([0, 1]), "platt")
    assert np.isfinite(head.probabilities(torch.from_numpy(logits)).numpy()).all()
    assert float(head.temperature) > 0
