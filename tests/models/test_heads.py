from __future__ import annotations

import pytest
import torch
from torch import nn

from wsi_tower.errors import SettingsError
from wsi_tower.models import HeadSettings, ProjectionHead


def weights_of(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        # TOWER: Linear 2048 → 2048, ReLU, Linear 2048 → 128, both with bias.
        (HeadSettings(), 2048 * 2048 + 2048 + 2048 * 128 + 128),
        # Stacke et al. 2022: 2048-512 (BatchNorm, ReLU) -128; BatchNorm's shift is the bias.
        (HeadSettings(hidden=512, norm="batch"), 2048 * 512 + 2 * 512 + 512 * 128 + 128),
        # Gildenblat and Klaiman 2019: one layer of 128 on the pooled vector.
        (HeadSettings(layers=1), 2048 * 128 + 128),
        # As MoCo v3: no bias, and BatchNorm without scale and shift at the end.
        (
            HeadSettings(256, 2, 4096, "batch", "batch"),
            2048 * 4096 + 2 * 4096 + 4096 * 256,
        ),
        # DINO (Caron et al. 2021): three layers with bias, no norm, a bottleneck of 256.
        (
            HeadSettings(256, 3, 2048, "none", "none", True, "gelu"),
            2 * (2048 * 2048 + 2048) + 2048 * 256 + 256,
        ),
    ],
)
def test_published_heads_have_their_weights(settings: HeadSettings, count: int) -> None:
    head = ProjectionHead(2048, settings)
    assert weights_of(head) == count
    assert head.width == settings.out
    assert head(torch.randn(2, 2048)).shape == (2, settings.out)


@torch.no_grad()
def test_towers_head_computes_what_is_written() -> None:
    head = ProjectionHead(6, HeadSettings(out=3)).eval()
    first, second = (layer for layer in head.layers if isinstance(layer, nn.Linear))
    pooled = torch.randn(4, 6)
    hidden = (pooled @ first.weight.T + first.bias).clamp(min=0)
    torch.testing.assert_close(head(pooled), hidden @ second.weight.T + second.bias)


@torch.no_grad()
def test_layers_bend_as_they_are_told() -> None:
    head = ProjectionHead(6, HeadSettings(out=3, activation="gelu")).eval()
    first, second = (layer for layer in head.layers if isinstance(layer, nn.Linear))
    pooled = torch.randn(4, 6)
    hidden = pooled @ first.weight.T + first.bias
    # x · Φ(x), with the distribution function of the standard normal.
    bent = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    torch.testing.assert_close(head(pooled), bent @ second.weight.T + second.bias)


@torch.no_grad()
def test_one_layer_is_linear() -> None:
    head = ProjectionHead(5, HeadSettings(out=2, layers=1))
    one, other = torch.randn(2, 3, 5)
    origin = head(torch.zeros(3, 5))
    torch.testing.assert_close(head(one + other) - origin, head(one) + head(other) - 2 * origin)


@torch.no_grad()
def test_a_final_norm_centres_the_batch() -> None:
    head = ProjectionHead(5, HeadSettings(out=4, final_norm="batch")).train()
    projected = head(torch.randn(64, 5))
    torch.testing.assert_close(projected.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(projected.std(0, correction=0), torch.ones(4), atol=1e-2, rtol=0)


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_gradients_reach_every_weight(norm: str) -> None:
    head = ProjectionHead(5, HeadSettings(4, 3, 7, norm, norm))  # type: ignore[arg-type]
    head(torch.randn(8, 5)).pow(3).sum().backward()
    for name, weight in head.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"out": 0}, "out must be 1"),
        ({"layers": 0}, "layers must be 1"),
        ({"hidden": 0}, "hidden must be 1"),
        ({"norm": "layer"}, "norm must be 'none' or 'batch', not 'layer'"),
        ({"final_norm": ""}, "final_norm must be"),
        ({"activation": "tanh"}, "activation must be 'relu' or 'gelu', not 'tanh'"),
    ],
)
def test_heads_that_cannot_be_are_refused(changes: dict[str, int], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        HeadSettings(**changes)  # type: ignore[arg-type]
