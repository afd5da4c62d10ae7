"""A folder of small phantom slides, and the command as a user types it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wsi_tower.phantom import PhantomSettings, write_phantoms

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides of 3 × 2.5 mm at 1 µm/px with a slide list beside them."""
    folder = tmp_path_factory.mktemp("slides")
    write_phantoms(folder, PhantomSettings(2, width_um=3000, height_um=2500, mpp=1.0))
    return folder
