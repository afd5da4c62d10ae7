"""The tables of docs/evidence.md, and the command that makes them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from benchmarks import evidence
from benchmarks.evidence_runs import SCALES, TEST, TRAIN
from benchmarks.evidence_table import Row, markdown, marked_text, near_far_markdown, write_rows
from wsi_tower.phantom.tumour import metastasis_for
from wsi_tower.scores import (
    Addr,
    Interval,
    NeighbourAccuracy,
    Retrieval,
    Score,
    SlideAddr,
    TumourScores,
)

if TYPE_CHECKING:
    from pathlib import Path


def row(method: str, seed: int | None, addr: float, top_1: float) -> Row:
    return Row(method, seed, "pooled 512", "reinhard", addr, 1, 2, top_1, 0.1, 0.5, 0.5, 0.75)


def chance(first: float, some: float) -> TumourScores:
    shares = (
        Score(0.5, first, None),
        Score(0.5, some, Interval(0.4, 0.6)),
        Score(0.5, first, None),
    )
    found = Retrieval(10, 4, 9, 5, *shares, slides=())
    return TumourScores(found, NeighbourAccuracy(15, 4, 0.5, 0.5, 0.5, None))


def test_a_method_is_the_mean_of_its_runs() -> None:
    rows = [row("tower", 0, 1.1, 0.2), row("tower", 1, 1.3, 0.4), row("colour", None, 1.25, 0.3)]
    lines = markdown(rows, chance(0.05, 0.4)).splitlines()
    assert lines[2].startswith("| `tower` | pooled 512 | 1.200 ± 0.141 | 30.0 ± 14.1 % |")
    assert lines[3].startswith("| floor: colour | pooled 512 | 1.250 | 30.0 % |")
    assert lines[4] == "| chance |  | 1 | 5.0 % | 40.0 % | 50 % |"
    assert "| 1.50 | 34 % |" in lines[5]
    assert len({line.count("|") for line in lines}) == 1


def test_real_slides_show_both_distances() -> None:
    score = Addr(1.5, None, (SlideAddr("a", 9, 4, 32, 2.0, 3.0),))
    assert near_far_markdown({"`tower`": score}).splitlines()[2] == "| `tower` | 2 | 3 | 1.500 |"


def test_only_what_lies_between_the_marks_changes() -> None:
    page = "a\n<!-- evidence small: begin -->\nold\n<!-- evidence small: end -->\nb\n"
    once = marked_text(page, "small", "| new |\n")
    assert "old" not in once
    assert once.startswith("a\n")
    assert once.endswith("-->\nb\n")
    assert marked_text(once, "small", "| new |\n") == once
    with pytest.raises(ValueError, match="no marks"):
        marked_text(page, "paper", "")


def test_the_page_has_a_place_for_every_table() -> None:
    page = evidence.PAGE.read_text(encoding="utf-8")
    for name in ("small", "paper", "real"):
        marked_text(page, name, "")


def test_rows_have_a_line_each(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", [row("tower", 0, 1.1, 0.2), row("colour", None, 1.2, 0.3)])
    with (tmp_path / "a.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["method"], first["seed"], float(first["addr"])) == ("tower", "0", 1.1)
    assert second["seed"] == ""


def test_the_cohort_is_what_the_page_says() -> None:
    assert (len(TRAIN), len(TEST)) == (8, 4)
    patients = [{number // 2 for number in part} for part in (TRAIN, TEST)]
    assert not patients[0] & patients[1]
    assert sum(metastasis_for(number) != "none" for number in TEST) == 3
    assert {scale.seeds for name, scale in SCALES.items() if name != "toy"} == {3}


@pytest.mark.slow
def test_the_command_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "RESULTS", tmp_path / "results")

    def run(seeds: int) -> str:
        asked = ["--preset", "toy", "--folder", str(tmp_path / "runs"), "--method", "similarity"]
        result = CliRunner().invoke(
            evidence.main, [*asked, "--seeds", str(seeds)], catch_exceptions=False
        )
        assert result.exit_code == 0, result.output
        return result.stderr

    assert run(1).count("wsi-tower pretrain") == 1
    # The second run learns what is missing and nothing else.
    again = run(2)
    assert again.count("wsi-tower pretrain") == 1
    assert "similarity-seed1" in again
    with (tmp_path / "results" / "evidence-toy.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(one["method"], one["seed"]) for one in rows[:2]] == [
        ("similarity", "0"),
        ("similarity", "1"),
    ]
    assert len(rows) == 4
