"""`dino`: small and large views of a tile choose the same prototypes as an averaged copy does.

Caron et al. 2021, Emerging properties in self-supervised vision transformers (arXiv 2104.14294).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from wsi_tower.errors import EncoderError, SettingsError
from wsi_tower.models import HeadSettings, ProjectionHead
from wsi_tower.pretrain.losses import distillation_loss
from wsi_tower.pretrain.prototypes import Centre, Prototypes
from wsi_tower.pretrain.teacher import Student, TaughtObjective, TeacherSettings, as_student
from wsi_tower.pretrain.values import check_above_0, check_choice, check_count, check_share
from wsi_tower.training import Loss, TensorDraws, TileBatch, ViewPlan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsi_tower.models import Encoder, Network
    from wsi_tower.training import Progress

__all__ = ["Dino", "DinoSettings"]

Kept: TypeAlias = Literal["teacher", "student"]
"""Which of the two a run is for."""

_LARGE_VIEWS = 2


@dataclass(frozen=True, slots=True)
class DinoSettings(TeacherSettings):
    """Views, prototypes, and what keeps the teacher from always choosing the same.

    Parts of a run are published as epochs: 1 and 30 of 100 to 800.
    """

    momentum: float = 0.996
    """As of every method with a teacher (published; 0.9995 for small batches)."""
    local_views: int = 8
    """Small views, which the student alone sees (published)."""
    local_px: int = 96
    """Their side (published, beside views of 224 px)."""
    prototypes: int = 65_536
    """K: what tiles are sorted into (published)."""
    learns_lengths: bool = False
    """Whether each prototype's length is learnt too: better and less stable (published)."""
    hidden_length: int = 2048
    """Units of the head's two hidden layers, with GELU (published)."""
    descriptor_length: int = 256
    """E: length of what prototypes are compared with (published)."""
    student_temperature: float = 0.1
    """τ of the student (published)."""
    teacher_temperature: float = 0.04
    """τ of the teacher (released code; the paper ends at 0.07)."""
    teacher_temperature_start: float = 0.04
    """From which it rises in a line (published)."""
    warm_up: float = 0.1
    """Part of the run in which it rises (published: 30 epochs of 300)."""
    centre_momentum: float = 0.9
    """Part of the centre that a step leaves as it is (published); 1: there is no centring."""
    frozen: float = 0.01
    """Part of the run in which prototypes stay as they began (published: 1 epoch of 100)."""
    kept: Kept = "teacher"
    """Whose encoder is saved (published: the teacher's, which is the better one)."""

    def __post_init__(self) -> None:
        TeacherSettings.__post_init__(self)
        for name in ("warm_up", "centre_momentum", "frozen"):
            check_share(name, getattr(self, name))
        if self.local_views < 0:
            raise SettingsError(f"local_views is {self.local_views}; choose 0 or more")
        for name in ("local_px", "hidden_length", "descriptor_length"):
            check_count(name, getattr(self, name))
        if self.prototypes < 2:
            raise SettingsError(
                f"prototypes is {self.prototypes}, and among fewer than 2 there is no choice; "
                f"choose 2 or more"
            )
        for name in ("student_temperature", "teacher_temperature", "teacher_temperature_start"):
            check_above_0(name, getattr(self, name))
        check_choice("kept", self.kept, get_args(Kept))


class Dino(TaughtObjective):
    """DINO on tiles."""

    settings: DinoSettings
    done: Tensor
    """Part of the run that is done."""

    def __init__(self, settings: DinoSettings) -> None:
        super().__init__(settings)
        self.centre = Centre(settings.prototypes, settings.centre_momentum)
        self.register_buffer("done", torch.zeros((), dtype=torch.float64))

    def views(self) -> ViewPlan:
        """Two large views of a tile and the small ones."""
        settings = self.settings
        return ViewPlan(_LARGE_VIEWS, local_views=settings.local_views, local_px=settings.local_px)

    def network(self, encoder: Encoder) -> Network:
        """Encoder, head (three layers with GELU, length 1) and prototypes.

        Raises:
            EncoderError: the encoder cannot take the small views.
        """
        settings = self.settings
        if settings.local_views:
            _check_takes(encoder, settings.local_px)
        shape = HeadSettings(
            out=settings.descriptor_length,
            layers=3,
            hidden=settings.hidden_length,
            unit_length=True,
            activation="gelu",
        )
        head = ProjectionHead(encoder.width, shape)
        _start_near_0(head)
        prototypes = Prototypes(
            head.width, settings.prototypes, learns_lengths=settings.learns_lengths
        )
        return self._taught(Student(encoder, head, prototypes), with_tail=True)

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:  # noqa: ARG002
        """The student's cross-entropy with the teacher, whose entropy it can never fall below."""
        large, views = torch.cat(batch.views), _LARGE_VIEWS + len(batch.local_views)
        with torch.no_grad():
            scores = self.teacher.answer(large)
            chosen = torch.softmax(self.centre(scores) / self._teacher_temperature(), dim=1)
        small = [torch.cat(batch.local_views)] if batch.local_views else []
        answers = as_student(network).answer(large, *small).chunk(views)
        total = distillation_loss(
            answers, chosen.chunk(_LARGE_VIEWS), self.settings.student_temperature
        )
        # What is not trained on does not move the centre either.
        if total.requires_grad:
            self.centre.hear(scores)
        entropy = torch.special.entr(chosen).sum(dim=1).mean()
        return Loss(total, {"entropy": entropy, "divergence": total.detach() - entropy})

    def trained_parameters(self, network: Network, step: int) -> Iterable[nn.Parameter]:
        """All, without the prototypes while they are frozen."""
        trained = super().trained_parameters(network, step)
        if float(self.done) >= self.settings.frozen:
            return trained
        frozen = {id(one) for one in as_student(network).tail.parameters()}
        return [one for one in trained if id(one) not in frozen]

    def learnt(self, network: Network) -> Network:
        """The teacher, or the student."""
        return self.teacher if self.settings.kept == "teacher" else network

    def after_step(self, network: Network, batch: TileBatch, progress: Progress) -> None:
        """The teacher follows, and the centre what the teacher has said."""
        super().after_step(network, batch, progress)
        self.centre.move()
        self.done.fill_(progress.step / progress.steps)

    def _teacher_temperature(self) -> Tensor | float:
        first, last = self.settings.teacher_temperature_start, self.settings.teacher_temperature
        if self.settings.warm_up == 0:
            return last
        return first + (last - first) * (self.done / self.settings.warm_up).clamp(max=1)


def _check_takes(encoder: Encoder, side_px: int) -> None:
    """Refuse small views that would stop the first step."""
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            encoder(torch.zeros(1, encoder.in_channels, side_px, side_px))
    except EncoderError as error:
        raise EncoderError(
            f"local_px is {side_px}; choose a side that the encoder takes, or local_views=0: "
            f"{error}"
        ) from error
    finally:
        encoder.train(was_training)


def _start_near_0(head: nn.Module) -> None:
    """First weights as the released code has them: normal, 0.02 wide, without biases."""
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
