"""`wsi-tower classify` and `evaluate labels` as a user runs them, on embeddings that are known."""

from __future__ import annotations

import csv
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.cli.studies import annotate, embed, noise, tiled_study
from wsi_tower.annotations import find_annotations
from wsi_tower.classify import ClassRules, tile_labels
from wsi_tower.cli.main import cli
from wsi_tower.models import load_classifier
from wsi_tower.ngff import read_label_image
from wsi_tower.scores import open_cohort
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.tiles import TileStore

SHARES = dict.fromkeys(("phantom-01", "phantom-02", "phantom-03", "phantom-04"), 0.5)
IDS = tuple(SHARES)


def told_by_place(store: TileStore, number: int) -> np.ndarray:
    """Above 0 in the left half of the tiles, below on the right, and a little luck."""
    x = store.xy_l0[:, 0].astype(float)
    middle = (x.min() + x.max() + store.plan.footprint_l0) / 2
    sides = (middle - x) / np.ptp(x)
    luck = np.random.default_rng(number).normal(scale=0.1, size=(len(store), 3))
    return np.hstack([sides[:, None] + luck[:, :1], luck])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slides of four patients, whose left halves are called tumour."""
    workspace = tiled_study(tmp_path_factory.mktemp("classify"))
    rows = "".join(f"{name},owner-{name},{part}\n" for name, part in zip(
        IDS, ("train", "validation", "test", "train"), strict=True))  # fmt: skip
    (workspace / "cohort.csv").write_text(f"slide_id,owner,part\n{rows}")
    for name in IDS:
        assert Workspace(workspace).cohort()[name]["owner"] == f"owner-{name}"
    embed(workspace, "sides", told_by_place)
    embed(workspace, "noise", noise)
    annotate(workspace, workspace.parent / "drawn", SHARES)
    return workspace


@pytest.fixture
def own(study: Path, tmp_path: Path) -> Path:
    """A copy to write into."""
    root = tmp_path / "study"
    shutil.copytree(study, root, ignore=shutil.ignore_patterns("models", "classifications"))
    return root


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)


def classify(workspace: Path, *arguments: object) -> Result:
    return run("classify", "-w", workspace, "--patient-column", "owner", *arguments)


def learn(study: Path, workspace: Path, *arguments: object) -> Result:
    drawn = study.parent / "drawn"
    return classify(workspace, "--annotations", drawn, "--encoder", "sides", *arguments)


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestClassify:
    def test_what_was_drawn_is_found_on_slides_that_taught_nothing(
        self, study: Path, own: Path
    ) -> None:
        document = told(learn(study, own, "--split-column", "part", "--json"))
        training = document["classifier"]["training"]
        assert training["split"]["train"] == ["phantom-01", "phantom-04"]
        assert training["split"]["validation"] == ["phantom-02"]
        assert training["split"]["test"] == ["phantom-03"]
        assert training["test"]["balanced"] > 0.85
        assert training["test"]["ece"] < 0.15
        assert [row["status"] for row in document["slides"]] == ["done"] * 4
        home = Workspace(own)
        cohort = open_cohort([home], "sides")
        labels = tile_labels(
            cohort, find_annotations(study.parent / "drawn", IDS), ClassRules()
        ).of_slide["phantom-03"]
        rows = rows_of(home.classifications("classify-sides") / "phantom-03.csv")
        assert [row["class"] == "tumour" for row in rows].count(True) == pytest.approx(
            (labels == 0).sum(), rel=0.25
        )
        for row, xy in zip(rows, cohort.caches[2].coords_l0.tolist(), strict=True):
            assert [int(row["x_l0"]), int(row["y_l0"])] == xy
            assert float(row["p_tumour"]) + float(row["p_other"]) == pytest.approx(1, abs=2e-6)
            assert (float(row["p_tumour"]) >= 0.5) == (row["class"] == "tumour")

    def test_the_map_has_a_pixel_a_tile_in_its_place(self, study: Path, own: Path) -> None:
        assert learn(study, own, "--name", "tumour").exit_code == 0
        folder = own / "classifications" / "tumour"
        image = read_label_image(folder / "phantom-01.zarr")
        rows = rows_of(folder / "phantom-01.csv")
        cache = open_cohort([Workspace(own)], "sides").caches[0]
        pitch = cache.slide.pitch_l0
        assert np.count_nonzero(image) == len(rows)
        for row in rows:
            step = image[int(row["y_l0"]) // pitch, int(row["x_l0"]) // pitch]
            assert (step - 1) / 100 - 1e-6 <= float(row["p_tumour"]) <= step / 100 + 1e-6
        attributes = json.loads((folder / "phantom-01.zarr" / "zarr.json").read_text())
        ome = attributes["attributes"]["ome"]
        scale = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
        assert scale == [pitch * cache.slide.mpp.y, pitch * cache.slide.mpp.x]
        picture = own / "reports" / "pictures" / "classes-tumour" / "phantom-01.png"
        with Image.open(picture) as opened:
            assert opened.width > 500

    def test_a_classifier_goes_on_to_further_slides(self, study: Path, own: Path) -> None:
        later = own / "embeddings" / "sides" / "phantom-04.h5"
        content = later.read_bytes()
        later.unlink()
        assert learn(study, own, "--name", "tumour").exit_code == 0
        later.write_bytes(content)
        document = told(classify(own, "--model", "tumour", "--json"))
        status = {row["slide_id"]: row["status"] for row in document["slides"]}
        assert status == dict.fromkeys(IDS, "skipped") | {"phantom-04": "done"}
        assert document["classifier"]["is_new"] is False
        one = told(classify(own, "--model", "tumour", "slides/phantom-02.svs", "--show", "other",
                            "--json"))  # fmt: skip
        assert [(row["slide_id"], row["status"]) for row in one["slides"]] == [
            ("phantom-02", "done")
        ]

    def test_patients_are_drawn_and_what_was_done_is_said(self, study: Path, own: Path) -> None:
        result = learn(study, own, "--head", "neighbours", "--neighbours", 5)
        assert result.exit_code == 0
        assert "4 patients were parted: 2 slides train, 1 calibrate, 1 test" in result.stderr
        assert "its ECE after is too good" in result.stderr
        assert re.search(r"neighbours on sides\), learnt from \d+ tumour, \d+ other", result.stdout)
        assert {"validation", "test"} <= {
            line.split()[0] for line in result.stdout.splitlines() if line.strip()
        }
        head = load_classifier("classify-sides", workspace=Workspace(own)).head
        assert head.kind == "neighbours"

    def test_two_patients_have_no_test(self, study: Path, own: Path) -> None:
        (own / "cohort.csv").write_text(
            "slide_id,owner\nphantom-01,a\nphantom-02,a\nphantom-03,b\nphantom-04,b\n"
        )
        result = learn(study, own)
        assert "there is no test: three patients" in result.stderr
        split = load_classifier("classify-sides", workspace=Workspace(own)).record.origin.training[
            "split"
        ]
        # Slides of one patient are of one part.
        assert {tuple(split["train"]), tuple(split["validation"])} == {IDS[:2], IDS[2:]}

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--class", "Stroma"), "no annotation is of class Stroma; there are Tumor"),
            (("--no-background",), "tumour is the only class, and two are needed"),
            (("--where", "owner=owner-phantom-01"), "1 patients have labelled tiles"),
            (("--split-column", "nothing"), "no labelled slide has train in column 'nothing'"),
            (("--penalty", "0"), "penalty is 0"),
            (
                ("--show", "stroma"),
                "--show stroma is none of the classes that are told, tumour, other",
            ),
            (("--name", "a b"), "model name 'a b' has other signs"),
            (("--model", "x"), "say either what to learn from"),
            (("phantom-09",), "slide phantom-09 has no embeddings of sides"),
        ],
    )
    def test_what_cannot_be_is_said(
        self, study: Path, own: Path, arguments: tuple[str, ...], said: str
    ) -> None:
        result = learn(study, own, *arguments)
        assert result.exit_code == 2
        assert said in result.stderr
        assert not (own / "classifications").exists()
        assert not (own / "models").exists()

    def test_a_patient_in_two_parts_is_refused(self, study: Path, own: Path) -> None:
        (own / "cohort.csv").write_text(
            "slide_id,owner,part\nphantom-01,a,train\nphantom-02,a,test\nphantom-03,b,validation\n"
        )
        result = learn(study, own, "--split-column", "part")
        assert "patient a has slides in train and in test" in result.stderr

    def test_names_that_are_taken_are_kept(self, study: Path, own: Path) -> None:
        assert learn(study, own).exit_code == 0
        again = learn(study, own)
        assert again.exit_code == 2
        assert "holds a classifier already; use it with --model classify-sides" in again.stderr
        assert learn(study, own, "--overwrite", "--seed", 1).exit_code == 0

    def test_embeddings_of_another_kind_fail_and_the_others_go_on(
        self, study: Path, own: Path
    ) -> None:
        assert learn(study, own, "--name", "tumour").exit_code == 0
        result = classify(own, "--model", "tumour", "--encoder", "noise", "--json")
        assert result.exit_code == 1
        rows = json.loads(result.stdout)["slides"]
        assert {row["reason"] for row in rows} == {"model"}
        assert "pooled 24 where it learnt from pooled 4" in rows[0]["message"]
        nobody = classify(own, "--model", "tumor")
        assert "did you mean tumour?" in nobody.stderr

    def test_without_encoder_there_must_be_one(self, study: Path, own: Path) -> None:
        drawn = study.parent / "drawn"
        assert "embeddings of noise, sides; choose one" in classify(
            own, "--annotations", drawn
        ).stderr  # fmt: skip
        empty = classify(own / "none", "--annotations", drawn)
        assert "has no embeddings; make them with `wsi-tower embed" in empty.stderr


class TestLabels:
    def labels(self, study: Path, *arguments: object) -> Result:
        drawn = study.parent / "drawn"
        return run("evaluate", "labels", "-w", study, "--annotations", drawn, "--no-floors",
                   "--patient-column", "owner", *arguments)  # fmt: skip

    def test_what_tells_place_needs_few_labels_and_noise_never_gets_there(
        self, study: Path, tmp_path: Path
    ) -> None:
        table = tmp_path / "curves.csv"
        document = told(self.labels(study, "--against", "sides", "--json", "--seeds", 3,
                                    "--csv", table, "--plot", tmp_path / "look"))  # fmt: skip
        by_name = {one["name"]: one for one in document["curves"]}
        assert by_name["sides"]["mean"]["1"] > 0.85
        assert by_name["noise"]["annotations_saved"] is None
        fractions = [point["fraction"] for point in by_name["sides"]["points"]]
        # All tiles are drawn once; the others three times.
        assert fractions == [0.01] * 3 + [0.05] * 3 + [0.1] * 3 + [0.25] * 3 + [1.0]
        assert set(document["settings"]["split"]["test"]) & set(IDS)
        assert len(rows_of(table)) == 26
        with Image.open(tmp_path / "look" / "labels.png") as picture:
            assert picture.width > 700

    def test_curves_from_elsewhere_join(self, study: Path, tmp_path: Path) -> None:
        table = tmp_path / "scratch.csv"
        table.write_text("name,fraction,seed,score\nscratch,1.0,0,0.51\nscratch,1.0,1,0.53\n")
        result = self.labels(study, "--encoder", "sides", "--curves", table,
                             "--against", "scratch")  # fmt: skip
        assert result.exit_code == 0, result.stderr
        (line,) = (one for one in result.stdout.splitlines() if one.startswith("sides"))
        assert re.search(r"9\d%$", line)
        assert "scratch are read from a table" in result.stderr
        wrong = self.labels(study, "--curves", study / "cohort.csv")
        assert "is no table of curves with the columns name, fraction" in wrong.stderr

    def test_what_cannot_be_is_said(self, study: Path) -> None:
        none = self.labels(study, "--against", "scratch")
        assert "--against scratch is none of the curves noise, sides" in none.stderr
        assert "fractions are 2" in self.labels(study, "--fraction", 2).stderr
        one = self.labels(study, "--where", "owner=owner-phantom-01")
        assert "1 patients have labelled tiles, and two are needed" in one.stderr
