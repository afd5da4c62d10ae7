"""`simclr`: two augmented views of a tile are told from those of all other tiles.

Chen, Kornblith, Norouzi and Hinton 2020 (arXiv 2002.05709), with the head and temperature that
Stacke et al. 2022 (MELBA) use on histology.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wsi_tower.models import HeadSettings, Network, ProjectionHead
from wsi_tower.pretrain.losses import nt_xent
from wsi_tower.pretrain.values import check_above_0, check_count
from wsi_tower.training import Loss, Objective, TensorDraws, TileBatch, ViewPlan, gathered

if TYPE_CHECKING:
    from wsi_tower.models import Encoder

__all__ = ["Simclr", "SimclrSettings"]


@dataclass(frozen=True, slots=True)
class SimclrSettings:
    """How views are compared."""

    temperature: float = 0.5
    """Of the loss (Stacke et al.; the original has 0.1 for ImageNet and 0.5 for small pictures)."""
    hidden_length: int = 512
    """Units of the head's hidden layer, with BatchNorm and ReLU (Stacke et al.)."""
    descriptor_length: int = 128
    """E: length of what is compared (Stacke et al.)."""

    def __post_init__(self) -> None:
        check_above_0("temperature", self.temperature)
        check_count("hidden_length", self.hidden_length)
        check_count("descriptor_length", self.descriptor_length)


class Simclr(Objective):
    """SimCLR on tiles."""

    def __init__(self, settings: SimclrSettings) -> None:
        super().__init__()
        self.settings = settings

    def views(self) -> ViewPlan:
        """Two views of the same tile."""
        return ViewPlan(views=2)

    def network(self, encoder: Encoder) -> Network:
        """Encoder and head (Linear, BatchNorm, ReLU, Linear)."""
        settings = self.settings
        shape = HeadSettings(
            out=settings.descriptor_length, hidden=settings.hidden_length, norm="batch"
        )
        return Network(encoder, head=ProjectionHead(encoder.width, shape))

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:  # noqa: ARG002
        """NT-Xent of the two views, among those of all ranks.

        Both pass at once, so that BatchNorm sees them as one batch.
        """
        assert network.head is not None
        first, second = network.head(network.encoder(torch.cat(batch.views)).pooled).chunk(2)
        return Loss(nt_xent(gathered(first), gathered(second), self.settings.temperature))
