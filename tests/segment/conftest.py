"""A small tiled phantom with known nuclei, and a model that finds what is dark."""

from __future__ import annotations

import os
import shutil
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from tests.segment.standin import Darkness
from wsi_tower.embeddings import ForwardSettings
from wsi_tower.models import SegmenterOrigin, save_segmenter, segmenter_saved
from wsi_tower.phantom import PhantomSettings, write_phantoms
from wsi_tower.segment import SegmentJob, SegmentRecipe, SegmentSettings
from wsi_tower.slides import find_slides
from wsi_tower.tiles import TileJob, TileSettings, tile_slide
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 1.4 × 1.1 mm at 1 µm/px."""
    folder = tmp_path_factory.mktemp("slides")
    write_phantoms(folder, PhantomSettings(1, width_um=1400, height_um=1100, mpp=1.0))
    return folder


@pytest.fixture(scope="session")
def tiled(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with its store. Not to be written."""
    workspace = Workspace(tmp_path_factory.mktemp("tiled")).prepared()
    for entry in find_slides([str(slides)]):
        tile_slide(TileJob(entry, workspace, TileSettings(mpp=1.0, tile_px=64, pixels="none")))
    return workspace.root


@pytest.fixture(autouse=True)
def darkness_is_known() -> Iterator[None]:
    """Let models of `Darkness` be saved and loaded."""
    with pytest.MonkeyPatch.context() as patch:
        known = MappingProxyType({**segmenter_saved._SEGMENTERS, Darkness.kind: Darkness})
        patch.setattr(segmenter_saved, "_SEGMENTERS", known)
        yield


@pytest.fixture
def study(tiled: Path, tmp_path: Path, slides: Path) -> Workspace:
    """A workspace of one's own, with a model ``dark`` at 1 µm/px."""
    # The store knows its slide by a path from the workspace.
    root = tiled.parent / f"study-{tmp_path.parent.name}-{tmp_path.name}"
    shutil.copytree(tiled, root, copy_function=os.link)
    workspace = Workspace(root)
    saved_model(workspace)
    return workspace


def saved_model(workspace: Workspace, name: str = "dark", mpp: float | None = 1.0) -> None:
    origin = SegmenterOrigin(name, "finetune", ("nucleus",), mpp, 128)
    save_segmenter(workspace.model(name), Darkness(), origin)


def job_for(workspace: Workspace, *, overwrite: bool = False, **settings: object) -> SegmentJob:
    """The workspace's slide, by the model ``dark``."""
    from wsi_tower.models import load_segmenter

    told = SegmentSettings(**({"window_px": 160, "overlap_px": 32} | settings))  # type: ignore[arg-type]
    digest = load_segmenter("dark", workspace=workspace).record.header.content_digest
    forward = ForwardSettings(batch_size=4, device="cpu", threads=1)
    recipe = SegmentRecipe(workspace, "dark", "dark", digest, told, forward)
    return SegmentJob(workspace.tile_stores()[0], recipe, overwrite)
