"""`wsi-tower evaluate` as a user runs it, on embeddings whose scores are known."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.cli.studies import annotate, embed, noise, place, tiled_study
from wsi_tower.cli.evaluate import command
from wsi_tower.cli.main import cli
from wsi_tower.embeddings import open_cache
from wsi_tower.models import Network, Origin, build_encoder, load_encoder, save_network
from wsi_tower.scores import COLOUR, colour_statistics
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

SHARES = {"phantom-01": 0.4, "phantom-03": 0.4}
"""Slides of different patients, and how much of them is called tumour."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slides of two patients, embedded by their place, by nothing, and by their label."""
    workspace = tiled_study(tmp_path_factory.mktemp("evaluate"))
    embed(workspace, "place", place)
    embed(workspace, "noise", noise, settings={"stain": "none"}, descriptor="head")
    annotate(workspace, workspace.parent / "drawn", SHARES)
    return workspace


def evaluate(verb: str, workspace: Path, *arguments: object) -> Result:
    own = ("--near", "200um", "--far", "800um") if verb == "addr" else ()
    words = ["evaluate", verb, "-w", workspace, "--no-floors", *own, *arguments]
    return CliRunner().invoke(cli, list(map(str, words)), catch_exceptions=False)


def retrieval(workspace: Path, *arguments: object) -> Result:
    return evaluate("retrieval", workspace, "--annotations", workspace.parent / "drawn", *arguments)


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


