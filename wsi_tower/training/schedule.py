"""Learning rate and weight decay of every step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsi_tower.training.settings import TrainSettings

__all__ = ["learning_rate", "weight_decay"]


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Learning rate of a step, counted from 0: a line up to ``lr``, then half a cosine down.

    The last step of the line has ``lr`` itself (Goyal et al. 2017, section 2.2), the last step of
    all has ``min_lr`` (Loshchilov and Hutter 2017, without restarts).
    """
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    falling = settings.steps - max(settings.warmup_steps, 1)
    fallen = min(1.0, (step - max(settings.warmup_steps - 1, 0)) / falling) if falling > 0 else 0.0
    share = (1 + math.cos(math.pi * fallen)) / 2
    return settings.min_lr + (settings.lr - settings.min_lr) * share


def weight_decay(step: int, settings: TrainSettings) -> float:
    """Weight decay of a step, counted from 0: half a cosine from the first to the last step.

    DINO (Caron et al. 2021) raises it tenfold.
    """
    first, last = settings.weight_decay, settings.final_weight_decay
    if last is None:
        return first
    done = step / (settings.steps - 1) if settings.steps > 1 else 0.0
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
