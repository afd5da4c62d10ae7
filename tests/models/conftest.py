"""Small models of timm, their weights and their folders."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch

from wsi_tower.models import (
    HeadSettings,
    Network,
    Origin,
    ProjectionHead,
    UNetDecoder,
    build_encoder,
    save_network,
)
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

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


ORIGIN = Origin(
    "tower-small",
    "tower",
    96,
    0.5,
    settings={"method": "tower", "steps": 10},
    parents={"tiles": "ab" * 16},
    training={"steps": 10, "loss": [1.5, 1.25]},
)


def network_of(architecture: str = SMALL, in_channels: int = 3) -> Network:
    """Encoder, head and decoder whose weights and averages are unlike new ones."""
    encoder = build_encoder(architecture, in_channels=in_channels)
    head = ProjectionHead(encoder.width, HeadSettings(16, hidden=24, norm="batch"))
    decoder = UNetDecoder.on(encoder, in_channels, (16, 8))
    network = Network(encoder, head=head, decoder=decoder, descriptor="head")
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.1)
    return network.eval()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "study").prepared()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "encoders" / "tower-small"
    save_network(folder, network_of(), ORIGIN)
    return folder


def record_values(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "encoder.json").read_text())
    return values
