from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.models.conformance import pictures
from tests.models.conftest import (
    ORIGIN,
    SMALL,
    SMALL_VIT,
    network_of,
    record_values,
    trained,
)
from wsi_tower.errors import CorruptStoreError, EncoderError, StorageError
from wsi_tower.models import (
    Encoder,
    Features,
    Network,
    NetworkShape,
    build_encoder,
    encoders_of,
    load_encoder,
    newest_encoder,
    save_network,
)
from wsi_tower.records import digest

if TYPE_CHECKING:
    from wsi_tower.workspace import Workspace


@pytest.fixture
def folder(saved: Path, workspace: Workspace) -> Path:
    """A copy to damage, in the workspace."""
    return Path(shutil.copytree(saved, workspace.encoders / saved.name))


def described(network: Network, in_channels: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    images = pictures(in_channels, (64, 64), 2)
    with torch.no_grad():
        features = network.encoder(images)
        assert network.decoder is not None
        return (
            network.describe(images),
            features.pooled,
            network.decoder(features.pyramid, (64, 64)),
        )


# There and back


@pytest.mark.parametrize(("architecture", "in_channels"), [(SMALL, 3), (SMALL, 1), (SMALL_VIT, 3)])
def test_a_network_comes_back_as_it_was(
    architecture: str, in_channels: int, workspace: Workspace
) -> None:
    network = network_of(architecture, in_channels)
    record = save_network(workspace.encoders / "tower-small", network, ORIGIN)
    loaded = load_encoder("tower-small", workspace=workspace)
    assert loaded.record == record
    assert not loaded.network.training
    assert loaded.network.descriptor == "head"
    for found, truth in zip(
        described(loaded.network, in_channels), described(network, in_channels), strict=True
    ):
        assert torch.equal(found, truth)


def test_training_layouts_are_saved_as_plain_tensors(workspace: Workspace) -> None:
    network = network_of()
    save_network(workspace.encoders / "one", network, ORIGIN)
    network.train()
    network.to(memory_format=torch.channels_last)
    save_network(workspace.encoders / "two", network, ORIGIN)
    one, two = (load_encoder(name, workspace=workspace).record for name in ("one", "two"))
    assert one.header.content_digest == two.header.content_digest
    assert network.training  # as the caller had it


def test_an_encoder_alone_needs_no_other_files(workspace: Workspace) -> None:
    save_network(workspace.encoders / "alone", Network(build_encoder(SMALL)), ORIGIN)
    assert sorted(os.listdir(workspace.encoders / "alone")) == [  # noqa: PTH208
        "encoder.json",
        "encoder.safetensors",
    ]
    loaded = load_encoder("alone", workspace=workspace)
    assert loaded.record.shape.descriptor_width == loaded.network.encoder.width
    assert loaded.network.head is None
    assert loaded.network.decoder is None


def test_the_record_says_all_that_it_takes(saved: Path) -> None:
    values = json.loads((saved / "encoder.json").read_text())
    header = values.pop("header")
    digests = values.pop("digests")
    assert values == {
        "encoder_id": "tower-small",
        "method": "tower",
        "input_px": 96,
        "mpp": 0.5,
        "architecture": SMALL,
        "in_channels": 3,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "model_args": {},
        "descriptor": "head",
        "descriptor_width": 16,
        "head": {
            "out": 16, "layers": 2, "hidden": 24, "norm": "batch", "final_norm": "none",
            "activation": "relu", "unit_length": False,
        },
        "decoder": {"out_channels": 3, "widths": [16, 8]},
        "training": {"steps": 10, "loss": [1.5, 1.25]},
    }  # fmt: skip
    assert (header["kind"], header["format_version"]) == ("encoder", 1)
    assert header["settings"] == ORIGIN.settings
    assert header["parents"] == ORIGIN.parents
    assert header["content_digest"] == digest(digests)
    assert digests.keys() == {"encoder", "head", "decoder"}
    assert {"torch", "timm", "safetensors", "wsi-tower"} <= header["software"].keys()


def test_equal_weights_have_equal_digests(saved: Path, tmp_path: Path) -> None:
    network = load_encoder(f"{saved}/").network
    again = save_network(tmp_path / "again", network, replace(ORIGIN, training={"other": 1}))
    truth = load_encoder(f"{saved}/").record
    assert again.digests == truth.digests
    with torch.no_grad():
        next(network.encoder.parameters()).add_(1e-3)
    changed = save_network(tmp_path / "again", network, ORIGIN)
    assert changed.digests["encoder"] != truth.digests["encoder"]
    assert changed.digests["head"] == truth.digests["head"]


def test_a_folder_is_found_by_its_path(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    for path in (str(saved), f"./{saved.name}", f"../encoders/{saved.name}"):
        assert load_encoder(path).record.name == "tower-small"


def test_own_encoders_come_before_timm_s(saved: Path, workspace: Workspace) -> None:
    shutil.copytree(saved, workspace.encoders / "resnet18")
    assert load_encoder("resnet18", workspace=workspace).record.origin.method == "tower"


def test_own_encoders_are_suggested(folder: Path, workspace: Workspace) -> None:
    with pytest.raises(EncoderError, match="did you mean tower-small"):
        load_encoder("tower-smal", workspace=workspace)


def test_own_encoders_take_no_other_weights(folder: Path, workspace: Workspace) -> None:
    with pytest.raises(EncoderError, match=r"has weights of its own; leave --weights w\.pt out"):
        load_encoder("tower-small", workspace=workspace, weights=Path("w.pt"))


def test_pretrained_encoders_have_a_record_too(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(trained(SMALL).state_dict(), path)
    record = load_encoder(SMALL, weights=path).record
    assert (record.name, record.origin.method, record.origin.mpp) == (SMALL, "pretrained", None)
    assert record.shape.descriptor == "pooled"
    network = load_encoder(SMALL, weights=path).network
    assert save_network(tmp_path / "saved", network, record.origin).digests == record.digests


# Complete or absent


def test_a_full_disk_leaves_the_encoder_before(
    folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (folder / "encoder.json").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        save_network(folder, network_of(), ORIGIN)
    assert (folder / "encoder.json").read_bytes() == before
    assert [path.name for path in workspace.encoders.iterdir()] == ["tower-small"]


class Other(Encoder):
    architecture, in_channels, width = "other", 3, 4
    pyramid_channels, pyramid_strides = (), ()

    def forward(self, images: Tensor) -> Features:
        return Features(images.mean(dim=(2, 3)), ())


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"encoder": Other()}, "with a Other cannot be saved, .*use a TimmEncoder"),
        ({"head": nn.Linear(2, 2)}, "with a Linear cannot be saved, .*use a ProjectionHead"),
        ({"decoder": nn.Linear(2, 2)}, "with a Linear cannot be saved, .*use a UNetDecoder"),
    ],
)
def test_what_could_not_be_built_again_is_refused(
    parts: dict[str, Any], words: str, tmp_path: Path
) -> None:
    network = Network(**({"encoder": build_encoder(SMALL)} | parts))
    with pytest.raises(EncoderError, match=words):
        save_network(tmp_path / "saved", network, ORIGIN)
    assert not (tmp_path / "saved").exists()


