"""`wsi-tower finetune` as a user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.segment.finetune.discs import write_discs
from wsi_tower.cli.main import cli
from wsi_tower.models import load_segmenter
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

SMALL = ("--backbone", "test_resnet", "--crop-px", 64, "--steps", 6, "--set", "train.log_every=3")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_discs(tmp_path_factory.mktemp("discs"), 5, 128)


@pytest.fixture
def given(folder: Path, tmp_path: Path) -> tuple[object, ...]:
    pictures = ("--images", folder / "images", "--masks", folder / "masks")
    return ("finetune", "-w", tmp_path / "study", *pictures, "--init", "random")


def test_it_says_what_it_does_and_what_it_made(given: tuple[object, ...], tmp_path: Path) -> None:
    result = run(*given, "--mpp", 0.25, *SMALL)
    assert result.exit_code == 0, result.output
    plan, *looks = result.stderr.splitlines()
    assert plan == (
        "random with a fresh decoder: 4 pictures train and 1 validate, 64-px crops, up to 6 steps "
        "of 8 on cpu"
    )
    assert [line.split("  ")[0] for line in looks] == ["step 3/6", "step 6/6"]
    assert "model finetune-random in" in result.stdout
    record = load_segmenter("finetune-random", workspace=Workspace(tmp_path / "study")).record
    assert record.origin.mpp == 0.25
    drawn = record.origin.settings
    assert sorted(drawn["training_pictures"] + drawn["validation_pictures"]) == [
        f"p{number}" for number in range(5)
    ]
    assert (tmp_path / "study" / "runs" / "finetune-random" / "curves.png").exists()
    listed = json.loads(run("runs", "-w", tmp_path / "study", "--json").stdout)
    (told,) = listed["runs"]
    assert (told["name"], told["status"], told["step"]) == ("finetune-random", "finished", 6)


def test_labels_name_and_json(given: tuple[object, ...], tmp_path: Path) -> None:
    result = run(*given, "--mpp", 0.5, *SMALL, "--labels", "5%", "--name", "few", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["name"], told["training_pictures"], told["validation_pictures"]) == ("few", 1, 1)
    assert (tmp_path / "study" / "models" / "few" / "model.json").exists()


def test_the_control_with_a_fresh_decoder_and_an_encoder_by_name(
    given: tuple[object, ...], folder: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    trained = run(
        *("pretrain", "-w", study, "--images", folder / "images", "--backbone", "test_resnet"),
        *("--crop-px", 32, "--steps", 2, "--batch-size", 8, "--set", "train.watch_every=0"),
    )
    assert trained.exit_code == 0, trained.output
    for init, more, decoder in (
        ("tower", (), "tower with its own decoder"),
        ("tower", ("--fresh-decoder", "--name", "control"), "tower with a fresh decoder"),
    ):
        result = run(*given[:-1], init, "--mpp", 0.25, *SMALL, *more)
        assert result.exit_code == 0, result.output
        assert any(line.startswith(decoder) for line in result.stderr.splitlines())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--mpp is missing: give the resolution of the pictures"),
        (("--mpp", 0), "mpp must be above 0"),
        (("--mpp", 0.25, "--labels", "many"), "--labels 'many' is no share, such as 5% or 0.05"),
        (("--mpp", 0.25, "--labels", "150%"), "labels must be above 0 and at most 1, not 1.5"),
        (("--mpp", 0.25, "--set", "train.lrr=1"), "training has no setting 'lrr'"),
        (("--mpp", 0.25, "--set", "lr=1"), "has no group; say augment or train before it"),
        (("--mpp", 0.25, "--set", "train.patience=5"), "here --patience counts validations"),
        (("--mpp", 0.25, "--only", "nobody"), "has no image named nobody"),
        (("--mpp", 0.25, "--name", "a/b"), "model name 'a/b'"),
        (("--mpp", 0.25, "--init", "byol"), "no encoder of method byol"),
        (("--mpp", 0.25, "--validation", "90%"), "validation must be at most 0.5"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    given: tuple[object, ...], arguments: tuple[object, ...], message: str, tmp_path: Path
) -> None:
    result = run(*given, *arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert message in line
    assert not (tmp_path / "study").exists()
