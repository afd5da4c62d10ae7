"""Tiles that are encoded anew lose no more chroma than their source has lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.tiles.conftest import job_for
from wsi_tower.geometry import LevelBox
from wsi_tower.jpeg import read_head
from wsi_tower.slides import open_slide
from wsi_tower.tiles import TileStore, tile_slide

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.workspace import Workspace


def first_stream(store: TileStore) -> bytes:
    shard = (store.path / "tiles" / "pixels" / "c.0.0.0.0").read_bytes()
    offset, count = np.frombuffer(shard[-(1024 * 16 + 4) : -4], "<u8")[:2]
    return shard[int(offset) : int(offset + count)]


@pytest.mark.parametrize(
    ("mpp", "expected"), [(0.5, "420"), (1.0, "444")], ids=["as it is", "resampled"]
)
def test_a_source_of_420(phantom: Path, workspace: Workspace, mpp: float, expected: str) -> None:
    tile_slide(job_for(phantom, workspace, mpp=mpp, pixels="jpeg"))
    with TileStore.open(workspace.tile_store("phantom")) as store:
        assert read_head(first_stream(store)).subsampling == expected


@pytest.mark.real
def test_a_source_of_444_stays_within_2_grey_levels(
    shared_data: Path, workspace: Workspace
) -> None:
    slide = shared_data / "slides" / "CMU-1-Small-Region.svs"
    tile_slide(job_for(slide, workspace))
    with TileStore.open(workspace.tile_store(slide.stem)) as store, open_slide(slide) as opened:
        assert read_head(first_stream(store)).subsampling == "444"
        compressed = opened.compressed_level(0)
        assert compressed is not None
        assert compressed.subsampling == "444"
        row = len(store) // 2
        x_l0, y_l0 = (int(value) for value in store.xy_l0[row])
        truth = opened.read_level_box(0, LevelBox(x_l0, y_l0, 256, 256)).astype(int)
        assert np.abs(store.pixels[row] - truth).mean() < 2.0
