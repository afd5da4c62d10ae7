"""The `Segmenter` port: pictures to the probability of each class at each pixel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from wsi_tower.errors import EncoderError
from wsi_tower.models.plan import EncoderPlan
from wsi_tower.models.record import DecoderSettings
from wsi_tower.models.timm_encoder import TimmEncoder
from wsi_tower.models.unet import UNetDecoder
from wsi_tower.records import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsi_tower.models.encoder import Encoder

__all__ = ["Segmenter", "UNetSegmenter"]


class Segmenter(nn.Module, ABC):
    """Says of each pixel what it shows. Normalisation is its own business, inside `forward`."""

    kind: ClassVar[str]
    """Name by which a record says which segmenter to build."""
    classes: int
    """K: how many classes it tells; they need not exclude each other."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K, H, W) of pictures (B, 3, H, W) with values in [0, 1]."""

    def probabilities(self, images: Tensor) -> Tensor:
        """Probability of each class: float32 (B, K, H, W), of pictures as `forward` takes them."""
        logits: Tensor = self(images)
        # In float32 also under autocast: near 0 and 1, steps of bfloat16 are four thousandths.
        return torch.sigmoid(logits.float())

    @abstractmethod
    def shape(self) -> dict[str, Any]:
        """What it is built from again, weights apart, as plain JSON values."""

    @classmethod
    @abstractmethod
    def of_shape(cls, values: Mapping[str, Any]) -> Self:
        """A segmenter with random weights, from what `shape` gave.

        Raises:
            EncoderError: this timm cannot build it.
            ValueError, TypeError, LookupError: these are no such values.
        """


class UNetSegmenter(Segmenter):
    """An encoder and a U-Net decoder (Ronneberger et al. 2015), as TOWER fine-tunes them."""

    kind = "unet"

    def __init__(self, encoder: Encoder, decoder: UNetDecoder) -> None:
        """``decoder`` gives a channel for each class; it was built on ``encoder``."""
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.classes = decoder.out_channels

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K, H, W) of pictures (B, 3, H, W) with values in [0, 1].

        Raises:
            EncoderError: other channels, or a size that the architecture cannot take.
        """
        size = (images.shape[-2], images.shape[-1])
        logits: Tensor = self.decoder(self.encoder(images).pyramid, size)
        return logits

    def shape(self) -> dict[str, Any]:
        """The encoder's plan and the decoder's settings.

        Raises:
            EncoderError: the encoder is of a class that cannot be built again by name.
        """
        if not isinstance(self.encoder, TimmEncoder):
            raise EncoderError(
                f"a segmenter on a {type(self.encoder).__name__} cannot be saved, since nothing "
                f"could build it again; use a TimmEncoder"
            )
        decoder = DecoderSettings(self.decoder.out_channels, self.decoder.widths)
        return {"encoder": plain(self.encoder.plan), "decoder": plain(decoder)}

    @classmethod
    def of_shape(cls, values: Mapping[str, Any]) -> Self:
        """A U-Net with random weights, from what `shape` gave."""
        plan = EncoderPlan.from_json(values["encoder"], int(values["encoder"]["input_px"]))
        settings = DecoderSettings.from_json(values["decoder"])
        encoder = TimmEncoder(plan)
        return cls(encoder, UNetDecoder.on(encoder, settings.out_channels, settings.widths))
