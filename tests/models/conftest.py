"""Small models of timm, made for tests of weights and folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch

if TYPE_CHECKING:
    from torch import nn

SMALL, SMALL_VIT = "test_resnet", "test_vit"
"""Of timm's own tests: half a million weights or less."""


@pytest.fixture
def small() -> nn.Module:
    """A classifier with weights, BatchNorm's averages too, that no other build has."""
    return trained(SMALL)


def trained(name: str, **options: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model: nn.Module = timm.create_model(name, **options)
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.1)
    return model.eval()
