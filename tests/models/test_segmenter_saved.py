from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.models.conformance import pictures
from tests.models.conftest import SMALL
from wsi_tower.errors import (
    CorruptStoreError,
    EncoderError,
    ModelError,
    SettingsError,
    StorageError,
)
from wsi_tower.models import (
    Encoder,
    Features,
    Segmenter,
    SegmenterOrigin,
    UNetDecoder,
    UNetSegmenter,
    build_encoder,
    checked_model_name,
    load_segmenter,
    newest_segmenter,
    save_segmenter,
    segmenters_of,
)
from wsi_tower.stain import StainReference

if TYPE_CHECKING:
    from wsi_tower.workspace import Workspace

ORIGIN = SegmenterOrigin(
    "nuclei",
    "finetune",
    ("nucleus", "gland"),
    0.25,
    128,
    0.4,
    StainReference.built_in("macenko"),
    settings={"init": "tower"},
    parents={"encoder": "ab" * 16},
    training={"dice": 0.5},
)


def segmenter() -> UNetSegmenter:
    encoder = build_encoder(SMALL)
    network = UNetSegmenter(encoder, UNetDecoder.on(encoder, 2, (16, 8)))
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.1)
    return network.eval()


def probabilities(network: Segmenter) -> Tensor:
    with torch.no_grad():
        return network.probabilities(pictures(3, (64, 48), 2))


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    save_segmenter(workspace.model("nuclei"), segmenter(), ORIGIN)
    return workspace.model("nuclei")


def changed(folder: Path, **values: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# There and back


def test_a_segmenter_comes_back_as_it_was(workspace: Workspace) -> None:
    network = segmenter()
    record = save_segmenter(workspace.model("nuclei"), network, ORIGIN)
    loaded = load_segmenter("nuclei", workspace=workspace)
    assert loaded.record == record
    assert loaded.record.origin == ORIGIN
    assert not loaded.network.training
    assert torch.equal(probabilities(loaded.network), probabilities(network))


def test_probabilities_are_the_logistic_function_of_logits() -> None:
    network = segmenter()
    images = pictures(3, (33, 50), 1)
    with torch.no_grad():
        logits = network(images)
    assert logits.shape == (1, 2, 33, 50)
    assert torch.allclose(probabilities_of(network, images), 1 / (1 + torch.exp(-logits)))


def probabilities_of(network: Segmenter, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network.probabilities(images)


def test_a_folder_is_found_by_its_path(folder: Path) -> None:
    assert load_segmenter(str(folder)).record.name == "nuclei"


def test_the_newest_of_a_method_comes_first(workspace: Workspace) -> None:
    for name, method in (("one", "finetune"), ("two", "patch-contrast"), ("three", "finetune")):
        origin = replace(ORIGIN, name=name, method=method)
        save_segmenter(workspace.model(name), segmenter(), origin)
        path = workspace.model(name) / "model.json"
        values = json.loads(path.read_text())
        values["header"]["created"] = f"2026-01-0{['one', 'two', 'three'].index(name) + 1}"
        path.write_text(json.dumps(values))
    assert [one.name for one in segmenters_of(workspace).records] == ["three", "two", "one"]
    found = newest_segmenter(workspace, "finetune")
    assert found is not None
    assert found.name == "three"
    assert newest_segmenter(workspace, "byol") is None


# What is refused


def test_unknown_names_are_told_with_what_is_there(folder: Path, workspace: Workspace) -> None:
    with pytest.raises(ModelError, match=r"no model 'nucle'; did you mean nuclei\?"):
        load_segmenter("nucle", workspace=workspace)
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match="there are none yet"):
        load_segmenter("nuclei", workspace=workspace)


@pytest.mark.parametrize(
    "values",
    [
        {"mpp": "fine"},
        {"mpp": -1.0},
        {"classes": ["a", "a"]},
        {"threshold": 2},
        {"window_px": True},
        {"shape": {"encoder": {}}},
        {"shape": {}},
        {"stain": {"method": "tea"}},
        {"header": 1},
        {"network": 5},
    ],
    ids=str,
)
def test_damaged_records_are_named(
    folder: Path, workspace: Workspace, values: dict[str, Any]
) -> None:
    changed(folder, **values)
    with pytest.raises(CorruptStoreError, match=r"model\.json"):
        load_segmenter("nuclei", workspace=workspace)


def test_a_record_cut_short_is_listed_as_damaged(folder: Path, workspace: Workspace) -> None:
    (folder / "model.json").write_bytes((folder / "model.json").read_bytes()[:100])
    found = segmenters_of(workspace)
    assert found.records == ()
    assert "model.json is damaged" in found.damaged[0]


def test_later_versions_and_other_networks_say_update(folder: Path, workspace: Workspace) -> None:
    changed(folder, network="transformer-of-2030")
    with pytest.raises(ModelError, match=r"'transformer-of-2030', which this wsi-tower .* update"):
        load_segmenter("nuclei", workspace=workspace)
    header = json.loads((folder / "model.json").read_text())["header"]
    changed(folder, header=header | {"format_version": 9})
    with pytest.raises(CorruptStoreError, match=r"format version 9.* update it"):
        load_segmenter("nuclei", workspace=workspace)
    changed(folder, header=header | {"kind": "encoder"})
    with pytest.raises(CorruptStoreError, match="not of a segmentation model"):
        load_segmenter("nuclei", workspace=workspace)


def test_changed_weights_are_refused(folder: Path, workspace: Workspace) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name] + 1}, path)
    with pytest.raises(CorruptStoreError, match=r"model\.safetensors is damaged: it is not what"):
        load_segmenter("nuclei", workspace=workspace)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CorruptStoreError, match=r"model\.safetensors is damaged"):
        load_segmenter("nuclei", workspace=workspace)
    path.unlink()
    with pytest.raises(CorruptStoreError, match=r"model\.safetensors is missing"):
        load_segmenter("nuclei", workspace=workspace)


def test_what_could_not_be_built_again_is_not_saved(workspace: Workspace) -> None:
    class Foreign(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.pyramid_channels, self.pyramid_strides = (4,), (2,)
            self.layer = nn.Conv2d(3, 4, 3, stride=2, padding=1)

        def forward(self, images: Tensor) -> Features:
            made = self.layer(images)
            return Features(made.mean((2, 3)), (made,))

    encoder = Foreign()
    network = UNetSegmenter(encoder, UNetDecoder.on(encoder, 2, (8,)))
    with pytest.raises(EncoderError, match="a segmenter on a Foreign cannot be saved"):
        save_segmenter(workspace.model("foreign"), network, ORIGIN)
    with pytest.raises(SettingsError, match="tells 2 classes"):
        save_segmenter(workspace.model("one"), segmenter(), replace(ORIGIN, classes=("one",)))
    assert not workspace.models.exists()


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "with space"])
def test_names_that_are_no_folder(name: str) -> None:
    with pytest.raises(SettingsError, match="name"):
        checked_model_name(name)


def test_a_refusing_disk_leaves_the_old_model(
    folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_segmenter("nuclei", workspace=workspace).record

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="no space left"):
        save_segmenter(folder, segmenter(), ORIGIN)
    monkeypatch.undo()
    assert load_segmenter("nuclei", workspace=workspace).record == before
    assert [path.name for path in workspace.models.iterdir()] == ["nuclei"]
