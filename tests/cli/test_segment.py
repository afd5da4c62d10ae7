"""`wsi-tower segment` as a user runs it, with a small U-Net made here."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from wsi_tower.cli.main import cli
from wsi_tower.models import (
    EncoderPlan,
    SegmenterOrigin,
    TimmEncoder,
    UNetDecoder,
    UNetSegmenter,
    save_segmenter,
)
from wsi_tower.ngff import label_levels
from wsi_tower.segment import read_segmentation
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

CPU = ("--device", "cpu", "--threads", "1", "--window-px", "256", "--overlap-px", "64")
IDS = ("phantom-01", "phantom-02")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)


def told(result: Result) -> dict[str, dict[str, Any]]:
    return {row["slide_id"]: row for row in json.loads(result.stdout)["slides"]}


def saved_unet(root: Path, name: str = "nuclei", mpp: float | None = 1.0) -> None:
    """A U-Net that says of every tenth pixel of noise that it is a nucleus."""
    torch.manual_seed(0)
    encoder = TimmEncoder(EncoderPlan("test_resnet", input_px=64))
    network = UNetSegmenter(encoder, UNetDecoder.on(encoder, 1, (16, 8, 8, 8, 8))).eval()
    with torch.inference_mode():
        logits = network(torch.rand(2, 3, 128, 128))
    assert network.decoder.head.bias is not None
    network.decoder.head.bias.data -= logits.flatten().quantile(0.9)
    origin = SegmenterOrigin(name, "finetune", ("nucleus",), mpp, 64)
    save_segmenter(Workspace(root).model(name), network, origin)


@pytest.fixture(scope="module")
def tiled(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of two tiled slides and a model."""
    workspace = tmp_path_factory.mktemp("segment") / "w"
    arguments = ("--mpp", 1, "--tile-px", 128, "--pixels", "none", "--no-report", "-j", 1)
    assert run("tile", slides, "-w", workspace, *arguments).exit_code == 0
    saved_unet(workspace)
    return workspace


@pytest.fixture
def study(tiled: Path) -> Path:
    """A copy beside the first, whose stores know slides by relative paths."""
    number = len(list(tiled.parent.iterdir()))
    shutil.copytree(tiled, tiled.parent / f"study-{number}")
    return tiled.parent / f"study-{number}"


def test_every_tiled_slide_is_segmented_and_told(study: Path) -> None:
    result = run("segment", "--model", "nuclei", "-w", study, *CPU)
    assert result.exit_code == 0, result.output
    first, *rows = result.stderr.splitlines()
    assert first == (
        "model nuclei (finetune, 1 µm/px) finds nucleus from probability 0.5 on, into "
        "segmentations/nuclei"
    )
    assert [row[:12] for row in rows] == ["[1/2] done  ", "[2/2] done  "]
    folder = study / "segmentations" / "nuclei"
    with (folder / "slides.csv").open(newline="", encoding="utf-8") as file:
        table = {row["slide_id"]: row for row in csv.DictReader(file)}
    assert tuple(table) == IDS
    for slide_id, row in table.items():
        record = read_segmentation(folder / f"{slide_id}.zarr")
        features = json.loads((folder / f"{slide_id}.geojson").read_text(encoding="utf-8"))
        assert int(row["objects"]) == record.objects == len(features["features"]) > 0
        assert float(row["density_per_mm2"]) == pytest.approx(
            record.objects / float(row["tissue_mm2"]), rel=1e-3
        )
    (page,) = study.glob("reports/segment-*/index.html")
    assert "pictures/phantom-01.png" in page.read_text(encoding="utf-8")
    with Image.open(page.parent / "pictures" / "phantom-01.png") as picture:
        assert picture.width >= 760


def test_json_is_alone_and_a_rerun_skips(study: Path) -> None:
    arguments = ("segment", "--model", "nuclei", "-w", study, *CPU, "--json", "--no-report")
    result = run(*arguments, "phantom-02")
    assert (result.exit_code, result.stderr) == (0, "")
    assert {name: row["status"] for name, row in told(result).items()} == {"phantom-02": "done"}
    again = told(run(*arguments))
    assert {name: row["status"] for name, row in again.items()} == {
        "phantom-01": "done",
        "phantom-02": "skipped",
    }
    other = run(*arguments, "--threshold", "0.6")
    assert other.exit_code == 1
    assert {row["reason"] for row in told(other).values()} == {"other-settings"}
    newest = ("segment", "--method", "finetune", *arguments[3:])
    assert {row["status"] for row in told(run(*newest)).values()} == {"skipped"}
    beside = run(*arguments, "--threshold", "0.6", "--name", "sure", "slides/phantom-01.svs")
    assert beside.exit_code == 0
    assert (study / "segmentations" / "sure" / "phantom-01.zarr").is_dir()


