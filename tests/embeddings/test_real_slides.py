"""Real slides: the same vectors from copied streams and from the slide; the built-in references."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.embeddings.conftest import saved_encoder
from tests.embeddings.test_embedding import CPU
from wsi_tower.embeddings import (
    EmbedJob,
    EmbedSettings,
    EncoderChoice,
    Recipe,
    embed_slide,
    load_tile_encoder,
    open_cache,
    stain_of_store,
)
from wsi_tower.slides import find_slides
from wsi_tower.stain import LabStatistics, StainReference, StainVectors
from wsi_tower.tiles import PixelMode, TileJob, TileSettings, TileStore, tile_slide
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real
SLIDE = "CMU-1-Small-Region"


def tiled(shared_data: Path, root: Path, pixels: PixelMode) -> Workspace:
    workspace = Workspace(root).prepared()
    (entry,) = find_slides([str(shared_data / "slides" / f"{SLIDE}.svs")])
    tile_slide(TileJob(entry, workspace, TileSettings(tile_px=240, pixels=pixels)))
    return workspace


def test_copied_streams_and_the_slide_itself_give_the_same_vectors(
    shared_data: Path, tmp_path: Path
) -> None:
    features = []
    modes: tuple[PixelMode, ...] = ("native", "none")
    for pixels in modes:
        workspace = tiled(shared_data, tmp_path / pixels, pixels)
        saved_encoder(workspace, mpp=0.5)
        choice = EncoderChoice(method="tower").resolved(workspace)
        digest = load_tile_encoder(choice, workspace).digest
        recipe = Recipe(workspace, choice, digest, "tower", EmbedSettings(), CPU)
        assert embed_slide(EmbedJob(workspace.tile_store(SLIDE), recipe)).status == "done"
        features.append(open_cache(workspace.embedding_cache("tower", SLIDE)).features)
    assert features[0].shape[0] == 55
    np.testing.assert_allclose(features[0], features[1], atol=1e-5)


def test_the_built_in_references_are_those_of_the_slide_that_they_name(
    shared_data: Path, tmp_path: Path
) -> None:
    workspace = tiled(shared_data, tmp_path, "native")
    with TileStore.open(workspace.tile_store(SLIDE)) as store:
        lab, _ = stain_of_store(store, "reinhard")
        dyes, _ = stain_of_store(store, "macenko")
    built_in = StainReference.built_in("reinhard").statistics
    assert isinstance(lab, LabStatistics)
    assert isinstance(built_in, LabStatistics)
    np.testing.assert_allclose(built_in.mean, lab.mean, atol=0.1)
    np.testing.assert_allclose(built_in.std, lab.std, atol=0.1)
    vectors = StainReference.built_in("macenko").statistics
    assert isinstance(dyes, StainVectors)
    assert isinstance(vectors, StainVectors)
    np.testing.assert_allclose(vectors.haematoxylin, dyes.haematoxylin, atol=0.005)
    np.testing.assert_allclose(vectors.eosin, dyes.eosin, atol=0.005)
    np.testing.assert_allclose(vectors.most, dyes.most, atol=0.01)
