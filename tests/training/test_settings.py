"""Settings, schedule and optimisers, against the formulas they are named after."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from wsi_tower.errors import SettingsError
from wsi_tower.training import TrainSettings, learning_rate, weight_decay
from wsi_tower.training.optimisers import Lars, optimiser_for


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps must be 1 or more, not 0"),
        ({"batch_size": 10, "accumulate": 3}, "10 cannot be cut into 3 equal parts"),
        ({"lr": 0.0}, "lr must be above 0, not 0"),
        ({"min_lr": 1.0}, r"min_lr must lie between 0 and lr \(0.001\), not 1"),
        ({"weight_decay": -1.0}, "weight_decay must be 0 or more"),
        ({"final_weight_decay": -1.0}, "final_weight_decay must be 0 or more, not -1"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"optimiser": "adamm"}, "optimiser must be one of adamw, adam, sgd, lars, not 'adamm'"),
        ({"precision": "fp16"}, "precision must be one of fp32, bf16"),
        ({"keep_checkpoints": 0}, "keep_checkpoints must be 1 or more"),
        ({"patience": -1}, "patience must be 0 or more"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        TrainSettings(**({"steps": 10} | values))  # type: ignore[arg-type]


def test_a_gpu_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert TrainSettings(1).torch_device() == torch.device("cpu")
    with pytest.raises(SettingsError, match="torch sees no GPU; take device cpu"):
        TrainSettings(1, device="cuda").torch_device()


def test_what_moves_no_weight_may_change() -> None:
    one = TrainSettings(10, threads=1, device="cpu", log_every=1, checkpoint_every=3)
    assert one.that_move_weights() == TrainSettings(10).that_move_weights()
    assert one.that_move_weights() != TrainSettings(10, lr=0.1).that_move_weights()


def test_warm_up_rises_by_equal_steps_and_half_a_cosine_falls() -> None:
    settings = TrainSettings(14, lr=0.8, min_lr=0.2, warmup_steps=4)
    rates = [learning_rate(step, settings) for step in range(14)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    # Ten steps down from 0.8 to 0.2: halfway at 0.5, and at fifths by the cosine's table.
    assert rates[8] == pytest.approx(0.5)
    assert rates[5] == pytest.approx(0.5 + 0.3 * math.cos(math.radians(36)))
    assert rates[13] == pytest.approx(0.2)


@given(st.integers(1, 300), st.integers(0, 400), st.floats(0, 1))
def test_rates_stay_between_their_ends(steps: int, warmup: int, share: float) -> None:
    settings = TrainSettings(steps, lr=0.5, min_lr=0.5 * share, warmup_steps=warmup)
    rates = np.array([learning_rate(step, settings) for step in range(steps)])
    assert rates.max() <= 0.5
    assert (np.diff(rates[:warmup]) > 0).all()
    assert (np.diff(rates[max(warmup - 1, 0) :]) <= 1e-12).all()
    assert rates[max(warmup - 1, 0) :].min(initial=1) >= 0.5 * share - 1e-12


def test_weight_decay_stays_or_moves_by_half_a_cosine() -> None:
    still = TrainSettings(7, weight_decay=0.3)
    assert [weight_decay(step, still) for step in range(7)] == [0.3] * 7
    # DINO's ends: halfway at their mean, and a third of the way by the cosine's table.
    moving = TrainSettings(7, weight_decay=0.04, final_weight_decay=0.4)
    decays = [weight_decay(step, moving) for step in range(7)]
    assert decays[::3] == pytest.approx([0.04, 0.22, 0.4])
    assert decays[2] == pytest.approx(0.22 - 0.18 * math.cos(math.radians(60)))
    assert weight_decay(0, TrainSettings(1, weight_decay=0.1, final_weight_decay=0.2)) == 0.1


def test_biases_and_norms_do_not_decay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    network[2].bias.requires_grad_(False)
    optimiser = optimiser_for(network, TrainSettings(1, weight_decay=0.3))
    decays = {
        id(parameter): group["weight_decay"]
        for group in optimiser.param_groups
        for parameter in group["params"]
    }
    expected = {"0.weight": 0.3, "0.bias": 0, "1.weight": 0, "1.bias": 0, "2.weight": 0.3}
    found = {name: decays[id(one)] for name, one in network.named_parameters() if id(one) in decays}
    assert found == expected


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_optimisers_by_name(name: str, kind: type) -> None:
    settings = TrainSettings(1, optimiser=name, betas=(0.8, 0.95))  # type: ignore[arg-type]
    optimiser = optimiser_for(nn.Linear(2, 2), settings)
    assert type(optimiser) is kind
    first = optimiser.param_groups[0].get("momentum", optimiser.defaults.get("betas"))
    assert first == (0.8 if name == "sgd" else (0.8, 0.95))


def test_lars_is_the_papers_algorithm() -> None:
    generator = np.random.default_rng(0)
    weight, bias = generator.normal(size=(3, 4)), generator.normal(size=3)
    gradients = generator.normal(size=(5, 3, 4)), generator.normal(size=(5, 3))
    layer = nn.Linear(4, 3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    optimiser = optimiser_for(
        layer, TrainSettings(1, optimiser="lars", lr=0.4, betas=(0.9, 0.0), weight_decay=0.01)
    )
    assert isinstance(optimiser, Lars)
    speed, bias_speed = np.zeros((3, 4)), np.zeros(3)
    for of_weight, of_bias in zip(*gradients, strict=True):
        layer.weight.grad, layer.bias.grad = torch.from_numpy(of_weight), torch.from_numpy(of_bias)
        optimiser.step()
        norms = np.linalg.norm(weight), np.linalg.norm(of_weight)
        local = 0.001 * norms[0] / (norms[1] + 0.01 * norms[0])
        speed = 0.9 * speed + 0.4 * local * (of_weight + 0.01 * weight)
        weight = weight - speed
        bias_speed = 0.9 * bias_speed + 0.4 * of_bias
        bias = bias - bias_speed
    np.testing.assert_allclose(layer.weight.detach().numpy(), weight, rtol=1e-12)
    np.testing.assert_allclose(layer.bias.detach().numpy(), bias, rtol=1e-12)
