"""Two small slides in stores, and pictures that need no disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.tiles.conftest import job_for
from wsi_tower.phantom import PhantomSettings, write_phantom
from wsi_tower.tiles import tile_slide
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two slides of 0.9 × 0.7 mm at 0.5 µm/px."""
    folder = tmp_path_factory.mktemp("slides")
    paths = [folder / "one.svs", folder / "two.svs"]
    for number, path in enumerate(paths):
        settings = PhantomSettings(1, width_um=900, height_um=700, mpp=0.5)
        write_phantom(path, settings, number)
    return paths


@pytest.fixture(scope="session")
def stores(slides: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Their stores of JPEG tiles of 256 px."""
    return stored(slides, tmp_path_factory.mktemp("stores"))


def stored(slides: list[Path], folder: Path, **settings: object) -> list[Path]:
    """Stores of slides, in a workspace of their own."""
    workspace = Workspace(folder / "workspace").prepared()
    for slide in slides:
        assert tile_slide(job_for(slide, workspace, min_tissue=0.0, **settings)).status == "done"
    return [workspace.tile_store(slide.stem) for slide in slides]
