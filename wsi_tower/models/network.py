"""An encoder with what a method trains beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from torch import Tensor, nn

if TYPE_CHECKING:
    from wsi_tower.models.encoder import Encoder

__all__ = ["Descriptor", "Network"]

Descriptor: TypeAlias = Literal["pooled", "head"]
"""What describes a tile: the encoder's pooled feature, or the head's output."""


class Network(nn.Module):
    """Encoder, and where a method has them a head on the pooled feature and a decoder."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        head: nn.Module | None = None,
        decoder: nn.Module | None = None,
        descriptor: Descriptor = "pooled",
    ) -> None:
        """``head`` maps (B, D) to (B, E); ``decoder`` maps a pyramid to (B, C, H, W)."""
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.decoder = decoder
        self.descriptor: Descriptor = descriptor

    def describe(self, images: Tensor) -> Tensor:
        """Descriptors of pictures (B, C, H, W) in [0, 1]: (B, D), or (B, E) of the head."""
        pooled: Tensor = self.encoder(images).pooled
        if self.descriptor == "pooled" or self.head is None:
            return pooled
        described: Tensor = self.head(pooled)
        return described
