"""Whether features still tell tiles apart: their rank, and how far distant tiles lie apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from wsi_tower.models import Network

__all__ = ["Probe", "Watch", "distance_gap", "effective_rank", "watched"]

_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Probe:
    """Pictures that the watch looks at, the same all through a run: uint8 (B, C, H, W) each."""

    anchors: Tensor
    """Of any tiles."""
    near: Tensor | None = None
    """Of a near tile of each; None where nothing is known of places."""
    distant: Tensor | None = None
    """Of a distant tile of each."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What one look saw."""

    rank: float
    """`effective_rank` of the anchors' descriptors. 1: they have collapsed onto a line."""
    gap: float | None
    """`distance_gap`; None where nothing is known of places. About 1: places leave no trace."""


def watched(network: Network, probe: Probe) -> Watch:
    """Look at a network, as it would be used: without gradients, BatchNorm by its averages."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        anchors = _described(network, probe.anchors)
        gap = None
        if probe.near is not None and probe.distant is not None:
            near, distant = _described(network, probe.near), _described(network, probe.distant)
            gap = distance_gap(anchors, near, distant)
        return Watch(effective_rank(anchors), gap)
    finally:
        for module in training:
            module.training = True


def effective_rank(features: Tensor) -> float:
    """Number of directions that features (B, D) fill, from 1 to the smaller of B and D.

    exp of the entropy of the singular values as shares of their sum: Roy and Vetterli 2007, taken
    for a sign of collapse by Garrido et al. 2023 (RankMe). 0 where all features are 0, NaN where
    one is not finite.
    """
    if not features.isfinite().all():
        return float("nan")
    values = torch.linalg.svdvals(features.double().cpu())
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(torch.exp(-(shares * shares.log()).sum())) if len(shares) else 0.0


def distance_gap(anchors: Tensor, near: Tensor, distant: Tensor) -> float:
    """Mean distance of distant pairs over that of near ones; NaN where near ones coincide.

    The global average descriptor distance ratio (Gildenblat and Klaiman 2019). All are (B, D).
    """
    apart = (anchors.double() - distant.double()).norm(dim=1).mean()
    together = (anchors.double() - near.double()).norm(dim=1).mean()
    return float(apart / together) if together > 0 else float("nan")


@torch.no_grad()
def _described(network: Network, pictures: Tensor) -> Tensor:
    parts = [network.describe(part.float() / 255) for part in torch.split(pictures, _AT_ONCE)]
    return torch.cat(parts).float()
