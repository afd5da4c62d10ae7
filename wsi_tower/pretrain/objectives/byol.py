"""`byol`: a view predicts what an averaged copy of the network says of the tile's other view.

Grill et al. 2020, Bootstrap your own latent (arXiv 2006.07733). No tile is told from another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from torch import nn

from wsi_tower.models import HeadSettings, Norm, ProjectionHead
from wsi_tower.pretrain.losses import alignment_loss
from wsi_tower.pretrain.teacher import Student, TaughtObjective, TeacherSettings
from wsi_tower.pretrain.values import check_choice, check_count
from wsi_tower.training import Loss, TensorDraws, TileBatch, ViewPlan

if TYPE_CHECKING:
    from wsi_tower.models import Encoder, Network

__all__ = ["Byol", "ByolSettings"]


@dataclass(frozen=True, slots=True)
class ByolSettings(TeacherSettings):
    """How the teacher follows, and how its answers are predicted.

    The teacher's momentum of 0.99 is published for 100 epochs; 0.996 for 1,000, 0.97 for 40.
    """

    hidden_length: int = 4096
    """Units of the hidden layer of head and predictor (published)."""
    descriptor_length: int = 256
    """E: length of what is predicted (published)."""
    norm: Norm = "batch"
    """What follows hidden layers: ``batch`` (published) or ``none``."""
    predictor: bool = True
    """Whether the student predicts (published), or must itself say the same: it then collapses."""

    def __post_init__(self) -> None:
        TeacherSettings.__post_init__(self)
        check_count("hidden_length", self.hidden_length)
        check_count("descriptor_length", self.descriptor_length)
        check_choice("norm", self.norm, get_args(Norm))


class Byol(TaughtObjective):
    """BYOL on tiles."""

    settings: ByolSettings

    def views(self) -> ViewPlan:
        """Two views of the same tile."""
        return ViewPlan(views=2)

    def network(self, encoder: Encoder) -> Network:
        """Encoder, head and predictor (Linear, BatchNorm, ReLU, Linear each)."""
        settings = self.settings
        shape = HeadSettings(
            out=settings.descriptor_length, hidden=settings.hidden_length, norm=settings.norm
        )
        head = ProjectionHead(encoder.width, shape)
        predictor = ProjectionHead(head.width, shape) if settings.predictor else nn.Identity()
        return self._taught(Student(encoder, head, predictor))

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:  # noqa: ARG002
        """2 − 2 cos of prediction and target, of both views added up."""
        return Loss(self._crossed(network, batch.views, alignment_loss))