def test_a_slide_of_another_resolution_costs_a_row(study: Path) -> None:
    saved_unet(study, "fine", mpp=0.25)
    arguments = ("segment", "--model", "fine", "-w", study, *CPU, "--json", "--no-report")
    result = run(*arguments)
    assert result.exit_code == 1
    assert {row["reason"] for row in told(result).values()} == {"other-resolution"}
    assert "--resample" in told(result)["phantom-01"]["message"]
    saved_unet(study, "coarse", mpp=2.6)
    coarse = ("segment", "--model", "coarse", "-w", study, *CPU, "--json", "--no-report")
    assert run(*coarse, "--resample").exit_code == 0
    record = read_segmentation(study / "segmentations" / "coarse" / "phantom-01.zarr")
    assert record.mpp == pytest.approx(2.6)


@pytest.mark.slow
def test_two_workers_find_what_one_finds(study: Path) -> None:
    arguments = ("segment", "--model", "nuclei", "-w", study, *CPU, "--no-report")
    assert run(*arguments, "-j", 2, "--name", "two").exit_code == 0
    assert run(*arguments, "-j", 1, "--name", "one").exit_code == 0
    for slide_id in IDS:
        one, two = (
            label_levels(study / "segmentations" / name / f"{slide_id}.zarr")[0][:]
            for name in ("one", "two")
        )
        assert np.array_equal(one, two)


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_half_written(study: Path) -> None:
    arguments = ["segment", "--model", "nuclei", "-w", str(study), *CPU, "--no-report", "-j", "1"]
    folder = study / "segmentations" / "nuclei"
    for wait in (0.0, 0.3, 0.6, 0.9):
        shutil.rmtree(folder, ignore_errors=True)
        process = subprocess.Popen([sys.executable, "-m", "wsi_tower", *arguments])
        while not folder.exists():
            time.sleep(0.01)
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in folder.glob("[!.]*.zarr"):
            assert read_segmentation(path).objects > 0
            assert path.with_suffix(".geojson").exists()
    assert run(*arguments).exit_code == 0
    assert not list(folder.glob(".partial-*"))
    assert len(list(folder.glob("*.zarr"))) == 2


@pytest.mark.parametrize(
    ("typed", "reason", "said"),
    [
        (
            "",
            "settings",
            "no model to segment by; name one with --model, or a method with --method",
        ),
        ("--method finetune --model nuclei", "settings", "both name a model"),
        ("--model nucleii", "model", "has no model 'nucleii'; did you mean nuclei?"),
        ("--model nuclei slide-9", "no-slides", "slide slide-9 has no tile store in"),
        ("--model nuclei --threshold 2", "settings", "threshold must lie between 0 and 1"),
        ("--model nuclei --name a/b", "settings", "--name 'a/b' cannot name a folder"),
        ("--model nuclei --device cuda:7", "settings", "torch sees no GPU"),
    ],
)
def test_what_cannot_be_begun_is_told(tiled: Path, typed: str, reason: str, said: str) -> None:
    result = run("segment", "-w", tiled, "--json", *typed.split())
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["reason"] == reason
    assert said in error["message"]


def test_a_workspace_without_stores_is_told(tmp_path: Path) -> None:
    result = run("segment", "--model", "nuclei", "-w", tmp_path)
    assert result.exit_code == 2
    assert "has no tile stores; make them with `wsi-tower tile" in result.stderr


def test_a_model_of_a_later_version_is_told(study: Path) -> None:
    path = study / "models" / "nuclei" / "model.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["header"]["format_version"] = 99
    path.write_text(json.dumps(values), encoding="utf-8")
    result = run("segment", "--model", "nuclei", "-w", study, *CPU)
    assert result.exit_code == 2
    assert "99" in result.stderr
    assert "Traceback" not in result.output
