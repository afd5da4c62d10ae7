"""Dice and cross-entropy: what a mask asks of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from wsi_tower.models import Network, UNetDecoder
from wsi_tower.training import Loss, Objective, ViewPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from wsi_tower.models import Encoder
    from wsi_tower.training import TensorDraws, TileBatch

__all__ = ["MaskObjective", "dice_and_cross_entropy"]

_SMOOTH = 1.0
"""A pixel of agreement, so that a batch without foreground has a loss."""


def dice_and_cross_entropy(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """What is missing to full overlap, and the mean binary cross-entropy.

    Soft Dice (Milletari et al. 2016, without squares) of each class over the whole batch, so that
    crops without foreground weigh by their pixels: 1 - (2 Σ p y + 1) / (Σ p + Σ y + 1).

    Args:
        logits: (B, K, H, W).
        masks: 0 or 1, (B, K, H, W).

    Returns:
        Two scalars: mean over classes of 1 - Dice, and cross-entropy in nats.
    """
    logits = logits.float()
    probabilities = logits.sigmoid()
    axes = (0, 2, 3)
    both = (probabilities * masks).sum(axes)
    sizes = probabilities.sum(axes) + masks.sum(axes)
    dice = (2 * both + _SMOOTH) / (sizes + _SMOOTH)
    return (1 - dice).mean(), functional.binary_cross_entropy_with_logits(logits, masks)


class MaskObjective(Objective):
    """Masks of pictures: the first view of a batch is the pictures, the second their masks."""

    def __init__(self, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.classes, self.widths = classes, tuple(widths)

    def views(self) -> ViewPlan:
        """Pictures and masks."""
        return ViewPlan(views=2)

    def network(self, encoder: Encoder) -> Network:
        """The encoder with a fresh decoder."""
        return Network(encoder, decoder=UNetDecoder.on(encoder, self.classes, self.widths))

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        """Dice and cross-entropy, 1 : 1."""
        del draws
        images, masks = batch.views
        assert network.decoder is not None
        size = (images.shape[-2], images.shape[-1])
        logits: Tensor = network.decoder(network.encoder(images).pyramid, size)
        dice, entropy = dice_and_cross_entropy(logits, masks)
        parts = {"dice_loss": dice.detach(), "cross_entropy": entropy.detach()}
        return Loss(torch.add(dice, entropy), parts)
