"""From labelled pictures to a model: what is learnt, what is kept, what is left behind."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tests.segment.finetune.discs import discs, settings_for, with_training, write_discs
from wsi_tower.errors import (
    CheckpointError,
    EncoderError,
    SettingsError,
    StorageError,
    StoreBusyError,
)
from wsi_tower.models import (
    HeadSettings,
    Network,
    Origin,
    ProjectionHead,
    Segmenter,
    UNetDecoder,
    build_encoder,
    load_segmenter,
    save_network,
)
from wsi_tower.records import held_lock
from wsi_tower.segment.finetune import (
    FinetuneWatcher,
    LabelledPicture,
    finetune_unet,
    mean_dice,
    picture_probabilities,
    start_of,
)
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from torch import Tensor

    from wsi_tower.training import Progress

REAL = Path(__file__).parents[4] / "shared" / "data" / "nuclei" / "monuseg_train"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_discs(tmp_path_factory.mktemp("discs"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "study")


def rows(workspace: Workspace, name: str = "finetune-random") -> list[dict[str, str]]:
    with (workspace.run(name) / "log.csv").open() as file:
        return list(csv.DictReader(file))


def pretrained(workspace: Workspace, *, decoder: bool = True, **values: Any) -> Network:
    """A network in the workspace as pre-training leaves it; its method's newest encoder."""
    encoder = build_encoder("test_resnet")
    made = UNetDecoder.on(encoder, 3, (16, 8, 8)) if decoder else None
    head = ProjectionHead(encoder.width, HeadSettings(8))
    network = Network(encoder, head=head, decoder=made)
    method = "tower" if decoder else "simclr"
    told: dict[str, Any] = {"encoder_id": "mine", "method": method, "input_px": 64, "mpp": 0.25}
    origin = Origin(**told | values)
    save_network(workspace.prepared().encoders / origin.encoder_id, network, origin)
    return network


def test_discs_are_learnt_from_four_pictures(folder: Path, workspace: Workspace) -> None:
    made = finetune_unet(settings_for(folder, steps=60), workspace)
    rgb, instances = discs(seed=99)
    network = load_segmenter("finetune-random", workspace=workspace).network
    found = picture_probabilities(network, rgb, 64, 32)[0] >= 0.5
    truth = instances > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
    origin = made.record.origin
    assert (origin.mpp, origin.window_px, origin.classes) == (0.25, 64, ("nucleus",))
    assert origin.training["validation_dice"] == made.fitted.dice > 0.8


def test_the_best_weights_on_validation_are_kept(folder: Path, workspace: Workspace) -> None:
    settings = with_training(settings_for(folder, steps=40), log_every=4)
    made = finetune_unet(settings, workspace)
    seen = {int(row["step"]): float(row["val_dice"]) for row in rows(workspace)}
    assert list(seen) == list(range(4, 41, 4))
    assert made.fitted.dice == max(seen.values())
    assert seen[made.fitted.best_step] == made.fitted.dice
    network = load_segmenter("finetune-random", workspace=workspace).network
    assert mean_dice(network, made.split.validation, 64, 0.5) == pytest.approx(made.fitted.dice)


def test_a_model_of_another_kind_is_not_replaced(folder: Path, workspace: Workspace) -> None:
    other = workspace.model("finetune-random") / "classifier.json"
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    settings = replace(settings_for(folder, steps=2), overwrite=True)
    with pytest.raises(SettingsError, match="finetune-random holds another model, not a segmenter"):
        finetune_unet(settings, workspace)
    assert other.read_text() == "{}"
    assert not workspace.run("finetune-random").exists()


def test_it_ends_when_validation_no_longer_gets_better(folder: Path, workspace: Workspace) -> None:
    # At a rate of almost nothing no validation is better than the first by more than chance.
    settings = replace(settings_for(folder, steps=500), patience=3)
    made = finetune_unet(with_training(settings, log_every=1, lr=1e-12), workspace)
    assert made.fitted.has_stopped_early
    assert made.fitted.steps == made.fitted.best_step + 3
    assert json.loads((made.run / "end.json").read_text())["status"] == "stopped early"


class Stopped(FinetuneWatcher):
    """Ends the process, as far as the run can tell."""

    def stepped(self, progress: Progress, loss: float) -> None:  # noqa: ARG002
        if progress.step == 15:
            raise KeyboardInterrupt


