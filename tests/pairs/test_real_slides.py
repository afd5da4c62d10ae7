"""Pairs on the two real Camelyon16 slides: 2 mm and 10 mm, as published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from wsi_tower.draws import Draws
from wsi_tower.pairs import PairSampler
from wsi_tower.slides import find_slides
from wsi_tower.tiles import TileJob, TileSettings, TileStore, tile_slide
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def centres_um(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[NDArray[np.float64]]:
    workspace = Workspace(tmp_path_factory.mktemp("camelyon")).prepared()
    folder = shared_data / "slides" / "dicom"
    names = ("camelyon16_lowres_jpeg.dcm", "camelyon16_lowres_jpeg2000.dcm")
    settings = TileSettings(mpp=28.97, tile_px=16, pixels="none")
    centres = []
    for entry in find_slides([str(folder / name) for name in names]):
        tile_slide(TileJob(entry, workspace, settings))
        with TileStore.open(workspace.tile_store(entry.slide_id)) as store:
            centres.append(store.centre_um)
    return centres


def test_both_kinds_of_partner_are_found(centres_um: list[NDArray[np.float64]]) -> None:
    sampler = PairSampler(centres_um)
    for slide, centres in enumerate(centres_um):
        distances = np.hypot(*(centres[:, None] - centres).T)
        own = slice(*sampler.slide_firsts[slide : slide + 2])
        has_near = (distances <= 2000).sum(axis=1) > 1
        assert (sampler.has_partner("near")[own] == has_near).all()
        assert (sampler.has_partner("distant")[own] == (distances.max(axis=1) > 10_000)).all()
    anchors = np.repeat(sampler.anchors("near", "distant"), 5)
    assert len(anchors) > 5 * 0.99 * len(sampler)
    draws = Draws(0, 0, np.arange(len(anchors)))
    near = sampler.distances_um(anchors, sampler.partners("near", anchors, draws))
    # Tiles lie 463.5 µm apart: nearer than that is only a tile to itself.
    assert near.min() == pytest.approx(16 * 28.968, abs=0.1)
    assert near.max() <= 2000
    distant = sampler.distances_um(anchors, sampler.partners("distant", anchors, draws))
    assert 10_000 < distant.min() < distant.max() < 50_000
