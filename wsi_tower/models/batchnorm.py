"""BatchNorm over several GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm.layers

if TYPE_CHECKING:
    from torch import nn

__all__ = ["synchronise_batchnorm"]


def synchronise_batchnorm(module: nn.Module) -> None:
    """Put SyncBatchNorm in place of every BatchNorm below a module; weights and names stay.

    It takes its statistics over all processes that train together, which must be on GPUs. timm's
    own conversion knows the layers in which timm joins a norm and an activation; torch's would
    drop the activation.
    """
    layers: Any = timm.layers
    for name, child in list(module.named_children()):
        setattr(module, name, layers.convert_sync_batchnorm(child))
