"""Resuming, other settings, several processes, and kills at any moment."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.tiles.conftest import job_for
from wsi_tower.errors import (
    EmptySlideError,
    MaskError,
    OtherSettingsError,
    StoreBusyError,
)
from wsi_tower.records import folder_aside, held_lock
from wsi_tower.slides import shown_source
from wsi_tower.tiles import TileStore, tile_slide
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TILE_AGAIN = """
import sys
from pathlib import Path
from wsi_tower.slides import find_slides
from wsi_tower.tiles import TileJob, TileSettings, tile_slide
from wsi_tower.workspace import Workspace
slide, root = sys.argv[1:3]
job = TileJob(find_slides([slide])[0], Workspace(Path(root)), TileSettings(pixels="lossless"))
print("ready", flush=True)
print(tile_slide(job).status, flush=True)
"""


def digest_of(workspace: Workspace) -> str:
    with TileStore.open(workspace.tile_store("phantom")) as store:
        store.verify()
        return store.header.content_digest


def start(slide: Path, workspace: Workspace) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", TILE_AGAIN, str(slide), str(workspace.root)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_a_rerun_skips_what_is_done(phantom: Path, workspace: Workspace) -> None:
    job = job_for(phantom, workspace)
    first = tile_slide(job)
    written = workspace.tile_store("phantom").stat().st_mtime_ns
    second = tile_slide(job)
    assert (first.status, second.status) == ("done", "skipped")
    assert second.tiles == first.tiles > 0
    assert workspace.tile_store("phantom").stat().st_mtime_ns == written


def test_other_settings_are_refused_by_name_and_both_values(
    phantom: Path, workspace: Workspace
) -> None:
    tile_slide(job_for(phantom, workspace, tile_px=256))
    with pytest.raises(
        OtherSettingsError, match=r"tiles\.tile_px is 256 there and 224 now.*--overwrite"
    ):
        tile_slide(job_for(phantom, workspace, tile_px=224))


def test_overwrite_replaces(phantom: Path, workspace: Workspace) -> None:
    tile_slide(job_for(phantom, workspace))
    job = replace(job_for(phantom, workspace, tile_px=224), overwrite=True)
    assert tile_slide(job).status == "done"
    with TileStore.open(workspace.tile_store("phantom")) as store:
        assert store.plan.tile_px == 224


def test_overwrite_mends_a_broken_store(phantom: Path, workspace: Workspace) -> None:
    job = job_for(phantom, workspace)
    tile_slide(job)
    (workspace.tile_store("phantom") / "zarr.json").write_text("{")
    assert tile_slide(replace(job, overwrite=True)).status == "done"


def test_the_lists_target_resolution_wins(phantom: Path, workspace: Workspace) -> None:
    job = job_for(phantom, workspace, mpp=0.5)
    tile_slide(replace(job, entry=replace(job.entry, target_mpp=2.0)))
    with TileStore.open(workspace.tile_store("phantom")) as store:
        assert store.plan.target_mpp == 2.0


def test_an_empty_slide_says_the_numbers(phantom: Path, workspace: Workspace) -> None:
    with pytest.raises(EmptySlideError, match=r"0 have optical_density >= 5 \(highest: .*loosen"):
        tile_slide(job_for(phantom, workspace, min_optical_density=5.0))
    assert not workspace.tile_store("phantom").exists()


def test_a_missing_mask_is_named(phantom: Path, workspace: Workspace) -> None:
    job = job_for(phantom, workspace)
    with pytest.raises(
        MaskError, match=r"phantom\.svs has no tissue mask nowhere\.png .*\.geojson"
    ):
        tile_slide(replace(job, entry=replace(job.entry, tissue_mask="nowhere.png")))


def test_a_changed_mask_is_another_setting(
    phantom: Path, workspace: Workspace, tmp_path: Path
) -> None:
    job = job_for(phantom, workspace)
    tile_slide(job)
    mask = tmp_path / "phantom.geojson"
    outline = workspace.tile_store("phantom") / "tissue" / "outline.geojson"
    mask.write_bytes(outline.read_bytes())
    with pytest.raises(OtherSettingsError, match="tissue_mask is None there"):
        tile_slide(replace(job, entry=replace(job.entry, tissue_mask=str(mask))))


def test_an_outline_brought_back_gives_the_same_tissue(
    phantom: Path, workspace: Workspace, tmp_path: Path
) -> None:
    job = job_for(phantom, workspace)
    tile_slide(job)
    with TileStore.open(workspace.tile_store("phantom")) as store:
        found = store.tissue_labels == 1
        mask = tmp_path / "edited.geojson"
        mask.write_bytes((store.path / "tissue" / "outline.geojson").read_bytes())
    again = Workspace(tmp_path / "again").prepared()
    entry = replace(job.entry, tissue_mask=str(mask))
    tile_slide(replace(job, workspace=again, entry=entry))
    with TileStore.open(again.tile_store("phantom")) as store:
        back = store.tissue_labels == 1
    assert (found & back).sum() / (found | back).sum() > 0.97


def test_a_store_that_is_being_written_is_busy(phantom: Path, workspace: Workspace) -> None:
    path = workspace.tile_store("phantom")
    job = job_for(phantom, workspace)
    with held_lock(workspace.lock(path), wait=False) as state:
        assert state == "held"
        with pytest.raises(StoreBusyError, match="another process is writing"):
            tile_slide(job, wait=False)


def test_two_processes_share_one_workspace(phantom: Path, workspace: Workspace) -> None:
    processes = [start(phantom, workspace) for _ in range(2)]
    said = sorted(process.communicate(timeout=60)[0].split()[-1] for process in processes)
    assert said == ["done", "skipped"]
    digest_of(workspace)


@pytest.mark.parametrize(
    "moments",
    [(0.3, 0.9), pytest.param(np.linspace(0.02, 1.02, 40), marks=pytest.mark.slow)],
    ids=["two", "forty"],
)
def test_kill_at_any_moment_then_rerun_gives_the_same_digest(
    phantom: Path, workspace: Workspace, tmp_path: Path, moments: Sequence[float]
) -> None:
    untouched = Workspace(tmp_path / "untouched").prepared()
    process = start(phantom, untouched)
    assert process.stdout is not None
    process.stdout.readline()
    ready = time.monotonic()
    process.communicate(timeout=60)
    whole = time.monotonic() - ready
    expected = digest_of(untouched)
    for part in moments:
        killed = start(phantom, workspace)
        assert killed.stdout is not None
        killed.stdout.readline()
        time.sleep(part * whole)
        os.kill(killed.pid, signal.SIGKILL)
        killed.communicate()
        store = workspace.tile_store("phantom")
        if store.exists():
            assert digest_of(workspace) == expected
    start(phantom, workspace).communicate(timeout=60)
    assert digest_of(workspace) == expected
    left = {path.name for path in workspace.tiles.iterdir()}
    assert left == {"phantom.zarr"}, "what killed processes left is cleared"


def test_overwrite_makes_it_again_also_with_the_same_settings(
    phantom: Path, workspace: Workspace
) -> None:
    job = job_for(phantom, workspace)
    tile_slide(job)
    shard = workspace.tile_store("phantom") / "tiles" / "pixels" / "c.0.0.0.0"
    shard.write_bytes(b"damaged")
    assert tile_slide(job).status == "skipped"
    assert tile_slide(replace(job, overwrite=True)).status == "done"
    digest_of(workspace)


def test_overwriting_with_nothing_left_leaves_no_old_tiles(
    phantom: Path, workspace: Workspace
) -> None:
    tile_slide(job_for(phantom, workspace))
    job = replace(job_for(phantom, workspace, min_optical_density=5.0), overwrite=True)
    with pytest.raises(EmptySlideError):
        tile_slide(job)
    assert not workspace.tile_store("phantom").exists()


def test_without_locks_two_processes_still_end_well(
    phantom: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "no locks on this file system")

    monkeypatch.setattr("fcntl.flock", no_locks)
    job = job_for(phantom, workspace)
    with folder_aside(workspace.tile_store("phantom"), alone=False) as aside:
        (aside / "half-written").touch()
        assert tile_slide(job).status == "done"
        assert (aside / "half-written").exists(), "a living process's aside is left alone"
        shutil.rmtree(aside)
        shutil.copytree(workspace.tile_store("phantom"), aside)
    digest_of(workspace)


def test_secrets_of_signed_urls_stay_out_of_stores() -> None:
    assert (
        shown_source("https://user:pass@host/a/b.svs?X-Amz-Signature=SECRET#x")
        == "https://host/a/b.svs"
    )
    assert shown_source("slides/a.svs") == "slides/a.svs"
