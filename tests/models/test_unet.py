from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.models.conformance import pictures
from wsi_tower.errors import EncoderError, SettingsError
from wsi_tower.models import Encoder, Features, UNetDecoder, build_encoder
from wsi_tower.models.unet import _enlarged

RESNET50 = ((64, 256, 512, 1024, 2048), (2, 4, 8, 16, 32))


def weights_of(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


# The architecture


def test_towers_decoder_has_its_layers() -> None:
    # methods: widths 256, 128, 64, 32, 16; each block two 3 × 3 convolutions with BatchNorm on the
    # doubled map joined with the encoder's; a 3 × 3 head. Counted by hand for ResNet-50.
    joined = [2048 + 1024, 256 + 512, 128 + 256, 64 + 64, 32]
    widths = [256, 128, 64, 32, 16]
    blocks = sum(
        9 * before * width + 9 * width * width + 2 * 2 * width
        for before, width in zip(joined, widths, strict=True)
    )
    for out in (1, 3):
        decoder = UNetDecoder(*RESNET50, out)
        assert weights_of(decoder) == blocks + 9 * 16 * out + out
    # With ResNet-50's 23 508 032 weights that is the 32.5 million of the usual U-Net on it.
    assert 23_508_032 + weights_of(UNetDecoder(*RESNET50, 1)) == 32_521_105


@torch.no_grad()
def test_it_computes_what_a_u_net_computes() -> None:
    # By hand: two levels, strides 2 and 4, identity BatchNorm, every step written out.
    decoder = UNetDecoder((3, 5), (2, 4), 2, (4, 6)).eval()
    fine, coarse = torch.randn(1, 3, 4, 4), torch.randn(1, 5, 2, 2)
    found = decoder((fine, coarse), (8, 8))

    def doubled(features: Tensor) -> Tensor:
        return features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    def block(features: Tensor, layers: Any) -> Tensor:
        for number in (0, 3):
            features = nn.functional.conv2d(features, layers[number].weight, padding=1)
            features = (features / math.sqrt(1 + 1e-5)).clamp(min=0)
        return features

    first = block(torch.cat((doubled(coarse), fine), dim=1), decoder.blocks[0])
    second = block(doubled(first), decoder.blocks[1])
    head = decoder.head
    expected = nn.functional.conv2d(second, head.weight, head.bias, padding=1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("strides", "widths"),
    [
        ((2, 4, 8, 16, 32), (256, 128, 64, 32, 16)),
        ((4, 8, 16, 32), (256, 128, 64, 32, 16)),
        ((16,), (128, 64, 32, 16)),
        ((14,), (128, 64, 32, 16)),
        ((1, 2, 4), (32, 16)),
        ((16, 32, 64), (256, 256, 128, 64, 32, 16)),
        ((1,), ()),
    ],
)
def test_full_resolution_costs_the_same_for_all(
    strides: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    decoder = UNetDecoder((4,) * len(strides), strides, 1)
    found = tuple(block[0].out_channels for block in decoder.blocks)  # type: ignore[index]
    assert found == widths


# Sizes


@pytest.mark.parametrize("architecture", ["resnet18", "convnext_atto"])
@torch.no_grad()
def test_crops_of_any_size_come_back(architecture: str) -> None:
    encoder = build_encoder(architecture).eval()
    decoder = UNetDecoder.on(encoder, 3).eval()
    for size in [(96, 96), (224, 224), (250, 250), (97, 97), (97, 130), (33, 40)]:
        features: Features = encoder(pictures(3, size, 1))
        assert decoder(features.pyramid, size).shape == (1, 3, *size)


@pytest.mark.parametrize(("stride", "side"), [(16, 96), (14, 98), (14, 224)])
def test_transformers_have_a_way_up(stride: int, side: int) -> None:
    decoder = UNetDecoder((8,), (stride,), 1)
    features = torch.randn(2, 8, side // stride, side // stride)
    assert decoder((features,), (side, side)).shape == (2, 1, side, side)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(-1, 1), st.integers(-1, 1))
def test_doubling_keeps_pixels_over_their_own(
    height: int, width: int, more_rows: int, more_columns: int
) -> None:
    size = (2 * height + more_rows, 2 * width + more_columns)
    features = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    found = _enlarged(features, size)
    for row in range(size[0]):
        for column in range(size[1]):
            own = features[0, 0, min(row // 2, height - 1), min(column // 2, width - 1)]
            assert found[0, 0, row, column] == own


# Training


def test_gradients_reach_every_weight_and_the_encoder() -> None:
    encoder = build_encoder("resnet18")
    decoder = UNetDecoder.on(encoder, 3)
    images = pictures(3)
    decoder(encoder(images).pyramid, (64, 64)).sigmoid().sub(images).abs().mean().backward()
    for module in (decoder, encoder):
        for name, weight in module.named_parameters():
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name


def test_it_learns_to_restore_a_picture() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = UNetDecoder((3, 3), (2, 4), 1, (8, 8))
        pyramid = (torch.randn(2, 3, 8, 8), torch.randn(2, 3, 4, 4))
        target = torch.rand(2, 1, 16, 16)
        optimiser = torch.optim.Adam(decoder.parameters(), 0.01)
        losses = []
        for _ in range(60):
            loss = (decoder(pyramid, (16, 16)).sigmoid() - target).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


# Refusals


class Flat(Encoder):
    architecture = "flat_one"
    in_channels, width, pyramid_channels, pyramid_strides = 3, 4, (), ()

    def forward(self, images: Tensor) -> Features:
        return Features(images.mean(dim=(2, 3)), ())


def test_encoders_without_maps_are_named() -> None:
    with pytest.raises(EncoderError, match=r"encoder flat_one gives no maps .*resnet18"):
        UNetDecoder.on(Flat(), 3)
    with pytest.raises(EncoderError, match=r"this encoder gives no maps"):
        UNetDecoder((), (), 3)


@pytest.mark.parametrize(("out", "widths"), [(0, (16,)), (3, ()), (3, (16, 0))])
def test_decoders_without_channels_are_refused(out: int, widths: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match=f"out_channels is {out}"):
        UNetDecoder(*RESNET50, out, widths)
