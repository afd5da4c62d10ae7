"""`pretrain`: stores in, an encoder out, the same whatever happens in between."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.pretrain.conftest import tiled_at
from tests.pretrain.small_run import PAIRS, Heard, small_pretrain
from wsi_tower.errors import (
    CheckpointError,
    DivergedError,
    NoSlidesError,
    SettingsError,
    StoreBusyError,
    TooFewTilesError,
    TrainingError,
    WsiTowerError,
)
from wsi_tower.models import load_encoder
from wsi_tower.pairs import PairSettings
from wsi_tower.pretrain import OpenPictures, Plan, PretrainSettings
from wsi_tower.records import held_lock
from wsi_tower.runs import recorded_run
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums add up in one order in every process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stores(workspace: Path) -> list[TileStore]:
    return [TileStore.open(path) for path in Workspace(workspace).tile_stores()]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ------------------------------------------------------------------ what there is afterwards


def test_a_run_leaves_an_encoder_and_its_own_folder(workspace: Path) -> None:
    made = small_pretrain(workspace)
    assert made.encoder == workspace / "encoders" / "tower"
    assert made.run == workspace / "runs" / "tower"
    assert files(made.encoder) == {
        "encoder.json",
        "encoder.safetensors",
        "head.safetensors",
        "decoder.safetensors",
    }
    assert files(made.run) == {"run.json", "end.json", "log.csv", "checkpoints"}
    origin = made.record.origin
    assert (origin.method, origin.mpp, origin.input_px) == ("tower", 1.0, 32)
    assert list(origin.parents.values()) == [
        store.header.content_digest for store in stores(workspace)
    ]
    assert origin.training["steps"] == made.result.steps == 3
    told = json.loads((made.run / "run.json").read_text())
    assert (told["method"], told["preset"], told["training"]["steps"]) == ("tower", "small", 3)


def test_the_encoder_on_disk_is_the_one_that_was_trained(workspace: Path) -> None:
    heard = Heard()
    made = small_pretrain(workspace, watcher=heard)
    trained = heard.ingredients[0].network.eval()
    loaded = load_encoder("tower", workspace=Workspace(workspace)).network
    tiles = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        # The trained one's weights lie in memory otherwise, and sums add up in another order.
        torch.testing.assert_close(loaded.describe(tiles), trained.describe(tiles))
    assert made.record.shape.descriptor_width == 512


@pytest.mark.parametrize(
    ("method", "values", "parts"),
    [
        ("tower", {"restoration_weight": "0"}, {"encoder", "head"}),
        ("tower", {"contrast_weight": 0.0}, {"encoder", "decoder"}),
        ("tower", {"mask": "none"}, {"encoder", "head", "decoder"}),
        ("similarity", {}, {"encoder", "head"}),
        ("simclr", {}, {"encoder", "head"}),
        # Predictors and prototypes serve the training alone.
        ("byol", {"hidden_length": 64}, {"encoder", "head"}),
        ("moco", {"hidden_length": 64}, {"encoder", "head"}),
        ("dino", {"local_px": 16, "prototypes": 64}, {"encoder", "head"}),
    ],
)
def test_what_has_no_weight_is_not_built(
    workspace: Path, method: str, values: dict[str, object], parts: set[str]
) -> None:
    made = small_pretrain(workspace, method=method, method_values=values, steps=1)
    assert {path.stem for path in made.encoder.glob("*.safetensors")} == parts
    assert (made.strip is not None) == ("decoder" in parts)


def test_the_strip_shows_clean_corrupted_and_restored_tiles(workspace: Path) -> None:
    strip = small_pretrain(workspace, method_values={"intensity": "none"}).strip
    assert strip is not None
    assert strip.shape == (3, 8, 32, 32, 3)
    clean, corrupted, _ = strip
    # Without the intensity, what is not cut out is as it was. 0.33 of 32 x 32 cells: 338 pixels.
    cut = (corrupted == 0).all(axis=-1)
    assert (cut.sum(axis=(1, 2)) == 338).all()
    assert (clean == corrupted)[~cut].all()


# ------------------------------------------------------------------ the same weights


def test_a_seed_decides_the_weights(workspace: Path) -> None:
    made = [
        small_pretrain(workspace, name=f"run-{place}", seed=seed).record.header.content_digest
        for place, seed in enumerate((1, 1, 2))
    ]
    assert made[0] == made[1] != made[2]


def test_killed_and_resumed_is_as_never_stopped(workspace: Path, one_thread: None) -> None:
    values: dict[str, Any] = {"steps": 5, "train_values": {"checkpoint_every": 2}}
    whole = small_pretrain(workspace, name="whole", **values)
    command = [sys.executable, "-m", "tests.pretrain.small_run", str(workspace)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "3\n" in iter(process.stdout.readline, "")
        process.send_signal(signal.SIGKILL)
    assert files(workspace / "runs" / "tower" / "checkpoints") == {"step-00000002.pt"}
    assert not (workspace / "encoders" / "tower").exists()
    heard = Heard()
    resumed = small_pretrain(workspace, resume=True, watcher=heard, **values)
    assert heard.steps == [3, 4, 5]
    assert heard.resumed_after == [2]
    assert resumed.record.header.content_digest == whole.record.header.content_digest


def test_a_finished_run_resumed_changes_no_weight(workspace: Path) -> None:
    first = small_pretrain(workspace)
    log = (first.run / "log.csv").read_bytes()
    heard = Heard()
    again = small_pretrain(workspace, resume=True, watcher=heard)
    assert heard.steps == []
    assert again.record.digests == first.record.digests
    assert again.record.header.settings_digest == first.record.header.settings_digest
    assert again.record.origin == first.record.origin
    assert (again.run / "log.csv").read_bytes() == log


def test_a_moved_workspace_can_be_resumed(workspace: Path) -> None:
    first = small_pretrain(workspace)
    moved = workspace.rename(workspace.with_name("elsewhere"))
    again = small_pretrain(moved, resume=True)
    assert again.record.digests == first.record.digests


def test_other_tiles_are_another_run(workspace: Path) -> None:
    small_pretrain(workspace)
    shutil.rmtree(workspace / "tiles" / "phantom-02.zarr")
    with pytest.raises(CheckpointError, match=r"tiles\.1 phantom-02 is '\w+' there and None here"):
        small_pretrain(workspace, resume=True)


# ------------------------------------------------------------------ runs of one name


def test_a_run_is_never_overwritten_unasked(workspace: Path) -> None:
    small_pretrain(workspace)
    with pytest.raises(CheckpointError, match="--resume, begin again with --overwrite"):
        small_pretrain(workspace)
    with pytest.raises(CheckpointError, match="is of method tower, not simclr"):
        small_pretrain(workspace, method="simclr", name="tower", resume=True)
    made = small_pretrain(workspace, method="simclr", name="tower", overwrite=True, steps=2)
    assert made.record.origin.method == "simclr"
    assert not (made.encoder / "decoder.safetensors").exists()
    assert json.loads((made.run / "run.json").read_text())["method"] == "simclr"


@pytest.mark.parametrize("wrong", [{"method": "towr"}, {"backbone": "resnet1o"}, {"crop_px": 99}])
def test_overwrite_removes_nothing_for_a_run_that_cannot_begin(
    workspace: Path, wrong: dict[str, Any]
) -> None:
    made = small_pretrain(workspace)
    with pytest.raises(WsiTowerError):
        small_pretrain(workspace, name="tower", overwrite=True, **wrong)
    assert (made.run / "log.csv").exists()
    assert made.result.checkpoint.exists()


def test_an_attempt_that_left_no_checkpoint_leaves_no_settings_either(workspace: Path) -> None:
    with pytest.raises(DivergedError, match="there was no checkpoint yet"):
        small_pretrain(workspace, lr=1e9)
    assert not (workspace / "encoders").exists()
    made = small_pretrain(workspace, lr=1e-4)
    assert json.loads((made.run / "run.json").read_text())["training"]["lr"] == 1e-4


def test_weights_that_are_numbers_but_of_no_use_are_not_kept(workspace: Path) -> None:
    # One step of 1e30: every weight is finite, no feature is.
    with pytest.raises(DivergedError, match="at step 1, learning rate 1e"):
        small_pretrain(workspace, lr=1e30, steps=1, train_values={"watch_every": 1})
    assert not (workspace / "encoders").exists()
    assert not list((workspace / "runs" / "tower").glob("checkpoints/*"))


def test_a_run_says_how_it_ended_and_a_refused_attempt_changes_nothing(workspace: Path) -> None:
    home = Workspace(workspace)
    small_pretrain(workspace, steps=2)
    told = recorded_run(home, "tower")
    assert (told.status, told.step, told.slides) == ("finished", 2, 2)
    assert told.tiles == sum(map(len, stores(workspace)))
    assert set(told.last.losses) == {"loss", "contrast", "restoration"}
    with pytest.raises(CheckpointError):
        small_pretrain(workspace, steps=2)
    assert recorded_run(home, "tower").status == "finished"
    with pytest.raises(DivergedError):
        small_pretrain(workspace, name="wild", train_values={"lr": 1e30})
    wild = recorded_run(home, "wild")
    assert (wild.status, wild.reason, wild.encoder) == ("diverged", "diverged", None)
    assert "learning rate" in wild.message
    stale = {"patience": 1, "lr": 1e-9}
    small_pretrain(workspace, name="stale", steps=50, train_values=stale)
    assert recorded_run(home, "stale").status == "stopped early"


def test_a_plan_knows_a_run_before_its_network_is_built(workspace: Path) -> None:
    home = Workspace(workspace)
    small_pretrain(workspace, steps=2)
    digest = recorded_run(home, "tower").settings_digest

    def planned(**values: Any) -> str:
        known: dict[str, Any] = {
            "steps": 2,
            "batch_size": 8,
            "backbone": "resnet10t",
            "crop_px": 32,
        }
        known |= {"pairs": PAIRS, "device": "cpu"}
        settings = PretrainSettings(**(known | values))
        with closing(OpenPictures([home], print)) as opened:
            return Plan.resolved(settings, opened, print).settings_digest

    # The watch and the threads move no weight.
    assert planned() == planned(train_values={"threads": 3}) == digest
    assert planned(seed=1) != digest
    assert planned(method_values={"temperature": 0.2}) != digest


def test_one_run_at_a_time(workspace: Path) -> None:
    home = Workspace(workspace).prepared()
    with (
        held_lock(home.lock(home.run("tower")), wait=False),
        pytest.raises(StoreBusyError, match=r"another process is training .*runs/tower"),
    ):
        small_pretrain(workspace)


def test_what_cannot_begin_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NoSlidesError, match="typo has no tile stores"):
        small_pretrain(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


# ------------------------------------------------------------------ partners


def test_only_a_method_of_pairs_needs_partners(workspace: Path) -> None:
    for method in ("tower", "simclr", "byol"):
        heard = Heard()
        small_pretrain(workspace, method=method, watcher=heard, steps=1)
        assert heard.messages == []
        (parts,) = heard.ingredients
        assert len(parts.feed.order.anchors) == sum(map(len, stores(workspace)))
        assert next(parts.feed.steps(0, 1)).batch.is_near is None


def test_anchors_without_partners_are_told_and_left_out(workspace: Path) -> None:
    heard = Heard()
    pairs = PairSettings(near_um=200, far_um=2000)
    small_pretrain(workspace, method="similarity", watcher=heard, steps=1, pairs=pairs)
    lonely, total = 0, 0
    for store in stores(workspace):
        apart = np.hypot(*(store.centre_um[:, None] - store.centre_um).T)
        has_both = ((apart <= 200).sum(axis=1) > 1) & (apart > 2000).any(axis=1)
        lonely, total = lonely + int((~has_both).sum()), total + len(store)
    assert 0 < lonely < total
    (message,) = heard.messages
    assert message.startswith(f"{lonely:,} of {total:,} tiles lack a near or a distant partner")
    assert len(heard.ingredients[0].feed.order.anchors) == total - lonely


def test_no_partner_at_all_is_an_error(workspace: Path) -> None:
    with pytest.raises(TooFewTilesError, match="0 tiles with a near or distant partner") as caught:
        small_pretrain(
            workspace, method="similarity", pairs=PairSettings(near_um=200, far_um=90_000)
        )
    assert "lower batch_size" not in str(caught.value)
    assert "choose other distances" in str(caught.value)


# ------------------------------------------------------------------ several workspaces


def test_the_first_of_several_workspaces_takes_what_is_made(
    workspace: Path, slides: Path, tmp_path: Path
) -> None:
    other = tiled_at(slides, tmp_path / "coarse", mpp=2, tile_px=64)
    with pytest.raises(TrainingError, match=r"coarse/tiles/\S+ has 2 µm/px and \S+ 1;.*--mix"):
        small_pretrain(workspace, other)
    made = small_pretrain(workspace, other, mix=True, steps=1)
    assert made.encoder.parent.parent == workspace
    assert not (other / "runs").exists()
    assert len(made.record.origin.parents) == 4
    assert made.record.origin.mpp == 1.5


def test_tiles_of_another_size_never_mix(workspace: Path, slides: Path, tmp_path: Path) -> None:
    other = tiled_at(slides, tmp_path / "large", mpp=1, tile_px=96)
    with pytest.raises(TrainingError, match=r"tiles of 96 px and .* of 64 px"):
        small_pretrain(workspace, other, mix=True)


def test_no_tile_counts_twice(workspace: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(workspace / "tiles", copy / "tiles")
    heard = Heard()
    made = small_pretrain(workspace, workspace, copy, watcher=heard, steps=1)
    assert len(made.record.origin.parents) == 2
    assert len(heard.messages) == 2
    assert "holds the same tiles as" in heard.messages[0]
    assert str(copy) in heard.messages[0]


# ------------------------------------------------------------------ flat images


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for place in range(3):
        pixels = rng.integers(0, 256, (100, 130), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    return folder


def test_grey_images_give_an_encoder_of_one_channel(photos: Path, tmp_path: Path) -> None:
    made = small_pretrain(tmp_path / "study", images=photos)
    assert made.strip is not None
    assert made.strip.shape[-1] == 1
    assert made.record.origin.mpp is None
    assert made.record.shape.plan.in_channels == 1
    weights = load_file(made.encoder / "encoder.safetensors")
    first = next(value for value in weights.values() if value.ndim == 4)
    assert first.shape[1] == 1


def test_changed_images_are_another_run(photos: Path, tmp_path: Path) -> None:
    small_pretrain(tmp_path / "study", images=photos)
    (photos / "1.png").unlink()
    with pytest.raises(CheckpointError, match=r"tiles\.0 images is"):
        small_pretrain(tmp_path / "study", images=photos, resume=True)


def test_images_have_no_places_to_pair_by(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"near or distant one.*have no places.*tile stores"):
        small_pretrain(tmp_path / "study", images=photos, method="similarity")


# ------------------------------------------------------------------ first weights


def test_weights_from_a_file_are_known_by_content(workspace: Path, tmp_path: Path) -> None:
    first = small_pretrain(workspace)
    file = tmp_path / "begin.safetensors"
    shutil.copyfile(first.encoder / "encoder.safetensors", file)
    values: dict[str, Any] = {"name": "second", "weights": file, "steps": 2}
    still = small_pretrain(workspace, **values, lr=1e-30)
    before, after = load_file(file), load_file(still.encoder / "encoder.safetensors")
    assert torch.equal(before["conv1.0.weight"], after["conv1.0.weight"])
    shutil.copyfile(still.encoder / "encoder.safetensors", file)
    with pytest.raises(CheckpointError, match=r"weights is '\w+' there and '\w+' here"):
        small_pretrain(workspace, **values, lr=1e-30, resume=True)


@pytest.mark.parametrize("parts", [{"batch_size": 1}, {"train_values": {"accumulate": 8}}])
def test_one_tile_cannot_be_compared(workspace: Path, parts: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="take 2 or more"):
        small_pretrain(workspace, **parts)