def test_a_run_that_was_stopped_ends_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    settings = with_training(settings_for(folder, steps=20), checkpoint_every=5, log_every=5)
    whole, halves = Workspace(tmp_path / "whole"), Workspace(tmp_path / "halves")
    straight = finetune_unet(settings, whole)
    with pytest.raises(KeyboardInterrupt):
        finetune_unet(settings, halves, Stopped())
    assert not halves.model("finetune-random").exists()
    with pytest.raises(CheckpointError, match="go on with --resume"):
        finetune_unet(settings, halves)
    with pytest.raises(CheckpointError, match="other settings"):
        finetune_unet(replace(settings, resume=True, labels=0.5), halves)
    resumed = finetune_unet(replace(settings, resume=True), halves)
    assert resumed.record.header.content_digest == straight.record.header.content_digest
    told = [{name: row[name] for name in ("step", "loss", "val_dice")} for row in rows(halves)]
    assert told == [
        {name: row[name] for name in ("step", "loss", "val_dice")} for row in rows(whole)
    ]


def test_overwriting_begins_anew_once_all_is_sound(folder: Path, workspace: Workspace) -> None:
    settings = settings_for(folder, steps=10)
    first = finetune_unet(settings, workspace)
    with pytest.raises(SettingsError, match="no image named"):
        finetune_unet(replace(settings, overwrite=True, only=("nowhere",)), workspace)
    assert first.run.exists()
    again = finetune_unet(replace(settings, overwrite=True), workspace)
    assert again.record.header.content_digest == first.record.header.content_digest


def test_pictures_of_validation_train_nothing(folder: Path, tmp_path: Path) -> None:
    made = finetune_unet(settings_for(folder, steps=3), Workspace(tmp_path / "one"))
    (held,) = made.split.validation
    copy = write_discs(tmp_path / "copy")
    rgb, _ = discs(seed=77)
    cv2.imwrite(str(copy / "images" / f"{held.name}.png"), rgb)
    settings = with_training(settings_for(copy, steps=3), log_every=3)
    other = finetune_unet(settings, Workspace(tmp_path / "two"))
    assert other.record.header.content_digest == made.record.header.content_digest


# What it begins with


def state(module: nn.Module | None) -> Mapping[str, Tensor]:
    assert module is not None
    return module.state_dict()


def test_encoder_and_decoder_are_taken_over_but_for_the_last_layer(
    folder: Path, workspace: Workspace
) -> None:
    network = pretrained(workspace)
    start = start_of(settings_for(folder, init="tower"), 0.25, workspace, print)
    assert start.has_trained_decoder
    assert start.network.head is None
    for name, tensor in state(network.encoder).items():
        assert torch.equal(state(start.network.encoder)[name], tensor)
    for name, tensor in state(network.decoder).items():
        taken = state(start.network.decoder)[name]
        if name.startswith("head."):
            assert taken.shape[0] == 1
        else:
            assert torch.equal(taken, tensor)


def test_fresh_decoders_are_drawn_by_seed(folder: Path, workspace: Workspace) -> None:
    network = pretrained(workspace)
    settings = settings_for(folder, init="tower", fresh_decoder=True)
    one, two = (start_of(settings, 0.25, workspace, print) for _ in range(2))
    other = start_of(with_training(settings, seed=1), 0.25, workspace, print)
    name = "blocks.0.0.weight"
    weights = [state(start.network.decoder)[name] for start in (one, two, other)]
    assert not one.has_trained_decoder
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], state(network.decoder)[name])


def test_methods_without_decoder_get_a_fresh_one(folder: Path, workspace: Workspace) -> None:
    network = pretrained(workspace, decoder=False)
    for init in ("simclr", "mine"):
        start = start_of(settings_for(folder, init=init), 0.25, workspace, print)
        assert (start.encoder, start.has_trained_decoder) == ("mine", False)
        for name, tensor in state(network.encoder).items():
            assert torch.equal(state(start.network.encoder)[name], tensor)


def test_other_resolutions_are_told(folder: Path, workspace: Workspace) -> None:
    pretrained(workspace, mpp=0.5)
    warned: list[str] = []
    start_of(settings_for(folder, init="tower"), 0.25, workspace, warned.append)
    assert "learnt at 0.5 µm/px, and the pictures have 0.25" in warned[0]