class TestAddr:
    def test_place_is_above_one_and_noise_is_one(self, study: Path) -> None:
        document = told(evaluate("addr", study, "--json"))
        noise, place = document["encoders"]
        assert (noise["encoder"], noise["descriptor"], noise["length"]) == ("noise", "head", 24)
        assert noise["addr"] == pytest.approx(1, abs=0.03)
        assert place["addr"] > 4
        assert place["interval"][0] < place["addr"] < place["interval"][1]
        assert [one["slide_id"] for one in place["by_slide"]] == [
            f"phantom-0{number}" for number in (1, 2, 3, 4)
        ]
        assert document["settings"]["pairs"] == {"near_um": 200, "far_um": 800, "cross_slide": 0}
        # What was not normalised is said, with the command that does it.
        (note,) = document["notes"]
        assert note.startswith("noise saw tiles as scanned")
        assert "wsi-tower embed --encoder noise --stain reinhard" in note

    def test_a_table_has_a_line_an_encoder(self, study: Path) -> None:
        result = evaluate("addr", study, "--encoder", "place", "--pairs", 2)
        assert result.exit_code == 0
        headline, heads, line = result.stdout.splitlines()
        assert headline.startswith("4 slides, ")
        assert "near up to 0.2 mm, distant beyond 0.8 mm" in headline
        assert heads.split()[:4] == ["encoder", "descriptor", "stain", "ADDR"]
        assert line.split()[:4] == ["place", "pooled", "2", "reinhard"]
        assert result.stderr == ""

    def test_rows_go_into_a_csv(self, study: Path, tmp_path: Path) -> None:
        document = told(evaluate("addr", study, "--csv", tmp_path / "a.csv", "--json"))
        with (tmp_path / "a.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row, one in zip(rows, document["encoders"], strict=True):
            assert float(row["addr"]) == one["addr"]
            assert [float(row["low"]), float(row["high"])] == one["interval"]

    def test_slides_are_chosen_by_columns(self, study: Path) -> None:
        one = told(evaluate("addr", study, "--where", "patient=patient-02", "--json"))
        assert one["encoders"][0]["slides"] == 2
        both = told(evaluate("addr", study, "--where", "label=normal", "--where", "site=north",
                             "--json"))  # fmt: skip
        assert both["encoders"][0]["slides"] <= 2

    def test_one_slide_has_no_interval(self, study: Path, tmp_path: Path) -> None:
        shutil.copytree(study / "embeddings" / "place", tmp_path / "embeddings" / "place")
        for path in sorted((tmp_path / "embeddings" / "place").iterdir())[1:]:
            path.unlink()
        result = evaluate("addr", tmp_path)
        assert "one slide alone gives no interval" in result.stderr
        assert "–" in result.stdout

    def test_small_tissue_is_said(self, study: Path) -> None:
        result = evaluate("addr", study, "--far", "30mm")
        assert result.exit_code == 2
        assert "none of 4 slides has a tile with a near and a distant partner" in result.stderr
        error = json.loads(evaluate("addr", study, "--far", "30mm", "--json").stdout)["error"]
        assert error["reason"] == "score"


class TestRetrieval:
    def test_place_finds_the_same_side_and_the_own_patient_never_answers(self, study: Path) -> None:
        document = told(retrieval(study, "--json", "--top", 3))
        noise, place = document["encoders"]
        found = place["retrieval"]
        # Tumour is the left part of slides of either patient, so place tells it.
        assert found["top_1"]["value"] > 2 * found["top_1"]["chance"]
        assert place["neighbours"]["balanced"] > 0.7
        random = noise["retrieval"]["top_1"]
        assert random["value"] == pytest.approx(random["chance"], abs=0.15)
        assert {one["slide_id"] for one in found["slides"]} == set(SHARES)
        assert any("2 of 4 slides have no annotation file" in note for note in document["notes"])

    def test_twins_on_the_own_slide_do_not_help(self, study: Path, tmp_path: Path) -> None:
        # Descriptors that name the slide: every nearest tile would be of the own one.
        root = tmp_path / "study"
        shutil.copytree(study, root, ignore=shutil.ignore_patterns("embeddings"))
        shutil.copytree(study.parent / "drawn", tmp_path / "drawn")
        embed(root, "slide", lambda store, number: np.full((len(store), 2), number))
        found = told(retrieval(root, "--json"))["encoders"][0]["retrieval"]
        # Patient 1's only tumour slide is as far from normal slide 04 as from 03, but 02 is no
        # candidate: slide 01 finds 03 (tumour), at distance 2; slide 03 finds 02 (normal).
        shares = {one["slide_id"]: one["top_1"] / one["queries"] for one in found["slides"]}
        assert shares["phantom-03"] == 0
        assert shares["phantom-01"] in (0, 1)

    def test_pictures_are_drawn(self, study: Path, tmp_path: Path) -> None:
        result = retrieval(study, "--plot", tmp_path / "look", "--projection", "pca")
        looks = [line for line in result.stdout.splitlines() if line.startswith("Look at ")]
        assert looks == [f"Look at {tmp_path}/look/{name}.png" for name in ("noise", "place")]
        with Image.open(tmp_path / "look" / "place.png") as picture:
            assert picture.width > 1000

    def test_the_table_says_chance(self, study: Path, tmp_path: Path) -> None:
        result = retrieval(study, "--csv", tmp_path / "b.csv", "--neighbours", 5)
        assert re.search(r"first answer is tumour by chance: \d+\.\d%", result.stdout)
        assert "5-NN accuracy" in result.stdout
        with (tmp_path / "b.csv").open(newline="") as file:
            first = next(csv.DictReader(file))
        assert {"retrieval.top_1.value", "retrieval.top_1.low", "neighbours.balanced"} <= set(first)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--where", "patient=patient-01"), "all 2 slides are of patient 'patient-01'"),
            (
                ("--patient-column", "x", "--tumour-class", "DCIS"),
                "no tile of 4 slides is at least",
            ),
            (("--query-fraction", "0"), "query_fraction is 0"),
            (("--tumour-class", "a", "--cut-out-class", "A"), "both tumour and cut out"),
            (("--where", "patient"), "--where 'patient' is no COLUMN=VALUE"),
            (("--encoder", "x"), "no embeddings of encoder x, only of noise, place"),
        ],
    )
    def test_what_cannot_be_is_said(
        self, study: Path, arguments: tuple[str, ...], said: str
    ) -> None:
        result = retrieval(study, *arguments)
        assert result.exit_code == 2
        assert said in result.stderr

    def test_annotations_of_other_slides_are_said(self, study: Path, tmp_path: Path) -> None:
        def asked(folder: Path) -> Result:
            return evaluate("retrieval", study, "--annotations", folder)

        folder = tmp_path / "others"
        folder.mkdir()
        (folder / "tumor_001.xml").write_text("<ASAP_Annotations/>")
        assert "none of 1 annotation files in" in asked(folder).stderr
        assert "called tumor_001.xml and so on" in asked(folder).stderr
        shutil.copyfile(study.parent / "drawn" / "phantom-01.xml", folder / "phantom-02.xml")
        shutil.copyfile(study.parent / "drawn" / "phantom-03.xml", folder / "phantom-03.xml")
        assert "annotation files are of no scored slide: tumor_001.xml" in asked(folder).stderr
        assert "are no folder" in asked(tmp_path / "none").stderr


