"""`wsi-tower evaluate segmentation` as a user runs it, on masks whose scores are known."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from wsi_tower.cli.main import cli

if TYPE_CHECKING:
    from numpy.typing import NDArray

NUCLEI = Path(__file__).parents[3] / "shared" / "data" / "nuclei"


def evaluate(*arguments: object) -> Result:
    words = ["evaluate", "segmentation", *arguments]
    return CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def write(folder: Path, **masks: NDArray[Any]) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    for name, mask in masks.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), mask)
    return folder


def squares(*places: tuple[int, int], side: int = 10, dtype: Any = np.uint8) -> NDArray[Any]:
    """Squares with their number, from 1 on, in a mask of 40 × 60."""
    mask = np.zeros((40, 60), dtype)
    for number, (top, left) in enumerate(places, 1):
        mask[top : top + side, left : left + side] = number
    return mask


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """Two images with two squares each that do not touch."""
    mask = (squares((5, 5), (5, 30)) > 0).astype(np.uint8)
    return write(tmp_path / "truth", a=mask, b=mask * 255)


class TestScores:
    def test_by_hand(self, truth: Path, tmp_path: Path) -> None:
        # In a, one square moved by half its side: 50 of 100 pixels shared; and nothing else. In b,
        # all that is true.
        found = write(
            tmp_path / "found",
            a=(squares((5, 10)) > 0).astype(np.uint8) * 255,
            b=(squares((5, 5), (5, 30)) > 0).astype(np.uint8),
        )
        document = told(evaluate("--predicted", found, "--masks", truth, "--json"))
        a, b = document["images"]
        assert a["dice"] == pytest.approx(2 * 50 / (100 + 200))
        # The pair shares 50 of 150; the square that was missed adds its 100.
        assert a["aji"] == pytest.approx(50 / (150 + 100))
        assert (a["found"], a["true"]) == (1, 2)
        assert (b["dice"], b["aji"], b["found"]) == (1, 1, 2)
        (row,) = document["masks"]
        assert row["dice"]["mean"] == pytest.approx((a["dice"] + 1) / 2)
        assert document["settings"]["true_objects"] == "components"
        assert any("AJI is of connected pixels" in note for note in document["notes"])

    def test_ids_tell_objects_that_touch_apart(self, tmp_path: Path) -> None:
        # Two squares side by side: by ids two, by connection one.
        ids = squares((5, 5), (5, 15), dtype=np.uint16) * 300
        truth = write(tmp_path / "truth", a=ids)
        whole = write(tmp_path / "whole", a=(ids > 0).astype(np.uint8))
        document = told(evaluate("--predicted", whole, "--masks", truth, "--json"))
        assert document["settings"]["true_objects"] == "ids"
        assert document["settings"]["predicted_objects"] == "components"
        (image,) = document["images"]
        # Either takes the whole: 100 + 100 shared over 200 + 200.
        assert (image["dice"], image["aji"]) == (1, 0.5)
        (other,) = told(evaluate("--predicted", whole, "--masks", truth, "--objects", "components",
                                 "--json"))["images"]  # fmt: skip
        assert other["aji"] == 1

    def test_another_prediction_is_compared_image_by_image(
        self, truth: Path, tmp_path: Path
    ) -> None:
        both = squares((5, 5), (5, 30)) > 0
        good = write(tmp_path / "good", a=both.astype(np.uint8), b=both.astype(np.uint8))
        one = (squares((5, 5)) > 0).astype(np.uint8)
        poor = write(tmp_path / "poor", a=one, b=one)
        table = tmp_path / "table.csv"
        document = told(evaluate("--predicted", good, "--masks", truth, "--against", poor,
                                 "--csv", table, "--json"))  # fmt: skip
        better = document["masks"][1]["dice"]["first_minus_this"]
        assert better["mean"] == pytest.approx(1 - 2 / 3)
        # Two pairs that both differ one way: 2 of 4 choices of signs.
        assert better["p_value"] == pytest.approx(0.5)
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [(row["name"], float(row["dice"])) for row in rows] == [("a", 1), ("b", 1)]
        text = evaluate("--predicted", good, "--masks", truth, "--against", poor)
        assert "Dice of good − poor: +0.333" in text.stderr
        assert text.stdout.splitlines()[1].split()[:2] == ["masks", "Dice"]

    def test_empty_masks_are_said(self, truth: Path, tmp_path: Path) -> None:
        nothing = np.zeros((40, 60), np.uint8)
        write(truth, c=nothing, d=nothing)
        found = write(tmp_path / "found", a=nothing, b=nothing, c=nothing, d=nothing + 1)
        document = told(evaluate("--predicted", found, "--masks", truth, "--json"))
        assert [one["dice"] for one in document["images"]] == [0, 0, 1, 0]
        assert [one["aji"] for one in document["images"]] == [0, 0, 1, 0]
        assert any(
            "2 true masks are empty (c, d): Dice and AJI are 1 for the 1 whose prediction" in note
            for note in document["notes"]
        )

    def test_the_floor_is_dark_haematoxylin(self, truth: Path, tmp_path: Path) -> None:
        # Blue-violet squares on pink: Otsu on haematoxylin finds them and nothing else.
        picture = np.full((40, 60, 3), (200, 150, 230), np.uint8)  # blue first
        picture[squares((5, 5), (5, 30)) > 0] = (130, 50, 80)
        images = write(tmp_path / "images", a=picture, b=picture)
        nothing = np.zeros((40, 60), np.uint8)
        found = write(tmp_path / "found", a=nothing, b=nothing)
        document = told(evaluate("--predicted", found, "--masks", truth, "--images", images,
                                 "--json"))  # fmt: skip
        floor = document["masks"][1]
        assert floor["role"] == "floor"
        assert (floor["dice"]["mean"], floor["aji"]["mean"]) == (1, 1)
        assert floor["dice"]["first_minus_this"]["mean"] == -1


class TestBadInput:
    def refused(self, *arguments: object) -> str:
        result = evaluate(*arguments)
        assert result.exit_code == 2
        return result.stderr

    def test_names_that_do_not_match_are_all_listed(self, truth: Path, tmp_path: Path) -> None:
        found = write(tmp_path / "found", x=np.zeros((40, 60), np.uint8))
        told = self.refused("--predicted", found, "--masks", truth)
        assert "2 of 2 masks in" in told
        assert "a, b; these have no mask: x" in told

    def test_every_fault_is_listed(self, truth: Path, tmp_path: Path) -> None:
        found = write(
            tmp_path / "found",
            a=np.zeros((40, 61), np.uint8),
            b=np.dstack([squares((1, 1)), squares((2, 2)), squares((3, 3))]),
        )
        told = self.refused("--predicted", found, "--masks", truth)
        assert "for 2 reasons" in told
        assert "a: the mask is 60 × 40 px and the prediction 61 × 40" in told
        assert "b.png is in colour" in told

    def test_probabilities_are_no_masks(self, truth: Path, tmp_path: Path) -> None:
        luck = np.random.default_rng(0).integers(0, 256, (40, 60)).astype(np.uint8)
        found = write(tmp_path / "found", a=luck, b=luck)
        told = self.refused("--predicted", found, "--masks", truth)
        assert "--predicted has masks whose numbers lie scattered" in told
        assert "threshold them" in told

    def test_truth_without_foreground_or_background(self, truth: Path, tmp_path: Path) -> None:
        nothing = np.zeros((40, 60), np.uint8)
        found = write(tmp_path / "found", a=nothing, b=nothing)
        write(truth, a=nothing, b=nothing)
        told = self.refused("--predicted", found, "--masks", truth)
        assert "are empty; foreground must be above 0" in told
        write(truth, a=nothing + 1, b=nothing + 1)
        assert "has background, which is 0" in self.refused("--predicted", found, "--masks", truth)

    def test_folders_that_are_none_or_alike(self, truth: Path, tmp_path: Path) -> None:
        told = self.refused("--predicted", tmp_path / "none", "--masks", truth)
        assert f"--predicted {tmp_path / 'none'} is no folder" in told
        told = self.refused("--predicted", truth, "--masks", truth, "--against", truth)
        assert "two folders of predicted masks are called truth" in told

    def test_an_error_is_a_document_too(self, truth: Path, tmp_path: Path) -> None:
        result = evaluate("--predicted", tmp_path, "--masks", truth, "--json")
        assert json.loads(result.stdout)["error"]["reason"] == "labels"


@pytest.mark.real
def test_real_nuclei_against_themselves_and_the_floor(tmp_path: Path) -> None:
    folder = NUCLEI / "dsb2018_stained"
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    paths = sorted((folder / "labels").iterdir())[:5]
    for role in ("labels", "images"):
        (tmp_path / role).mkdir()
        for path in paths:
            (own,) = (folder / role).glob(f"{path.stem}.*")
            (tmp_path / role / own.name).symlink_to(own)
    document = told(evaluate("--predicted", tmp_path / "labels", "--masks", tmp_path / "labels",
                             "--images", tmp_path / "images", "--json"))  # fmt: skip
    own, floor = document["masks"]
    assert document["settings"]["true_objects"] == "ids"
    assert (own["dice"]["mean"], own["aji"]["mean"]) == (1, 1)
    # Purple nuclei on pale ground: a threshold finds most of them, and joins what touches.
    assert 0.5 < floor["dice"]["mean"] < 1
    assert floor["aji"]["mean"] < floor["dice"]["mean"]
