"""From pictures alone to a saved model."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch

from tests.segment.nuclei.test_choice import EOSIN, NUCLEUS
from wsi_tower.errors import SettingsError, TooFewTilesError
from wsi_tower.models import load_segmenter
from wsi_tower.segment.nuclei import ContrastSettings, NucleiSettings, learn_nuclei
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

SMALL = ContrastSettings(2, 20, 10, windows=4, anchors=4, teacher=1.0, contrast=0.01)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of dark discs on eosin, with noise."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(6):
        generator = np.random.default_rng(number)
        mask = np.zeros((96, 96), np.uint8)
        for left, top in generator.integers(12, 84, (6, 2)):
            cv2.circle(mask, (int(left), int(top)), 8, 1, -1)
        rgb = np.where(mask[..., None] > 0, NUCLEUS, EOSIN) + generator.normal(0, 6, (96, 96, 3))
        cv2.imwrite(str(folder / f"{number}.png"), np.clip(rgb, 0, 255).astype(np.uint8)[..., ::-1])
    return folder


def asked(pictures: Path, **values: object) -> NucleiSettings:
    told = {
        "images": pictures,
        "image_px": 96,
        "crop_px": 64,
        "batch_size": 3,
        "device": "cpu",
        "contrast": SMALL,
        "max_steps": 40,
    }
    return NucleiSettings(**(told | values))  # type: ignore[arg-type]


def test_nuclei_are_learnt_without_labels(pictures: Path, tmp_path: Path) -> None:
    home = Workspace(tmp_path)
    learnt = learn_nuclei(asked(pictures, patience=0), home)
    assert learnt.best.choice.is_plausible
    model = load_segmenter(learnt.name, workspace=home)
    assert (model.record.origin.method, model.record.origin.mpp) == ("patch-contrast", 0.25)
    rgb = cv2.imread(str(pictures / "0.png"))[..., ::-1]
    images = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        found = model.network.probabilities(images)[0, 0].numpy() >= 0.5
    truth = np.abs(rgb.astype(int) - NUCLEUS).sum(2) < np.abs(rgb.astype(int) - EOSIN).sum(2)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.8
    text = (home.run(learnt.name) / "log.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert {"separation", "haematoxylin", "entropy", "skipped"} <= set(rows[0])
    assert len(rows) == 40


def test_a_resumed_run_ends_with_the_same_weights(pictures: Path, tmp_path: Path) -> None:
    straight = learn_nuclei(asked(pictures, max_steps=4), Workspace(tmp_path / "a"))
    home = Workspace(tmp_path / "b")
    learn_nuclei(asked(pictures, max_steps=4), home)
    again = learn_nuclei(asked(pictures, max_steps=4, resume=True), home)
    digests = {one.record.header.content_digest for one in (straight, again)}
    assert len(digests) == 1


def test_the_best_seed_is_kept_by_haematoxylin(pictures: Path, tmp_path: Path) -> None:
    learnt = learn_nuclei(asked(pictures, max_steps=3, seeds=(0, 1)), Workspace(tmp_path))
    keys = [(net.choice.is_plausible, net.choice.share) for net in learnt.nets]
    best = (learnt.best.choice.is_plausible, learnt.best.choice.share)
    assert best == max(keys)
    assert [one["seed"] for one in learnt.record.origin.training["seeds"]] == [0, 1]


def test_too_few_pictures_and_wrong_crops_are_told(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TooFewTilesError, match="there are 6 pictures, and a step takes 10"):
        learn_nuclei(asked(pictures, batch_size=10), Workspace(tmp_path))
    with pytest.raises(SettingsError, match="between 20, the window, and 96"):
        learn_nuclei(asked(pictures, crop_px=97), Workspace(tmp_path))


def test_published_is_as_published() -> None:
    settings = NucleiSettings(preset="published").resolved()
    assert (settings.max_steps, settings.lr, settings.batch_size) == (75, 2e-4, 10)
    contrast = settings.compared
    assert (contrast.classes, contrast.window_px, contrast.stride_px) == (4, 50, 20)
    assert (contrast.windows, contrast.anchors, contrast.teacher) == (10, 10, 0.0)