def test_an_empty_workspace_says_how_to_fill_it(tmp_path: Path) -> None:
    result = evaluate("addr", tmp_path)
    assert result.exit_code == 2
    assert (
        f"workspace {tmp_path} has no embeddings; make them with `wsi-tower embed" in result.stderr
    )


def test_descriptors_that_are_no_numbers_are_named(study: Path, tmp_path: Path) -> None:
    root = tmp_path / "study"
    shutil.copytree(study, root, ignore=shutil.ignore_patterns("embeddings"))
    shutil.copytree(study.parent / "drawn", tmp_path / "drawn")
    embed(root, "broken", lambda store, _: np.full((len(store), 2), np.nan))
    for result in (evaluate("addr", root), retrieval(root)):
        assert result.exit_code == 2
        assert "slide phantom-01 has descriptors that are not finite numbers" in result.stderr


class TestFloors:
    def test_colour_and_random_weights_stand_beside_every_encoder(
        self, study: Path, tmp_path: Path
    ) -> None:
        root = tmp_path / "study"
        shutil.copytree(study, root)
        network = Network(build_encoder("test_resnet"))
        trained = Workspace(root).encoders / "small"
        save_network(trained, network, Origin("small", "tower", 32, 2.0))
        arguments = ["embed", "--encoder", "small", "-w", str(root), "--no-report"]
        assert CliRunner().invoke(cli, arguments, catch_exceptions=False).exit_code == 0
        shutil.rmtree(root / "embeddings" / "place")
        shutil.rmtree(root / "embeddings" / "noise")

        first = evaluate("addr", root, "--floors")
        assert first.stderr.count("made floor") == 8
        rows = told(evaluate("addr", root, "--floors", "--json"))["encoders"]
        assert [(row["encoder"], row["role"]) for row in rows] == [
            ("small", "encoder"),
            ("untrained-test_resnet", "floor"),
            (COLOUR, "floor"),
        ]
        assert "made floor" not in evaluate("addr", root, "--floors").stderr
        # An untrained encoder is no encoder that `embed` would take by itself.
        assert load_encoder("untrained-test_resnet", workspace=Workspace(root)).record.origin.method
        again = CliRunner().invoke(cli, ["embed", "-w", str(root), "--no-report"])
        assert "encoder small" in again.stderr
        for path in Workspace(root).tile_stores():
            with TileStore.open(path) as store:
                kept = open_cache(root / "embeddings" / COLOUR / f"{path.stem}.h5")
                flat = store.pixels[:5].reshape(5, -1, 3).astype(float)
                expected = np.hstack([flat.mean(axis=1), flat.std(axis=1)])
                assert kept.features[:5] == pytest.approx(expected, abs=0.01)

    def test_colour_statistics_by_hand(self) -> None:
        tiles = np.zeros((1, 2, 2, 3), np.uint8)
        tiles[0, 0] = (10, 20, 30)
        assert colour_statistics(tiles).tolist() == [[5, 10, 15, 5, 10, 15]]


@pytest.mark.parametrize("verb", ["addr", "retrieval"])
def test_examples_of_each_are_commands_that_parse(verb: str) -> None:
    one = command.commands[verb]
    for text in (command.epilog, one.epilog):
        for example in re.findall(rf"evaluate {verb}(.*?)(?:\s{{3,}}|\n|$)", text or ""):
            one.make_context(verb, list(shlex.split(example)))
    assert isinstance(one, click.Command)
