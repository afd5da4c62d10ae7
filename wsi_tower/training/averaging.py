"""Objective and network as one module, whose gradients are averaged over ranks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from wsi_tower.training.ranks import is_joined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from wsi_tower.models import Network
    from wsi_tower.training.objective import Loss, Objective, TensorDraws, TileBatch

__all__ = ["added_up", "averaged"]


class _Whole(nn.Module):
    """Its forward is the loss of a batch: the total, and its parts by name."""

    def __init__(self, objective: Objective, network: Network) -> None:
        super().__init__()
        self.objective, self.network = objective, network

    def forward(self, batch: TileBatch, draws: TensorDraws) -> tuple[Tensor, dict[str, Tensor]]:
        loss: Loss = self.objective(self.network, batch, draws)
        return loss.total, loss.parts

    def named_buffers(self, *args: Any, **values: Any) -> Iterator[tuple[str, Tensor]]:
        """None: they stay alike by themselves, and banks of gigabytes need not travel."""
        del args, values
        return iter(())


def averaged(objective: Objective, network: Network) -> nn.Module:
    """A module that gives a batch's loss, and its gradients as the mean over all ranks.

    They travel while the backward pass still runs. All ranks begin with the parameters of rank 0.
    """
    whole = _Whole(objective, network)
    if not is_joined():
        return whole
    # Methods leave parts out at some steps, and encoders have layers that some methods ignore.
    return DistributedDataParallel(whole, find_unused_parameters=True)


def added_up(module: nn.Module) -> AbstractContextManager[None]:
    """A block in which gradients add up on each rank, to be averaged after it."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()
