"""Tile stores of small phantoms, made once; every test has a workspace of its own with them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from wsi_tower.cli.main import cli
from wsi_tower.phantom import PhantomSettings, write_phantoms

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides of 3 × 2 mm at 1 µm/px."""
    folder = tmp_path_factory.mktemp("slides")
    write_phantoms(folder, PhantomSettings(2, width_um=3000, height_um=2000, mpp=1.0))
    return folder


@pytest.fixture(scope="session")
def tiled(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a store of either slide, in tiles of 64 µm. Not to be written."""
    return tiled_at(slides, tmp_path_factory.mktemp("tiled"), mpp=1, tile_px=64)


@pytest.fixture
def workspace(tiled: Path, tmp_path: Path) -> Path:
    """A workspace of one's own with the stores of `tiled`."""
    root = tmp_path / "study"
    # Links to files: a test that damages one puts a new one in its place.
    shutil.copytree(tiled / "tiles", root / "tiles", copy_function=os.link)
    return root


def tiled_at(slides: Path, workspace: Path, *, mpp: float, tile_px: int) -> Path:
    """Tile slides into a workspace."""
    arguments = ["tile", str(slides), "-w", str(workspace), "--no-report", "-j", "1"]
    arguments += ["--mpp", str(mpp), "--tile-px", str(tile_px)]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return workspace
