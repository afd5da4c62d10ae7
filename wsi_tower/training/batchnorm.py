"""BatchNorm over the global batch, so that a run does not depend on how many ranks share it.

A rank's share is small, and running averages of its own would drift from those of the others. On
GPUs torch's SyncBatchNorm does this; it refuses a CPU, where it is done here.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from wsi_tower.models import synchronise_batchnorm
from wsi_tower.training.ranks import gathered, is_joined

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

__all__ = ["normed_together", "over_ranks"]


def over_ranks(module: nn.Module, device: torch.device) -> None:
    """Let a module's BatchNorm see all ranks' samples where that is a matter of its layers."""
    if is_joined() and device.type == "cuda":
        synchronise_batchnorm(module)


def normed_together(device: torch.device) -> AbstractContextManager[object]:
    """Let BatchNorm in the block see all ranks' samples where it is not a matter of layers."""
    return _NormedTogether() if is_joined() and device.type == "cpu" else nullcontext()


class _NormedTogether(TorchFunctionMode):
    """Takes the place of torch's function, which every kind of BatchNorm layer calls."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        values = kwargs or {}
        if func is functional.batch_norm:
            return _batch_norm(*args, **values)
        return func(*args, **values)


def _batch_norm(  # noqa: PLR0913, PLR0917  as torch calls it
    samples: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return functional.batch_norm(
            samples, running_mean, running_var, weight, bias, training, momentum, eps
        )
    mean, variance, ranks = _moments(samples.float())
    if running_mean is not None and running_var is not None:
        count = samples.numel() // samples.shape[1] * ranks
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * count / (count - 1), momentum)
    shape = (1, -1, *(1 for _ in samples.shape[2:]))
    scale = torch.rsqrt(variance + eps) if weight is None else weight * torch.rsqrt(variance + eps)
    normed = (samples.float() - mean.view(shape)) * scale.view(shape)
    normed = normed if bias is None else normed + bias.view(shape)
    return normed.to(samples.dtype)


def _moments(samples: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and variance of each channel over all ranks, which have as many samples each; (C,)."""
    axes = [axis for axis in range(samples.ndim) if axis != 1]
    variance, mean = torch.var_mean(samples, axes, correction=0)
    means, variances = gathered(torch.stack([mean, variance]).unsqueeze(0)).unbind(1)
    mean = means.mean(dim=0)
    # The variance within ranks, and that between them.
    return mean, (variances + (means - mean).square()).mean(dim=0), len(means)
