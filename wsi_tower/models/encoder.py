"""The `Encoder` port: pictures to features, whichever library built the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from wsi_tower.models.features import Features

__all__ = ["Encoder"]


class Encoder(nn.Module, ABC):
    """Turns pictures into features. Normalisation is its own business, inside `forward`."""

    architecture: str
    """Name by which it is built again: a name that timm knows."""
    in_channels: int
    """Channels of its pictures: 3 for colour, 1 for grey."""
    width: int
    """D: length of the pooled feature."""
    pyramid_channels: tuple[int, ...]
    """C_i of every feature map, from fine to coarse; empty where it has none."""
    pyramid_strides: tuple[int, ...]
    """Pixels of the picture to one of each map."""

    @property
    def patch_projection(self) -> nn.Module | None:
        """What makes a transformer's tokens of its patches; None: it is no transformer."""
        return None

    @abstractmethod
    def forward(self, images: Tensor) -> Features:
        """Features of pictures.

        Args:
            images: (B, in_channels, H, W), values in [0, 1].
        """
