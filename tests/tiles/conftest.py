"""Small phantom slides that the tests of tiling stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wsi_tower.phantom import PhantomSettings, write_phantom
from wsi_tower.slides import find_slides
from wsi_tower.tiles import TileJob, TileSettings
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 4 × 3 mm at 0.5 µm/px: 8000 × 6000 px, levels of 1 and 4 and 16."""
    path = tmp_path_factory.mktemp("slides") / "phantom.svs"
    write_phantom(path, PhantomSettings(1, width_um=4000, height_um=3000, mpp=0.5), 0)
    return path


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace").prepared()


def job_for(slide: Path, workspace: Workspace, **settings: object) -> TileJob:
    """A job with settings for its tiles."""
    (entry,) = find_slides([str(slide)])
    return TileJob(entry, workspace, TileSettings(**settings))  # type: ignore[arg-type]
