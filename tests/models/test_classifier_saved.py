"""Classifiers on disk: the same after loading, complete or absent, damage named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from wsi_tower.errors import CorruptStoreError, ModelError, SettingsError
from wsi_tower.models import (
    ClassifierOrigin,
    LinearClassifier,
    NeighbourClassifier,
    TileClassifier,
    check_free_for_classifier,
    load_classifier,
    save_classifier,
    segmenters_of,
)
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path


def origin(**more: Any) -> ClassifierOrigin:
    values: dict[str, Any] = {
        "name": "tumour",
        "classes": ("tumour", "other"),
        "encoder": "tower",
        "descriptor": "head 5",
        "stain": "none",
        "tile_um": 128.0,
        "tile_px": 64,
        "settings": {"seed": 3},
        "parents": {"encoder": "abc"},
        "training": {"temperature": 1.5},
    }
    return ClassifierOrigin(**(values | more))


def head_of(kind: str) -> TileClassifier:
    torch.manual_seed(0)
    head = (
        LinearClassifier(5, 2) if kind == "linear" else NeighbourClassifier(5, 2, 9, neighbours=3)
    )
    for tensor in head.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return head


@pytest.mark.parametrize("kind", ["linear", "neighbours"])
def test_a_classifier_is_what_was_saved(kind: str, tmp_path: Path) -> None:
    home, head = Workspace(tmp_path), head_of(kind)
    record = save_classifier(home.model("tumour"), head, origin())
    loaded = load_classifier("tumour", workspace=home)
    assert loaded.record == record
    assert loaded.record.origin == origin()
    asked = torch.rand(20, 5)
    assert torch.equal(loaded.head.probabilities(asked), head.probabilities(asked))
    assert loaded.head.probabilities(asked[:0]).shape == (0, 2)
    # It is no segmenter, and no damaged one either.
    assert segmenters_of(home).records == ()
    assert segmenters_of(home).damaged == ()


def test_names_that_are_taken_are_kept(tmp_path: Path) -> None:
    folder = Workspace(tmp_path).model("tumour")
    check_free_for_classifier(folder, overwrite=False)
    save_classifier(folder, head_of("linear"), origin())
    check_free_for_classifier(folder, overwrite=True)
    with pytest.raises(SettingsError, match="holds a classifier already; use it with --model"):
        check_free_for_classifier(folder, overwrite=False)
    other = folder.with_name("nuclei")
    other.mkdir()
    with pytest.raises(SettingsError, match="holds another model"):
        check_free_for_classifier(other, overwrite=True)


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    home = Workspace(tmp_path)
    with pytest.raises(ModelError, match="no classifier 'tumor', there are none yet"):
        load_classifier("tumor", workspace=home)
    folder = home.model("tumour")
    save_classifier(folder, head_of("linear"), origin())
    with pytest.raises(ModelError, match="did you mean tumour"):
        load_classifier("tumor", workspace=home)
    weights, record = folder / "classifier.safetensors", folder / "classifier.json"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CorruptStoreError, match="it is not what was written"):
        load_classifier("tumour", workspace=home)
    weights.write_bytes(content)
    told = json.loads(record.read_text())
    record.write_text(json.dumps(told | {"head": "forest"}))
    with pytest.raises(ModelError, match="names a head 'forest'"):
        load_classifier("tumour", workspace=home)
    record.write_text(json.dumps({**told, "tile_px": "64"}))
    with pytest.raises(CorruptStoreError, match="tile_px missing or of another type"):
        load_classifier("tumour", workspace=home)
    record.write_text(json.dumps({**told, "header": told["header"] | {"format_version": 2}}))
    with pytest.raises(CorruptStoreError, match="format version 2; this wsi-tower reads 1"):
        load_classifier("tumour", workspace=home)
    with pytest.raises(SettingsError, match="two or more names that differ"):
        origin(classes=("a", "a"))
    with pytest.raises(SettingsError, match="the head tells 2 classes"):
        save_classifier(folder, head_of("linear"), origin(classes=("a", "b", "c")))
