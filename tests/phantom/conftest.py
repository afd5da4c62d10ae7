from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wsi_tower.phantom import PhantomSettings, write_phantoms

if TYPE_CHECKING:
    from pathlib import Path

SMALL = PhantomSettings(
    slides=2, width_um=4000, height_um=3000, mpp=2, tile_px=64, seed=5, pen_every=2
)
"""2000 × 1500 px; levels of 500 × 375 and 125 × 93 px; a green pen on the second slide."""


@pytest.fixture(scope="session")
def small() -> PhantomSettings:
    return SMALL


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, SMALL)
    return folder
