"""Who this process is among those that train one network together, and what they tell each other.

`torchrun` starts a process for each GPU, or some on a CPU, and tells each by its environment who it
is. A process that was started without it is alone, and everything here is then the identity.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch import distributed as dist

from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Ranks", "gathered", "is_joined", "mean_over_ranks"]


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this one is."""

    rank: int = 0
    """Its number, from 0."""
    size: int = 1
    """How many there are."""
    local_rank: int = 0
    """Its number on this machine, which is that of its GPU."""
    local_size: int = 1
    """How many there are on this machine."""

    @classmethod
    def here(cls, environment: Mapping[str, str] | None = None) -> Ranks:
        """This process, as the variables of `torchrun` say; alone where there are none.

        Raises:
            SettingsError: they contradict each other.
        """
        told = os.environ if environment is None else environment
        if "RANK" not in told or "WORLD_SIZE" not in told:
            return cls()
        rank, size = _count("RANK", told, 0), _count("WORLD_SIZE", told, 1)
        local_rank = _count("LOCAL_RANK", told, 0, default=rank)
        local_size = _count("LOCAL_WORLD_SIZE", told, 1, default=size)
        if rank >= size or local_rank >= local_size:
            raise SettingsError(
                f"RANK {rank} of WORLD_SIZE {size}, LOCAL_RANK {local_rank} of LOCAL_WORLD_SIZE "
                f"{local_size}: ranks count from 0 to below the size; start with torchrun"
            )
        return cls(rank, size, local_rank, local_size)

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1


def gathered(samples: Tensor) -> Tensor:
    """What all ranks have, in the order of the global batch: (B, …) of each, (ranks · B, …) of all.

    All ranks must call it, with as many samples. The gradient of a sample is the sum over what each
    rank made of it, so that averaging the ranks' gradients of the weights, as the loop does, gives
    the gradient of the mean of their losses. Alone it is the identity.
    """
    if not is_joined():
        return samples
    everything: Tensor = _Gathered.apply(samples)
    return everything


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of what each rank has, of any shape: a centre, a statistic, a loss.

    It is the same on every rank, to the last bit, and differentiable as `gathered` is.
    """
    return gathered(value.unsqueeze(0)).mean(dim=0) if is_joined() else value


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, samples: Tensor) -> Tensor:
        ctx.samples = len(samples)
        samples = samples.contiguous()
        parts = [torch.empty_like(samples) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, samples)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        own: int = dist.get_rank() * ctx.samples
        return total[own : own + ctx.samples]


def is_joined() -> bool:
    """Whether this process has joined others; see `joined_ranks`."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _count(name: str, told: Mapping[str, str], least: int, *, default: int | None = None) -> int:
    text = told.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdecimal() or int(text) < least:
        raise SettingsError(
            f"the variable {name} is {text!r}; start with torchrun, which sets it to a number of "
            f"{least} or more, or unset it"
        )
    return int(text)
