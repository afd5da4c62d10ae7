"""`wsi-tower segment --method patch-contrast` as a user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from tests.segment.nuclei.test_choice import made_picture
from wsi_tower.cli.main import cli
from wsi_tower.models import newest_segmenter
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rgb = np.tile(made_picture()[0], (2, 2, 1))
    for number in range(10):
        turned = np.ascontiguousarray(np.rot90(rgb, number)[..., ::-1])
        cv2.imwrite(str(folder / f"{number}.png"), turned)
    return folder


@pytest.mark.slow
def test_a_model_is_learnt_once_and_then_taken(pictures: Path, tmp_path: Path) -> None:
    slides, home = tmp_path / "slides", tmp_path / "work"
    assert run("phantom", slides, "--slides", 1, "--size", "1mm×1mm").exit_code == 0
    tiled = run("tile", slides, "-w", home, "--mpp", 1, "--tile-px", 256, "--no-report")
    assert tiled.exit_code == 0, tiled.output
    learning = ("--images", pictures, "--images-mpp", 1, "--max-steps", 2, "--seeds", 1)
    command = ("segment", "--method", "patch-contrast", "-w", home, "--device", "cpu")
    first = run(*command, *learning, "--no-report")
    assert first.exit_code == 0, first.output
    model = newest_segmenter(Workspace(home), "patch-contrast")
    assert model is not None
    assert any((home / "segmentations" / model.name).glob("*.zarr"))
    second = run(*command, "--json", "--no-report")
    assert second.exit_code == 0, second.output
    assert json.loads(second.stdout)["slides"]
    again = newest_segmenter(Workspace(home), "patch-contrast")
    assert again is not None
    assert again.header.content_digest == model.header.content_digest


def test_model_and_method_exclude_each_other(tmp_path: Path) -> None:
    result = run("segment", "--model", "a", "--method", "patch-contrast", "-w", tmp_path)
    assert result.exit_code != 0
    assert "both name a model" in result.output


def test_flat_pictures_need_a_resolution(pictures: Path, tmp_path: Path) -> None:
    result = run("segment", "--method", "patch-contrast", "--images", pictures, "-w", tmp_path)
    assert result.exit_code != 0
    assert "--images-mpp is missing" in result.output
