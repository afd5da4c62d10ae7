"""DINO's prototypes, and the centre that keeps any one of them from taking all tiles."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsi_tower.training import mean_over_ranks

__all__ = ["Centre", "Prototypes"]


class Prototypes(nn.Linear):
    """Scores of vectors by K learnt directions: a layer without bias, its rows of length 1.

    Weight normalisation (Salimans and Kingma 2016) with lengths that are fixed, or learnt apart.
    """

    def __init__(self, in_width: int, count: int, *, learns_lengths: bool = False) -> None:
        """``in_width`` is E, ``count`` K."""
        super().__init__(in_width, count, bias=False)
        self.lengths = nn.Parameter(torch.ones(count)) if learns_lengths else None

    def forward(self, vectors: Tensor) -> Tensor:
        """Scores (B, K) of vectors (B, E); in float32, since temperatures multiply them by 25."""
        with torch.autocast(vectors.device.type, enabled=False):
            scores = functional.linear(vectors.float(), functional.normalize(self.weight, dim=1))
            return scores if self.lengths is None else scores * self.lengths


class Centre(nn.Module):
    """A moving average of a teacher's scores; what they have beyond it tells prototypes apart."""

    mean: Tensor
    """The centre: (K,)."""

    def __init__(self, count: int, momentum: float) -> None:
        """``momentum`` is the part of the centre that a move leaves as it is."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(count))
        self._momentum = momentum
        self._heard: list[Tensor] = []

    def forward(self, scores: Tensor) -> Tensor:
        """Scores (B, K) from the centre on."""
        return scores - self.mean

    def hear(self, scores: Tensor) -> None:
        """Keep scores (B, K) in mind for the next move: no part of any state, as a gradient."""
        self._heard.append(scores.mean(dim=0))

    def move(self) -> None:
        """Towards the mean of what was heard since the last move, on all ranks."""
        if self._heard:
            heard = mean_over_ranks(torch.stack(self._heard).mean(dim=0))
            self._heard.clear()
            self.mean.lerp_(heard, 1 - self._momentum)
