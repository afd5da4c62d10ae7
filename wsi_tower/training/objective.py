"""One interface for every method: which pixels meet, what is compared, what is trained.

Which tiles are drawn is the feed's business and how weights move is the loop's; neither knows a
method by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsi_tower.draws import Draws
    from wsi_tower.models import Encoder, Network

__all__ = ["Loss", "Objective", "Partner", "Progress", "TensorDraws", "TileBatch", "ViewPlan"]

Partner: TypeAlias = Literal["same", "near", "distant", "near-or-distant"]
"""Whose pixels the second view shows: the same tile's, a near tile's, a distant one's, or of one
of the two kinds by a fair coin."""


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """Which views of which tiles an objective compares."""

    views: int = 2
    """Augmented views at full crop size."""
    partner: Partner = "same"
    """Whose tile every view but the first shows."""
    local_views: int = 0
    """Further views of the anchor, each a smaller crop."""
    local_px: int = 96
    """Side of those."""


@dataclass(frozen=True, slots=True)
class TileBatch:
    """B samples, ready on the device."""

    views: tuple[Tensor, ...]
    """(B, C, H, W) each, values in [0, 1]; the first shows the anchors."""
    anchors: Tensor
    """Number of each sample's anchor among all tiles: int64 (B,)."""
    local_views: tuple[Tensor, ...] = ()
    """Smaller crops of the anchors."""
    is_near: Tensor | None = None
    """Whether the partner is near its anchor: bool (B,); None where partners are of one kind."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a step minimises."""

    total: Tensor
    """A scalar with gradient."""
    parts: dict[str, Tensor] = field(default_factory=dict)
    """Terms to log: scalars without gradient, by name."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands."""

    step: int
    """Steps done, counted from 1 after the first."""
    steps: int
    """Steps in all."""


class TensorDraws:
    """Random numbers of one batch as tensors on a device, keyed by sample as `Draws` are."""

    def __init__(self, draws: Draws, device: torch.device) -> None:
        self._draws = draws
        self.device = device

    def __len__(self) -> int:
        return len(self._draws)

    def uniform(self, stream: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers in [low, high): float32 (B, *shape)."""
        return self._tensor(low + (high - low) * self._draws.uniform(stream, *shape))

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal numbers: float32 (B, *shape)."""
        return self._tensor(self._draws.normal(stream, *shape))

    def chance(self, stream: str, probability: float) -> Tensor:
        """Whether an event of this probability happens to each sample: bool (B,)."""
        return torch.from_numpy(self._draws.uniform(stream) < probability).to(self.device)

    def below(self, stream: str, bound: int) -> Tensor:
        """An integer from 0 up to, not with, ``bound`` for each sample: int64 (B,)."""
        return torch.from_numpy(self._draws.below(stream, bound)).to(self.device)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device, non_blocking=True)


class Objective(nn.Module, ABC):
    """A method: its views, its network and its loss. State of its own lives in buffers."""

    def begin(self, tiles: int, seed: int) -> None:
        """Hear how many tiles there are, before all else: a memory bank has an entry for each.

        Args:
            tiles: how many; the anchors of batches are numbered below.
            seed: of every draw.

        Raises:
            TooFewTilesError: the method needs more.
        """

    @abstractmethod
    def views(self) -> ViewPlan:
        """Which views it compares."""

    @abstractmethod
    def network(self, encoder: Encoder) -> Network:
        """The encoder with the parts that the settings use, and no others."""

    @abstractmethod
    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        """The loss of a batch. Moves no state but BatchNorm's; random by ``draws`` alone.

        A batch's loss does not depend on the order of its samples.
        """

    def trained_parameters(self, network: Network, step: int) -> Iterable[nn.Parameter]:  # noqa: ARG002
        """What this step must reach with a gradient: all that the network has."""
        return network.parameters()

    def learnt(self, network: Network) -> Network:
        """What a run is for: the network, or what follows it."""
        return network

    def after_step(self, network: Network, batch: TileBatch, progress: Progress) -> None:
        """Move what follows the weights: averaged copies, memory banks; in buffers only."""

    def is_over(self) -> bool:
        """Whether it has learnt what it can; the run ends with the step just done."""
        return False
