"""The tiny network: what the publication says of it, and that fusing changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.nn import functional

from wsi_tower.errors import SettingsError
from wsi_tower.models import (
    ConfidenceNet,
    ConfidenceSegmenter,
    FeatureNet,
    SegmenterOrigin,
    load_segmenter,
    save_segmenter,
)
from wsi_tower.models.confidence import _Elu

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


def parameters(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


def test_it_is_as_small_as_published() -> None:
    # 232 of the stem, 6 x 1184 of the blocks, 8 K + K of the head.
    assert parameters(ConfidenceNet()) == 7_372
    assert parameters(FeatureNet()) == 3_386
    assert parameters(ConfidenceNet()) + parameters(FeatureNet()) == 10_758
    assert [parameters(ConfidenceNet(k)) for k in (1, 2, 8)] == [7_345, 7_354, 7_408]


@pytest.mark.parametrize("size", [(1, 1), (37, 50), (250, 250)])
def test_output_is_of_the_size_of_the_input(size: tuple[int, int]) -> None:
    net = ConfidenceNet().eval()
    assert net(torch.rand(2, 3, *size)).shape == (2, 4, *size)


def test_a_pixel_sees_167_px() -> None:
    """Field of 1 + 2 (stem) + sum of 2 · 2 · dilation: 83 px to either side."""
    net = ConfidenceNet().double().eval()
    image = torch.rand(1, 3, 1, 201, dtype=torch.float64, requires_grad=True)
    net(image)[0, :, 0, 100].sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    assert (int(seen.min()), int(seen.max())) == (100 - 83, 100 + 83)


def test_elu_is_torchs() -> None:
    values = torch.linspace(-20, 20, 4001)
    torch.testing.assert_close(_Elu()(values), functional.elu(values), atol=1e-6, rtol=0)


def test_features_of_patches_of_50_px_are_32() -> None:
    assert FeatureNet()(torch.rand(3, 1, 50, 50)).shape == (3, 32)


def trained_a_little() -> ConfidenceNet:
    torch.manual_seed(0)
    net = ConfidenceNet()
    for _ in range(3):
        net(torch.rand(2, 3, 40, 40))  # moves the statistics of BatchNorm
    return net.eval()


def test_a_fused_network_says_the_same() -> None:
    net, images = trained_a_little(), torch.rand(1, 3, 60, 61)
    fused = net.fused()
    assert not any(isinstance(one, torch.nn.BatchNorm2d) for one in fused.modules())
    torch.testing.assert_close(fused(images), net(images), atol=1e-4, rtol=1e-4)


def test_a_segmenter_is_one_channel_and_comes_back_from_disk(tmp_path: Path) -> None:
    net, images = trained_a_little(), torch.rand(1, 3, 48, 32)
    segmenter = ConfidenceSegmenter.of_channel(net, 2)
    expected = net(images).sigmoid()[:, 2:3]
    torch.testing.assert_close(segmenter.probabilities(images), expected, atol=1e-4, rtol=1e-4)
    origin = SegmenterOrigin("tiny", "patch-contrast", ("nucleus",), 0.25, 300)
    save_segmenter(tmp_path / "models" / "tiny", segmenter, origin)
    again = load_segmenter(str(tmp_path / "models" / "tiny")).network
    torch.testing.assert_close(again.probabilities(images), segmenter.probabilities(images))


def test_a_channel_that_is_not_there_is_refused() -> None:
    with pytest.raises(SettingsError, match="between 0 and 3, not 4"):
        ConfidenceSegmenter.of_channel(ConfidenceNet(), 4)