# Damage


@pytest.mark.parametrize("part", ["encoder", "head", "decoder"])
@pytest.mark.parametrize("damage", ["flip", "flip name", "cut", "gone", "other", "empty"])
def test_damaged_tensors_are_named(
    part: str, damage: str, folder: Path, workspace: Workspace
) -> None:
    path = folder / f"{part}.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-5] ^= 1  # the smallest change of one value
    elif damage == "flip name":
        content[content.index(b"weight")] ^= 1
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    if damage == "gone":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other":
        save_file({"a": torch.ones(1)}, path)
    with pytest.raises(CorruptStoreError, match=rf"{part}\.safetensors is .*restore the folder"):
        load_encoder("tower-small", workspace=workspace)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"header": 1}', "\udcff"])
def test_records_that_are_none_are_named(content: str, folder: Path, workspace: Workspace) -> None:
    (folder / "encoder.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(CorruptStoreError, match=r"encoder\.json is .*restore"):
        load_encoder("tower-small", workspace=workspace)


def test_digests_that_were_edited_are_noticed(folder: Path, workspace: Workspace) -> None:
    values = record_values(folder)
    values["digests"]["head"] = "0" * 32
    (folder / "encoder.json").write_text(json.dumps(values))
    with pytest.raises(CorruptStoreError, match=r"encoder\.json is damaged: its digests"):
        load_encoder("tower-small", workspace=workspace)


def test_another_timm_is_told_from_damage(folder: Path, workspace: Workspace) -> None:
    # What a timm would find that builds one layer less: sound tensors that do not fit.
    network = network_of()
    shape = NetworkShape.of(network)
    values = record_values(folder)
    values["architecture"] = "test_resnet.r160_in1k"
    values["model_args"] = {"block_args": None, "stem_width": 8}
    (folder / "encoder.json").write_text(json.dumps(values))
    with pytest.raises(EncoderError, match=r"sound, but this timm .*builds another network"):
        load_encoder("tower-small", workspace=workspace)
    assert shape.plan.architecture == SMALL


# A workspace's encoders


def test_encoders_are_listed_newest_first(saved: Path, workspace: Workspace) -> None:
    values = record_values(saved)
    for name, created, method in [
        ("older", "2026-11-20T10:00:00+00:00", "simclr"),
        ("newest", "2026-11-21T10:00:00+00:00", "tower"),
        ("newer", "2026-11-20T10:00:01+00:00", "simclr"),
    ]:
        values["header"]["created"], values["method"] = created, method
        values["encoder_id"] = name
        folder = workspace.encoders / name
        folder.mkdir(parents=True)
        (folder / "encoder.json").write_text(json.dumps(values))
    (workspace.encoders / "broken").mkdir()
    (workspace.encoders / "broken" / "encoder.json").write_text("{")
    (workspace.encoders / ".partial-0").mkdir()
    (workspace.encoders / ".partial-0" / "encoder.json").write_text("{")
    found = encoders_of(workspace)
    assert [record.name for record in found.records] == ["newest", "newer", "older"]
    (message,) = found.damaged
    assert str(workspace.encoders / "broken" / "encoder.json") in message
    assert [one.name for one in encoders_of(workspace, method="simclr").records] == [
        "newer",
        "older",
    ]
    assert newest_encoder(workspace, "simclr").name == "newer"
    with pytest.raises(EncoderError, match=r"no encoder of method similarity, only of simclr, t"):
        newest_encoder(workspace, "similarity")


def test_a_workspace_may_have_none(workspace: Workspace) -> None:
    assert encoders_of(workspace).records == ()
    with pytest.raises(
        EncoderError, match=r"no encoder of method tower, nor any other; .*pretrain"
    ):
        newest_encoder(workspace, "tower")


# Without wsi-tower


def test_the_page_s_code_reads_an_encoder_without_wsi_tower(saved: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text()
    code = page.split("<!-- plain -->\n```python\n")[1].split("```")[0]
    assert "wsi_tower" not in code
    truth = load_encoder(f"{saved}/").network.encoder
    scope: dict[str, Any] = {}
    code = code.replace("study/encoders/tower-r18", str(saved))
    exec(code, scope)
    images = pictures(3, (64, 64), 2)
    assert torch.equal(scope["pooled"](images), truth(images).pooled)


def test_tensors_stand_under_timm_s_names(saved: Path) -> None:
    model = build_encoder(SMALL).model
    assert load_file(saved / "encoder.safetensors").keys() == model.state_dict().keys()
