"""Answers: who may answer, what is merged, how several queries become one."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.retrieval.cohorts import nearest_by_hand, write_slide
from wsi_tower.cli.options import parsed_filters
from wsi_tower.errors import InputError, SettingsError
from wsi_tower.geometry import Level0Box
from wsi_tower.retrieval import (
    Asking,
    Hit,
    Nearest,
    QuerySettings,
    TileIndex,
    answer,
    answer_slides,
    build_index,
    hits_csv,
    hits_geojson,
    question_of,
    refined,
)
from wsi_tower.retrieval.picking import fused
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.retrieval.conftest import Cohort
    from wsi_tower.retrieval import Answer

ASKED = Asking(slide="s01", place=7)


def answered(cohort: Cohort, asking: Asking = ASKED, **settings: Any) -> Answer:
    question = question_of(asking, cohort.index, cohort.workspace)
    return answer(cohort.index, question, QuerySettings(**settings))


def places(found: Answer) -> list[tuple[int, int]]:
    return [(int(hit.slide[1:]), hit.row) for hit in found.hits if isinstance(hit, Hit)]


def test_own_slide_and_own_patient_do_not_answer(small: Cohort) -> None:
    """Slides s00 and s01 are of patient p0."""
    vector = small.features[1][7]
    cases: list[tuple[list[int], dict[str, Any]]] = [
        ([2, 3, 4, 5], {}),
        ([0, 2, 3, 4, 5], {"own_patient": True}),
        ([1, 2, 3, 4, 5], {"own_slide": True}),
        ([0, 1, 2, 3, 4, 5], {"own_slide": True, "own_patient": True}),
    ]
    for allowed, flags in cases:
        found = answered(small, hits=9, per_slide=0, **flags)
        by_hand = nearest_by_hand(small.features, vector, 10, allowed)
        # The asked tile itself is never an answer.
        assert places(found) == [place for place in by_hand if place != (1, 7)][:9]
        assert found.searched_slides == len(allowed)
        assert found.searched_tiles == 40 * len(allowed)


def test_another_column_may_name_the_patient(small: Cohort) -> None:
    """s01 and s04 are both of site lung."""
    found = answered(small, patient_column="site", hits=100, per_slide=0)
    assert {slide for slide, _ in places(found)} == {0, 2, 3, 5}
    found = answered(small, patient_column="nobody", hits=5)
    assert "no column 'nobody'" in found.notes[0]


def test_filters_hold_within_the_search(small: Cohort) -> None:
    vector = small.features[1][7]
    where = parsed_filters(["site=breast"])
    assert places(answered(small, where=where, per_slide=0)) == nearest_by_hand(
        small.features, vector, 12, [3]
    )
    where = parsed_filters(["site=breast", "site = colon", "patient=p2"])
    assert places(answered(small, where=where, per_slide=0)) == nearest_by_hand(
        small.features, vector, 12, [5]
    )


def test_at_most_so_many_of_a_slide(small: Cohort) -> None:
    found = places(answered(small, hits=8, per_slide=2))
    assert [sum(slide == own for slide, _ in found) for own in (2, 3, 4, 5)] == [2, 2, 2, 2]
    by_hand = nearest_by_hand(small.features, small.features[1][7], 160, [2, 3, 4, 5])
    for own in (2, 3, 4, 5):
        assert [place for place in found if place[0] == own] == [
            place for place in by_hand if place[0] == own
        ][:2]


def test_too_few_hits_are_said_to_be(small: Cohort) -> None:
    found = answered(small, hits=50, per_slide=1)
    assert len(found.hits) == 4
    (note,) = found.notes
    assert note.startswith("only 4 of 50 hits: there are no more with at most 1 of a slide")


@pytest.fixture
def overlapping(tmp_path: Path) -> Cohort:
    """One slide to ask, and one whose tiles of 100 px stand every 50 px; it has bounds."""
    from tests.retrieval.conftest import Cohort

    features = [np.zeros((2, 8), np.float32), np.zeros((40, 8), np.float32)]
    features[1][:, 0] = np.arange(40, 0, -1)
    write_slide(tmp_path, 0, features[0])
    of_slide = {"pitch_l0": 50, "bounds": Level0Box(30, 20, 900, 700)}
    write_slide(tmp_path, 3, features[1], of_slide=of_slide)
    workspace = Workspace(tmp_path)
    build_index([workspace], "tower")
    return Cohort(workspace, features, TileIndex.open(workspace.index("tower")))


def test_hits_that_overlap_are_merged_into_the_nearer(overlapping: Cohort) -> None:
    """Rows of ten tiles, each half over the next; the last is nearest, then leftwards and up."""
    found = answered(overlapping, Asking(slide="s00", place=0), hits=100, per_slide=0)
    shown = [(hit.row, hit.merged) for hit in found.hits if isinstance(hit, Hit)]
    # Row 39 covers part of 38 and of 29, 28 above it; 37 of 36, 28, 27, 26; …; 31 of 30, 22 … 20.
    # 28 and 26 overlap a better one, so that they go to the first that is on their list: 39, 37.
    assert [row for row, _ in shown] == [39, 37, 35, 33, 31, 19, 17, 15, 13, 11]
    assert shown[0] == (39, 3)
    assert shown[1] == (37, 3)
    assert sum(1 + merged for _, merged in shown) == 40
    assert isinstance(found.hits[0], Hit)
    assert (found.hits[0].xy_l0, found.hits[0].centre_um) == ((450, 150), (125.0, 50.0))
    assert found.hits[0].distance == 1.0


def test_what_overlaps_the_asked_tile_is_left_out(overlapping: Cohort) -> None:
    found = answered(
        overlapping, Asking(slide="s03", place=39), hits=100, per_slide=0, own_slide=True
    )
    rows = {hit.row for hit in found.hits if isinstance(hit, Hit) and hit.slide == "s03"}
    assert rows.isdisjoint({39, 38, 29, 28})
    assert 37 in rows


def test_geojson_counts_from_the_scanned_part(overlapping: Cohort) -> None:
    found = answered(overlapping, Asking(slide="s00", place=0), hits=1)
    (text,) = hits_geojson(found, overlapping.index).values()
    (feature,) = json.loads(text)["features"]
    # Corner (450, 150), a side of 100, less the corner (30, 20) of the bounds.
    ring = {tuple(point) for point in feature["geometry"]["coordinates"][0]}
    assert ring == {(420, 130), (520, 130), (520, 230), (420, 230)}
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["measurements"] == {"rank": 1, "distance": 1.0}


def test_csv_has_a_row_a_hit_and_all_columns(small: Cohort) -> None:
    found = answered(small, hits=4)
    rows = list(csv.DictReader(io.StringIO(hits_csv(found))))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    first, hit = rows[0], found.hits[0]
    assert isinstance(hit, Hit)
    assert (first["slide"], int(first["row"])) == (hit.slide, hit.row)
    assert (int(first["x_l0"]), int(first["y_l0"])) == hit.xy_l0
    assert float(first["distance"]) == hit.distance
    assert (first["patient"], first["site"]) == (hit.cohort["patient"], hit.cohort["site"])


def test_json_keeps_the_cohort_s_columns_beside_its_own(small: Cohort) -> None:
    told = answered(small, hits=1).to_json()
    assert told["query"] == {
        "kind": "tile",
        "slide": "s01",
        "row": 7,
        "xy_l0": [700, 0],
        "centre_um": [187.5, 12.5],
        "like": [],
        "unlike": [],
    }
    (hit,) = told["hits"]
    assert hit.keys() == {
        *("slide", "row", "xy_l0", "centre_um", "distance", "merged", "patient", "site"),
    }
    json.dumps(told)


def ranking(*pairs: tuple[int, int, float]) -> Nearest:
    slides, rows, distances = zip(*pairs, strict=True)
    return Nearest(np.array(slides), np.array(rows), np.array(distances, np.float64))


def test_rankings_are_fused_by_the_reciprocals_of_ranks() -> None:
    """Worked by hand with k = 60: 1/61 + 1/63, 1/62 + 1/62, 1/61, 1/63."""
    a, b, c, d = (0, 5), (1, 2), (0, 9), (2, 0)
    first = ranking((*a, 1.0), (*b, 2.0), (*d, 3.0))
    second = ranking((*c, 4.0), (*b, 5.0), (*a, 6.0))
    found = fused([first, second])
    order = list(zip(found.slides.tolist(), found.rows.tolist(), strict=True))
    assert 1 / 61 + 1 / 63 > 2 / 62
    assert order == [a, b, c, d]
    assert found.distances.tolist() == [1.0, 2.0, 4.0, 3.0]


def test_equal_scores_stand_by_distance() -> None:
    found = fused([ranking((4, 1, 0.5), (3, 1, 0.6)), ranking((2, 1, 0.2), (1, 1, 0.9))])
    assert found.slides.tolist() == [2, 4, 3, 1]


def test_one_ranking_keeps_its_order(small: Cohort) -> None:
    found = fused([ranking((4, 1, 0.5), (3, 1, 0.5), (9, 9, 0.7))])
    assert found.slides.tolist() == [4, 3, 9]


def test_examples_move_a_query_by_rocchio() -> None:
    """(1 · q + 0.75 · mean(like) − 0.15 · mean(unlike)) / 1.6, by hand."""
    query = np.array([[1.0, 0.0]], np.float32)
    like = np.array([[3.0, 2.0], [5.0, 2.0]], np.float32)
    unlike = np.array([[0.0, 4.0]], np.float32)
    np.testing.assert_allclose(refined(query, like, unlike), [[(1 + 3) / 1.6, (1.5 - 0.6) / 1.6]])
    np.testing.assert_allclose(refined(query, like), [[4 / 1.75, 1.5 / 1.75]])
    np.testing.assert_allclose(refined(query, None, unlike), [[1 / 0.85, -0.6 / 0.85]])
    np.testing.assert_array_equal(refined(query), query)


def test_refinement_does_not_depend_on_the_origin() -> None:
    """Descriptors that are all moved alike give an answer that is moved alike."""
    rng = np.random.default_rng(0)
    query, like, unlike = (rng.normal(size=(3, 4)).astype(np.float32) for _ in range(3))
    moved = refined(query + 10, like + 10, unlike + 10)
    np.testing.assert_allclose(moved, refined(query, like, unlike) + 10, atol=1e-4)


def test_examples_refine_the_answer(small: Cohort) -> None:
    features = small.features
    asking = replace(ASKED, like=(("s04", 3), ("s05", (12.5, 12.5))), unlike=(("s02", 1),))
    found = answered(small, asking, hits=5, per_slide=0)
    like = np.array([features[4][3], features[5][0]])
    vector = refined(features[1][7:8], like, features[2][1:2])[0]
    by_hand = nearest_by_hand(features, vector, 8, [2, 3, 4, 5])
    # Examples do not answer; their slides do.
    assert (
        places(found) == [place for place in by_hand if place not in {(4, 3), (5, 0), (2, 1)}][:5]
    )
    assert [one["row"] for one in found.query["like"]] == [3, 0]


def test_examples_alone_are_asked_by_their_mean(small: Cohort) -> None:
    found = answered(small, Asking(like=(("s02", 1), ("s04", 2))), hits=5, per_slide=0)
    vector = (small.features[2][1] + small.features[4][2]) / 2
    # p1 has s02 and s03, p2 has s04 and s05.
    assert places(found) == nearest_by_hand(small.features, vector, 5, [0, 1])
    assert found.query["kind"] == "examples"


def test_slides_are_ranked_by_their_descriptors(small: Cohort) -> None:
    question = question_of(Asking(level="slide", slide="s01"), small.index, small.workspace)
    found = answer_slides(small.index, question, QuerySettings(hits=3))
    means = np.array([one.mean(axis=0, dtype=np.float64) for one in small.features])
    by_hand = np.linalg.norm(means - means[1], axis=1)
    order = [slide for slide in np.argsort(by_hand).tolist() if slide not in (0, 1)][:3]
    assert [int(hit.slide[1:]) for hit in found.hits] == order
    np.testing.assert_allclose([hit.distance for hit in found.hits], by_hand[order], rtol=1e-5)
    found = answer_slides(small.index, question, QuerySettings(own_slide=True, own_patient=True))
    assert sorted(hit.slide for hit in found.hits) == ["s00", "s02", "s03", "s04", "s05"]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("site=brain", "has site=brain; there are site: breast, colon, lung"),
        ("patient=p0", r"each of 2 .* with patient=p0 is asked about \(s01\)"),
    ],
)
def test_nothing_left_is_an_error_with_its_reason(small: Cohort, where: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        answered(small, where=parsed_filters([where]))


def test_a_column_that_nobody_has_is_an_error(small: Cohort) -> None:
    with pytest.raises(SettingsError, match="column 'organ'; known are patient, site"):
        answered(small, where=parsed_filters(["organ=lung"]))
    with pytest.raises(SettingsError, match="--where 'site' is no COLUMN=VALUE"):
        parsed_filters(["site"])


@pytest.mark.parametrize("values", [{"hits": 0}, {"per_slide": -1}])
def test_query_settings_that_cannot_be_right_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="must be"):
        QuerySettings(**values)  # type: ignore[arg-type]