def test_encoders_that_are_not_there(folder: Path, workspace: Workspace) -> None:
    with pytest.raises(EncoderError, match="no encoder of method byol"):
        finetune_unet(settings_for(folder, init="byol"), workspace)
    with pytest.raises(EncoderError, match="unknown encoder 'towr'"):
        finetune_unet(settings_for(folder, init="towr"), workspace)
    assert not workspace.root.exists()


# What goes wrong later


def test_a_busy_run_is_left_alone(folder: Path, workspace: Workspace) -> None:
    home = workspace.prepared()
    with (
        held_lock(home.lock(home.run("finetune-random")), wait=True),
        pytest.raises(StoreBusyError, match="another process is training"),
    ):
        finetune_unet(settings_for(folder), workspace)


def test_a_full_disk_leaves_no_half_a_model(
    folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(FinetuneWatcher):
        def validated(self, progress: Progress, dice: float, best: float) -> None:  # noqa: ARG002
            def refuse(self: Path, content: bytes) -> int:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(Path, "write_bytes", refuse)

    with pytest.raises(StorageError, match="no space left"):
        finetune_unet(settings_for(folder, steps=2), workspace, Full())
    monkeypatch.undo()
    assert not workspace.model("finetune-random").exists()
    made = finetune_unet(replace(settings_for(folder, steps=2), resume=True), workspace)
    assert made.model.exists()  # of the checkpoint, without a step


# Whole pictures


class Brightness(Segmenter):
    """Its probability of a pixel is its red value, whatever lies around."""

    kind = "brightness"
    classes = 1

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        return torch.logit(images[:, :1], eps=1e-6)

    def shape(self) -> dict[str, Any]:
        return {}

    @classmethod
    def of_shape(cls, values: Mapping[str, Any]) -> Brightness:
        del values
        return cls()


@pytest.mark.parametrize("size", [(64, 64), (100, 131), (20, 150), (65, 64), (200, 200)])
@pytest.mark.parametrize("overlap_px", [0, 16, 48])
def test_windows_cover_a_picture_once(size: tuple[int, int], overlap_px: int) -> None:
    rgb = np.random.default_rng(0).integers(1, 255, (*size, 3)).astype(np.uint8)
    found = picture_probabilities(Brightness(), rgb, 64, overlap_px)
    np.testing.assert_allclose(found, rgb[None, ..., 0] / 255, atol=1e-5)


def test_dice_by_hand_is_that_of_pictures_and_of_slides_as_a_whole() -> None:
    def shown(found: list[int], truth: list[int], slide_id: str | None = None) -> LabelledPicture:
        rgb = np.repeat(np.array([found], np.uint8)[..., None] * 255, 3, axis=2)
        mask = np.array([truth], np.uint8) * 255
        return LabelledPicture(f"{found}{truth}", rgb, mask, slide_id)

    half = shown([1, 1, 0, 0], [1, 0, 0, 1])  # 2 · 1 / (2 + 2)
    nothing = shown([0, 0, 0, 0], [0, 0, 0, 0])
    assert mean_dice(Brightness(), [half], 4, 0.5) == 0.5
    assert mean_dice(Brightness(), [half, nothing], 4, 0.5) == (0.5 + 1) / 2
    tiles = [
        shown([1, 1, 0, 0], [1, 0, 0, 1], "s"),
        shown([0, 0, 0, 0], [0, 0, 0, 0], "s"),
        shown([1, 0, 0, 0], [0, 0, 0, 0], "s"),
    ]
    assert mean_dice(Brightness(), tiles, 4, 0.5) == 2 * 1 / (3 + 2)


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data/nuclei/monuseg_train")
def test_four_real_pictures_teach_nuclei(workspace: Workspace) -> None:
    names = tuple(sorted(path.stem for path in (REAL / "images").iterdir())[::8])
    settings = replace(settings_for(REAL, steps=120), only=names, backbone="resnet18")
    made = finetune_unet(with_training(settings, lr=1e-3, log_every=20), workspace)
    # Everything foreground has 0.36 on these pictures.
    assert made.fitted.dice > 0.5
