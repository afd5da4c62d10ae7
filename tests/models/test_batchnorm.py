"""SyncBatchNorm in place of BatchNorm: the same weights under the same names."""

from __future__ import annotations

import timm
import torch
from torch import nn

from wsi_tower.models import synchronise_batchnorm


def test_every_batchnorm_is_replaced_and_nothing_else_changes() -> None:
    # Its layers join BatchNorm and activation; torch's own conversion drops the activation.
    network = nn.ModuleDict(
        {"encoder": timm.create_model("test_efficientnet"), "head": nn.BatchNorm1d(4)}
    )
    names = list(network.state_dict())
    parameters = [id(one) for one in network.parameters()]
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = network["encoder"].eval()(pictures)
    synchronise_batchnorm(network)
    kinds = [
        type(one) for one in network.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)
    ]
    assert kinds
    assert all(issubclass(kind, nn.SyncBatchNorm) for kind in kinds)
    assert list(network.state_dict()) == names
    assert [id(one) for one in network.parameters()] == parameters
    # In eval mode it needs neither GPU nor other processes.
    torch.testing.assert_close(network["encoder"](pictures), before)
