"""Optimisers by name, and LARS, which torch has not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wsi_tower.training.settings import TrainSettings

__all__ = ["Lars", "optimiser_for"]


def optimiser_for(network: nn.Module, settings: TrainSettings) -> Optimizer:
    """The optimiser of a network's parameters, those that want no gradient apart.

    Weight decay reaches weights of two axes or more, which are the first group; biases and the
    scales of norms have one.
    """
    wanted = [one for one in network.parameters() if one.requires_grad]
    weights = [one for one in wanted if one.ndim > 1]
    others = [one for one in wanted if one.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": settings.weight_decay}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    lr, momentum = settings.lr, settings.betas[0]
    match settings.optimiser:
        case "adamw":
            return AdamW(groups, lr, settings.betas)
        case "adam":
            return Adam(groups, lr, settings.betas)
        case "sgd":
            return SGD(groups, lr, momentum)
        case "lars":
            return Lars(groups, lr, momentum)


class Lars(Optimizer):
    """Layer-wise adaptive rate scaling (You, Gitman and Ginsburg 2017, algorithm 1).

    Each weight's step is as long as its norm asks: rate · trust · ‖w‖ / (‖g‖ + decay · ‖w‖).
    Parameters of one axis take plain momentum steps, as SimCLR and BYOL have it.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        trust: float = 1e-3,
    ) -> None:
        """``params`` are groups with their ``weight_decay``."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the parameters that have a gradient. ``closure`` is not for it."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)

    def _move(self, parameter: nn.Parameter, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        change = parameter.grad
        if parameter.ndim > 1:
            decay = group["weight_decay"]
            rate = _trust_ratio(parameter, change, decay, group["trust"])
            change = (change + decay * parameter) * rate
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        speed: Tensor = state["momentum"]
        speed.mul_(group["momentum"]).add_(change, alpha=group["lr"])
        parameter.sub_(speed)


def _trust_ratio(weight: Tensor, gradient: Tensor, decay: float, trust: float) -> Tensor:
    """Layer's share of the rate; 1 where weight or gradient are still 0."""
    length, slope = weight.norm(), gradient.norm()
    ratio = trust * length / (slope + decay * length)
    return torch.where((length > 0) & (slope > 0), ratio, torch.ones_like(ratio))
