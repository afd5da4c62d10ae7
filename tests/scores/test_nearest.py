"""The nearest tiles on other patients' slides, against a search that looks at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsi_tower.errors import ScoreError
from wsi_tower.scores import check_finite, nearest, nearest_elsewhere

Rows = NDArray[np.int64]


def naive(
    features: list[NDArray[np.float32]], patients: list[str], slide: int, row: int
) -> list[tuple[float, int, int]]:
    """Distance, slide and row of every tile of other patients, sorted."""
    query = features[slide][row].astype(np.float64)
    return sorted(
        (float(np.sqrt(((tile.astype(np.float64) - query) ** 2).sum())), other, number)
        for other, tiles in enumerate(features)
        if patients[other] != patients[slide]
        for number, tile in enumerate(tiles)
    )


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_they_are_those_of_a_whole_search(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    slides = data.draw(st.integers(1, 5))
    # Small whole numbers: many distances are equal, and all are exact.
    features = [
        rng.integers(0, 4, (data.draw(st.integers(0, 30)), 3)).astype(np.float32) + 1000
        for _ in range(slides)
    ]
    patients = [data.draw(st.sampled_from("abc")) for _ in range(slides)]
    queries: list[Rows] = [np.flatnonzero(rng.uniform(size=len(tiles)) < 0.5) for tiles in features]
    count = data.draw(st.integers(1, 7))
    found = nearest_elsewhere(features, patients, queries, count)
    asked = [(slide, row) for slide, rows in enumerate(queries) for row in rows]
    assert found.slides.shape == (len(asked), count)
    for number, (slide, row) in enumerate(asked):
        expected = naive(features, patients, slide, row)[:count]
        kept = found.slides[number] >= 0
        assert kept.sum() == len(expected)
        assert found.distances[number, kept] == pytest.approx([one[0] for one in expected])
        for other, place, distance in zip(
            found.slides[number, kept],
            found.rows[number, kept],
            found.distances[number, kept],
            strict=True,
        ):
            assert patients[other] != patients[slide]
            assert np.linalg.norm(features[other][place] - features[slide][row]) == pytest.approx(
                distance
            )
        assert np.isinf(found.distances[number, ~kept]).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features = [rng.normal(size=(count, 16)).astype(np.float32) for count in (150, 90, 210)]
    queries = [np.arange(0, len(one), 3) for one in features]
    whole = nearest_elsewhere(features, list("abc"), queries, 5)
    monkeypatch.setattr(nearest, "_QUERIES_AT_ONCE", 17)
    monkeypatch.setattr(nearest, "_TILES_AT_ONCE", 37)
    for one, other in zip(whole, nearest_elsewhere(features, list("abc"), queries, 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_own_slide_and_patient_never_answer() -> None:
    # Each tile has its own twin on its slide and on its patient's other slide.
    rng = np.random.default_rng(0)
    tiles = rng.normal(size=(20, 4)).astype(np.float32)
    features = [np.concatenate([tiles, tiles]), tiles, tiles + 5]
    found = nearest_elsewhere(
        features, ["p", "p", "q"], [np.arange(40), np.arange(20), np.arange(0)], 3
    )
    assert set(found.slides.ravel()) == {2}
    assert found.distances.min() > 1


def test_far_from_the_origin_near_neighbours_stay_apart() -> None:
    # Differences of 0.001 at 1000: squares alone lose them in float32.
    base = np.full((1, 8), 1000, np.float32)
    steps = np.arange(1, 60, dtype=np.float32)[:, None] * 0.001 * np.eye(1, 8, dtype=np.float32)
    found = nearest_elsewhere([base, base + steps], ["a", "b"], [np.arange(1), np.arange(0)], 3)
    assert found.rows[0].tolist() == [0, 1, 2]


def test_half_precision_is_read_as_it_is() -> None:
    features = [np.eye(4, dtype=np.float16), 2 * np.eye(4, dtype=np.float16)]
    found = nearest_elsewhere(features, ["a", "b"], [np.arange(4), np.arange(0)], 1)
    assert found.rows.ravel().tolist() == [0, 1, 2, 3]
    assert found.distances == pytest.approx(np.ones((4, 1)))


def test_what_is_no_number_is_named_by_row() -> None:
    features = np.zeros((10, 2), np.float32)
    check_finite(features, "a")
    features[6, 1] = np.inf
    with pytest.raises(ScoreError, match=r"slide a .* tile row 6 for one"):
        check_finite(features, "a")
