"""`moco`: a view finds its tile among what an averaged copy of the network says of other views.

Chen, Xie and He 2021, MoCo v3 (arXiv 2104.02057). Keys are those of the batch; there is no queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from torch import nn

from wsi_tower.models import HeadSettings, Norm, ProjectionHead
from wsi_tower.pretrain.losses import info_nce
from wsi_tower.pretrain.teacher import Student, TaughtObjective, TeacherSettings
from wsi_tower.pretrain.values import check_above_0, check_choice, check_count
from wsi_tower.training import Loss, TensorDraws, TileBatch, ViewPlan, gathered

if TYPE_CHECKING:
    from torch import Tensor

    from wsi_tower.models import Encoder, Network

__all__ = ["Moco", "MocoSettings"]


@dataclass(frozen=True, slots=True)
class MocoSettings(TeacherSettings):
    """How the teacher follows, and how views are compared with its keys.

    The teacher's momentum of 0.99 is published for transformers and for 100 and 300 epochs of
    ResNet-50; 0.996 for 1,000.
    """

    temperature: float | None = None
    """τ; None: 0.2 for transformers, 1 for other encoders (published)."""
    head_layers: int | None = None
    """Layers of the head; None: 3 for transformers, 2 for other encoders (published)."""
    hidden_length: int = 4096
    """Units of the hidden layers of head and predictor (published)."""
    descriptor_length: int = 256
    """E: length of what is compared (published)."""
    norm: Norm = "batch"
    """What follows every layer of head and predictor: ``batch`` (published) or ``none``."""
    predictor: bool = True
    """Whether queries pass a further perceptron (published)."""
    frozen_patches: bool = True
    """Whether a transformer's patch projection stays as it began (published, against instability).
    Other encoders have none."""

    def __post_init__(self) -> None:
        TeacherSettings.__post_init__(self)
        if self.temperature is not None:
            check_above_0("temperature", self.temperature)
        if self.head_layers is not None:
            check_count("head_layers", self.head_layers)
        check_count("hidden_length", self.hidden_length)
        check_count("descriptor_length", self.descriptor_length)
        check_choice("norm", self.norm, get_args(Norm))


class Moco(TaughtObjective):
    """MoCo v3 on tiles."""

    settings: MocoSettings

    def views(self) -> ViewPlan:
        """Two views of the same tile."""
        return ViewPlan(views=2)

    def network(self, encoder: Encoder) -> Network:
        """Encoder, head and predictor: BatchNorm after each layer, the last without scale."""
        settings = self.settings
        is_transformer = encoder.patch_projection is not None
        layers = settings.head_layers or (3 if is_transformer else 2)
        head = ProjectionHead(encoder.width, self._perceptron(layers))
        predictor = ProjectionHead(head.width, self._perceptron(2))
        if encoder.patch_projection is not None and settings.frozen_patches:
            encoder.patch_projection.requires_grad_(requires_grad=False)
        return self._taught(
            Student(encoder, head, predictor if settings.predictor else nn.Identity())
        )

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:  # noqa: ARG002
        """2τ · InfoNCE of queries and keys of all ranks, both views' added up (algorithm 1)."""
        temperature = self.temperature_of(network.encoder)

        def compared(queries: Tensor, keys: Tensor) -> Tensor:
            return info_nce(gathered(queries), gathered(keys), temperature)

        return Loss(2 * temperature * self._crossed(network, batch.views, compared))

    def temperature_of(self, encoder: Encoder) -> float:
        """``temperature``, or what it is for such an encoder."""
        if self.settings.temperature is not None:
            return self.settings.temperature
        return 1.0 if encoder.patch_projection is None else 0.2

    def _perceptron(self, layers: int) -> HeadSettings:
        settings = self.settings
        return HeadSettings(
            out=settings.descriptor_length,
            layers=layers,
            hidden=settings.hidden_length,
            norm=settings.norm,
            final_norm=settings.norm,
        )
