"""`similarity`: near tiles of a slide are described alike, distant ones apart.

Gildenblat and Klaiman 2019 (arXiv 1905.08139): a Siamese network on pairs of tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import torch

from wsi_tower.errors import SettingsError, TrainingError
from wsi_tower.models import HeadSettings, Network, ProjectionHead
from wsi_tower.pretrain.losses import MarginForm, margin_loss
from wsi_tower.pretrain.values import check_above_0, check_choice, check_count
from wsi_tower.training import Loss, Objective, TensorDraws, TileBatch, ViewPlan

if TYPE_CHECKING:
    from wsi_tower.models import Encoder

__all__ = ["Similarity", "SimilaritySettings"]

_FARTHEST_ON_A_SPHERE = 2.0


@dataclass(frozen=True, slots=True)
class SimilaritySettings:
    """How the descriptors of two tiles are compared."""

    form: MarginForm = "plain"
    """``plain``: d and max(0, m − d) (published). ``squared``: half their squares (Hadsell, Chopra
    and LeCun 2006; a re-implementation trains so)."""
    margin: float | None = None
    """m; None: 1 in the plain form (ours: the published value is not known), 2 in the squared
    form (re-implementation)."""
    normalised: bool | None = None
    """Whether descriptors have length 1; None: in the plain form yes (ours), in the squared form
    no (re-implementation)."""
    descriptor_length: int = 128
    """E (published)."""

    def __post_init__(self) -> None:
        check_choice("form", self.form, get_args(MarginForm))
        check_count("descriptor_length", self.descriptor_length)
        check_above_0("margin", self.margin_in_use)
        if self.is_normalised and self.margin_in_use > _FARTHEST_ON_A_SPHERE:
            raise SettingsError(
                f"margin is {self.margin_in_use:g}, but descriptors of length 1 lie at most 2 "
                f"apart; choose up to 2, or normalised=false"
            )

    @property
    def margin_in_use(self) -> float:
        """``margin``, or what it is by default."""
        if self.margin is not None:
            return self.margin
        return 1.0 if self.form == "plain" else 2.0

    @property
    def is_normalised(self) -> bool:
        """``normalised``, or what it is by default."""
        return self.form == "plain" if self.normalised is None else self.normalised


class Similarity(Objective):
    """A Siamese network on near and distant tiles."""

    def __init__(self, settings: SimilaritySettings) -> None:
        super().__init__()
        self.settings = settings

    def views(self) -> ViewPlan:
        """A tile, and a near or a distant one."""
        return ViewPlan(views=2, partner="near-or-distant")

    def network(self, encoder: Encoder) -> Network:
        """Encoder and one linear layer, whose output describes a tile."""
        settings = self.settings
        layer = HeadSettings(
            out=settings.descriptor_length, layers=1, unit_length=settings.is_normalised
        )
        head = ProjectionHead(encoder.width, layer)
        return Network(encoder, head=head, descriptor="head")

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:  # noqa: ARG002
        """The margin loss of the pairs.

        Raises:
            TrainingError: the batch does not say which pairs are near.
        """
        if batch.is_near is None:
            raise TrainingError(
                "similarity needs to know which pairs of tiles are near; feed it as its views() "
                "say: near or distant partners"
            )
        described = network.describe(torch.cat(batch.views)).float()
        first, second = described.chunk(2)
        margin, form = self.settings.margin_in_use, self.settings.form
        return Loss(margin_loss(first, second, batch.is_near, margin, form))
