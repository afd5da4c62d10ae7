"""`UNetDecoder`: from a pyramid of features back to pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsi_tower.errors import EncoderError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsi_tower.models.encoder import Encoder

__all__ = ["UNET_WIDTHS", "UNetDecoder"]

UNET_WIDTHS = (256, 128, 64, 32, 16)
"""Channels after each doubling, as TOWER has them, from coarse to fine."""


class UNetDecoder(nn.Module):
    """A U-Net's way up (Ronneberger et al. 2015), as TOWER restores with it (Chen et al. 2023).

    Each doubling repeats every pixel twice in both directions, joins the encoder's map of that
    stride where it has one, and applies two 3 × 3 convolutions with BatchNorm and ReLU. A last
    3 × 3 convolution gives logits; what squashes them is the objective's business.

    Crops of any size work: odd maps lose the row or column that doubling gave too much. Where the
    encoder has fewer doublings than there are widths (a transformer of stride 16 has four), the
    last widths are used, so that full resolution costs the same for each encoder.
    """

    def __init__(
        self,
        pyramid_channels: Sequence[int],
        pyramid_strides: Sequence[int],
        out_channels: int,
        widths: Sequence[int] = UNET_WIDTHS,
    ) -> None:
        """For an encoder with such a pyramid, fine to coarse.

        Raises:
            EncoderError: the pyramid is empty.
            SettingsError: no channels, or a width below 1.
        """
        super().__init__()
        if not pyramid_channels:
            raise EncoderError(_NO_PYRAMID.format(name="this encoder"))
        if out_channels < 1 or not widths or min(widths) < 1:
            raise SettingsError(
                f"a decoder needs channels: out_channels is {out_channels}, widths are "
                f"{tuple(widths)}; all must be 1 or more"
            )
        self.out_channels = out_channels
        self.widths = tuple(widths)
        doublings = math.ceil(math.log2(pyramid_strides[-1]))
        self._strides = [2**power for power in reversed(range(doublings))]
        finer = zip(pyramid_strides[:-1], range(len(pyramid_strides) - 1), strict=True)
        self._level_of = {stride: level for stride, level in finer if stride in self._strides}
        used = ([self.widths[0]] * doublings + list(self.widths))[-doublings:] if doublings else []
        self.blocks = nn.ModuleList()
        channels = pyramid_channels[-1]
        for stride, width in zip(self._strides, used, strict=True):
            level = self._level_of.get(stride)
            joined = 0 if level is None else pyramid_channels[level]
            self.blocks.append(_block(channels + joined, width))
            channels = width
        self.head = nn.Conv2d(channels, out_channels, 3, padding=1)
        self._initialise()

    @classmethod
    def on(cls, encoder: Encoder, out_channels: int, widths: Sequence[int] = UNET_WIDTHS) -> Self:
        """A decoder for this encoder.

        Raises:
            EncoderError: it gives no maps; the message says which encoders do.
        """
        if not encoder.pyramid_channels:
            raise EncoderError(_NO_PYRAMID.format(name=f"encoder {encoder.architecture}"))
        return cls(encoder.pyramid_channels, encoder.pyramid_strides, out_channels, widths)

    def forward(self, pyramid: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Logits of the encoder's feature maps.

        Args:
            pyramid: (B, C_i, H_i, W_i) each, fine to coarse.
            size: (H, W) of the pictures that they are of.

        Returns:
            (B, out_channels, H, W).
        """
        features = pyramid[-1]
        for stride, block in zip(self._strides, self.blocks, strict=True):
            level = self._level_of.get(stride)
            if level is None:
                sides = math.ceil(size[0] / stride), math.ceil(size[1] / stride)
                features = _enlarged(features, sides)
            else:
                skip = pyramid[level]
                sides = skip.shape[-2], skip.shape[-1]
                features = torch.cat((_enlarged(features, sides), skip), dim=1)
            features = block(features)
        logits: Tensor = self.head(_enlarged(features, size))
        return logits

    def _initialise(self) -> None:
        for module in self.blocks.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
        nn.init.xavier_uniform_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)


_NO_PYRAMID = (
    "{name} gives no maps of features, which a U-Net decoder needs; take a convolutional one such "
    "as resnet18, resnet50 or convnext_tiny"
)


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _enlarged(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Features at ``size`` by nearest neighbours.

    A convolution of stride 2 leaves ⌈n / 2⌉ of n pixels, pixel i over 2 i and 2 i + 1. Doubling
    and cutting keeps each pixel over its own; stretching 4 to 7 would not.
    """
    height, width = features.shape[-2:]
    if (height, width) == size:
        return features
    if 2 * height - size[0] in (0, 1) and 2 * width - size[1] in (0, 1):
        doubled = functional.interpolate(features, scale_factor=2.0, mode="nearest")
        return doubled[..., : size[0], : size[1]]
    return functional.interpolate(features, size=size, mode="nearest")
