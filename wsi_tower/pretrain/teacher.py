"""A student that learns from its own past: what BYOL, MoCo v3 and DINO share.

The teacher is a copy of the student whose weights are a moving average of the student's. The
papers call the two online and target network (BYOL), query and momentum encoder (MoCo), student and
teacher (DINO).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from wsi_tower.models import Network
from wsi_tower.pretrain.values import check_share
from wsi_tower.training import Objective

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from wsi_tower.models import Encoder
    from wsi_tower.training import Progress, TileBatch

__all__ = ["Student", "TaughtObjective", "TeacherSettings", "as_student"]


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """How a teacher follows its student."""

    momentum: float = 0.99
    """Part of each weight of the teacher that a step leaves as it is; the rest becomes the
    student's. 0: the teacher is the student without gradient, 1: it stays as it began."""
    momentum_rises: bool = True
    """Whether that part rises to 1 over the run, as half a cosine (all three papers)."""

    def __post_init__(self) -> None:
        check_share("momentum", self.momentum)

    def momentum_at(self, progress: Progress) -> float:
        """The momentum of the step that has just been done (Grill et al. 2020, section 3.2).

        1 − (1 − τ) · (cos(πk/K) + 1)/2 of step k, counted from 0, of K.
        """
        if not self.momentum_rises:
            return self.momentum
        done = (progress.step - 1) / progress.steps
        return 1 - (1 - self.momentum) * (math.cos(math.pi * done) + 1) / 2


class Student(Network):
    """Encoder and head with a tail that only training needs; none of the tail is ever saved."""

    head: nn.Module

    def __init__(self, encoder: Encoder, head: nn.Module, tail: nn.Module) -> None:
        """``head`` maps (B, D) to (B, E), and ``tail`` that to what is compared."""
        super().__init__(encoder, head=head)
        self.tail = tail

    def answer(self, *pictures: Tensor) -> Tensor:
        """What is compared: (ΣB, …), in the order given.

        Args:
            pictures: (B, C, H, W) each, of any size. Each is a pass through the encoder, with its
                own statistics of BatchNorm.
        """
        pooled = torch.cat([self.encoder(some).pooled for some in pictures])
        answers: Tensor = self.tail(self.head(pooled))
        return answers


class TaughtObjective(Objective):
    """A method that compares a student with its teacher."""

    settings: TeacherSettings
    teacher: Student
    """There once `network` has built the student."""

    def __init__(self, settings: TeacherSettings) -> None:
        super().__init__()
        self.settings = settings

    def after_step(self, network: Network, batch: TileBatch, progress: Progress) -> None:
        """The teacher's weights follow. BatchNorm's averages are its own: of what it has seen."""
        del batch
        momentum = self.settings.momentum_at(progress)
        # For all weights at once, since a GPU waits longer for each call than it works on it.
        average = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
        leading = dict(network.named_parameters())
        following = dict(self.teacher.named_parameters())
        average(list(following.values()), [leading[name] for name in following], None)

    def trained_parameters(self, network: Network, step: int) -> Iterable[nn.Parameter]:  # noqa: ARG002
        """All that the network has, frozen parameters apart."""
        return [one for one in network.parameters() if one.requires_grad]

    def _taught(self, student: Student, *, with_tail: bool = False) -> Student:
        """The student, whose copy becomes the teacher; its tail is copied only ``with_tail``."""
        tail = student.tail if with_tail else nn.Identity()
        copied = Student(student.encoder, student.head, tail)
        self.teacher = copy.deepcopy(copied).requires_grad_(requires_grad=False)
        return student

    def _crossed(
        self,
        network: Network,
        views: Sequence[Tensor],
        loss: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """The loss of either view's answer and the teacher's to the other view, added up."""
        student = as_student(network)
        with torch.no_grad():
            taught = [self.teacher.answer(view) for view in views]
        first, second = (student.answer(view) for view in views)
        return loss(first, taught[1]) + loss(second, taught[0])


def as_student(network: Network) -> Student:
    """The network as what `TaughtObjective` builds."""
    assert isinstance(network, Student)
    return network
