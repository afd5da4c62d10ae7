"""Small stores and a tiny encoder, made once; every test has a workspace of its own with them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
import torch

from wsi_tower.models import (
    EncoderPlan,
    HeadSettings,
    Network,
    Origin,
    ProjectionHead,
    TimmEncoder,
    save_network,
)
from wsi_tower.phantom import PhantomSettings, write_phantoms
from wsi_tower.slides import find_slides
from wsi_tower.tiles import PixelMode, TileJob, TileSettings, tile_slide
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.models import Descriptor, EncoderRecord


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides of 1.5 × 1.2 mm at 1 µm/px."""
    folder = tmp_path_factory.mktemp("slides")
    write_phantoms(folder, PhantomSettings(2, width_um=1500, height_um=1200, mpp=1.0))
    return folder


@pytest.fixture(scope="session")
def tiled(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a store of either slide and an encoder ``tower``. Not to be written."""
    return tiled_as(slides, tmp_path_factory.mktemp("tiled"), "jpeg")


@pytest.fixture
def study(tiled: Path, tmp_path: Path) -> Workspace:
    """A workspace of one's own with what `tiled` has."""
    root = tmp_path / "study"
    # Links to files: a test that damages one puts a new one in its place.
    shutil.copytree(tiled, root, copy_function=os.link)
    return Workspace(root)


def tiled_as(slides: Path, root: Path, pixels: PixelMode, **settings: float) -> Path:
    """Tile slides into a workspace, 64 µm a tile, and put an encoder there."""
    workspace = Workspace(root).prepared()
    tiles = TileSettings(**({"mpp": 1.0, "tile_px": 64} | settings), pixels=pixels)  # type: ignore[arg-type]
    for entry in find_slides([str(slides)]):
        tile_slide(TileJob(entry, workspace, tiles))
    saved_encoder(workspace)
    return root


def saved_encoder(
    workspace: Workspace,
    name: str = "tower",
    *,
    method: str = "tower",
    mpp: float | None = 1.0,
    descriptor: Descriptor = "pooled",
    seed: int = 0,
) -> EncoderRecord:
    """A tiny encoder with a head of 8, as if a method had trained it."""
    torch.manual_seed(seed)
    encoder = TimmEncoder(EncoderPlan("test_resnet", input_px=64))
    head = ProjectionHead(encoder.width, HeadSettings(out=8))
    network = Network(encoder, head=head, descriptor=descriptor).eval()
    origin = Origin(name, method, 64, mpp, {"seed": seed})
    return save_network(workspace.encoders / name, network, origin)
