"""Students and teachers to try methods on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tests.training.toys import ToyEncoder
from wsi_tower.models import build_encoder

if TYPE_CHECKING:
    from wsi_tower.models import Encoder, TimmEncoder
    from wsi_tower.pretrain.teacher import Student, TaughtObjective

VIT: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}


def small_vit() -> TimmEncoder:
    """A plain transformer of two blocks, for pictures of 32 px and of any multiple of 8."""
    return build_encoder("vit_tiny_patch16_224", model_args=VIT)


def student_of(objective: TaughtObjective, encoder: Encoder | None = None) -> Student:
    """The student that an objective builds, on the toy encoder unless there is another."""
    network: Any = objective.network(encoder or ToyEncoder())
    student: Student = network
    return student


def grown_apart(objective: TaughtObjective) -> Student:
    """A student that has left its teacher behind; both in eval mode, so that samples are alone."""
    torch.manual_seed(0)
    student = student_of(objective)
    with torch.no_grad():
        for own in student.parameters():
            own.add_(0.3 * own.std(correction=0).nan_to_num(0) * torch.randn_like(own))
    objective.eval()
    return student.eval()
