"""The nearest tiles: held against a plain loop over every distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.retrieval.cohorts import allowed_of, nearest_by_hand, write_cohort
from tests.retrieval.conftest import CODED
from wsi_tower.retrieval import IndexSettings, SearchSettings, TileIndex, build_index, nearest
from wsi_tower.retrieval.codes import CodedTiles
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.retrieval.conftest import Cohort
    from wsi_tower.retrieval import Nearest

BY_CODES = SearchSettings(compare_below=0)
THOROUGH = SearchSettings(compare_below=0, probes=16, candidates=10_400)


def places(found: Nearest) -> list[tuple[int, int]]:
    return list(zip(found.slides.tolist(), found.rows.tolist(), strict=True))


def test_a_flat_index_gives_what_a_loop_gives(small: Cohort) -> None:
    slides = [0, 2, 3, 5]
    for vector in small.features[1][:5]:
        (found,) = nearest(small.index, vector[None], 7, allowed=allowed_of(small.index, slides))
        assert places(found) == nearest_by_hand(small.features, vector, 7, slides)
        by_hand = [np.linalg.norm(small.features[s][r] - vector) for s, r in places(found)]
        np.testing.assert_allclose(found.distances, by_hand, rtol=1e-6)
        assert not found.is_all


def test_several_vectors_are_answered_one_by_one(small: Cohort) -> None:
    vectors = small.features[0][:3]
    together = nearest(small.index, vectors, 5)
    alone = [nearest(small.index, vector[None], 5)[0] for vector in vectors]
    assert [places(found) for found in together] == [places(found) for found in alone]


def test_half_precision_is_searched_as_it_is_stored(tmp_path: Path) -> None:
    features = write_cohort(tmp_path, 2, 30, dtype=np.float16)
    build_index([Workspace(tmp_path)], "tower")
    index = TileIndex.open(Workspace(tmp_path).index("tower"))
    vector = features[0][3].astype(np.float32)
    (found,) = nearest(index, vector[None], 5)
    assert places(found) == nearest_by_hand(features, vector, 5, [0, 1])


def test_all_there_is_comes_when_more_is_asked(small: Cohort, coded: Cohort) -> None:
    (found,) = nearest(small.index, small.features[0][:1], 500)
    assert (len(found), found.is_all) == (240, True)
    allowed = allowed_of(coded.index, [3])
    (found,) = nearest(coded.index, coded.features[0][:1], 5000, allowed=allowed, settings=BY_CODES)
    assert (len(found), found.is_all) == (1300, True)
    assert set(found.slides.tolist()) == {3}
    assert np.unique(found.rows).size == 1300


def test_codes_with_every_list_and_candidate_are_exact(coded: Cohort) -> None:
    slides = [1, 2, 4, 5, 6, 7]
    allowed = allowed_of(coded.index, slides)
    for vector in coded.features[0][:3]:
        (found,) = nearest(coded.index, vector[None], 10, allowed=allowed, settings=THOROUGH)
        assert places(found) == nearest_by_hand(coded.features, vector, 10, slides)


def test_codes_find_nearly_all_that_a_loop_finds(coded: Cohort) -> None:
    settings = SearchSettings(compare_below=0, probes=8, candidates=128)
    slides, hits = [2, 3, 4, 5, 6, 7], 0
    vectors = coded.features[0][:20]
    found = nearest(
        coded.index, vectors, 10, allowed=allowed_of(coded.index, slides), settings=settings
    )
    for vector, one in zip(vectors, found, strict=True):
        by_hand = nearest_by_hand(coded.features, vector, 10, slides)
        hits += len(set(places(one)) & set(by_hand))
        assert len(one) == 10
        assert set(one.slides.tolist()) <= set(slides)
    assert hits >= 190


def test_a_filter_is_never_answered_with_too_few(coded: Cohort) -> None:
    """The nearest list may hold no tile of the only slide that is allowed."""
    settings = SearchSettings(compare_below=0, probes=1, candidates=1)
    for slide in range(8):
        allowed = allowed_of(coded.index, [slide])
        (found,) = nearest(
            coded.index, coded.features[0][:1], 100, allowed=allowed, settings=settings
        )
        assert len(found) == 100
        assert set(found.slides.tolist()) == {slide}


def test_few_tiles_left_are_all_compared(coded: Cohort) -> None:
    """With no codes at hand: the answer must be exact."""
    vector = coded.features[0][0]
    (found,) = nearest(coded.index, vector[None], 10, settings=SearchSettings(probes=1))
    assert places(found) == nearest_by_hand(coded.features, vector, 10, list(range(8)))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 79), max_size=40, unique=True), st.integers(0, 79))
def test_ranges_are_refused_and_allowed_however_many_they_are(edges: list[int], query: int) -> None:
    """Up to 16 ranges are compared with, more are looked up: both must mean the same."""
    vectors = np.stack([np.arange(80), np.zeros(80)], axis=1).astype(np.float32)
    codes = ONE_LIST.emptied()
    codes.add(vectors)
    edges = sorted(edges[: len(edges) // 2 * 2])
    ranges = list(zip(edges[::2], edges[1::2], strict=True))
    allowed = {number for start, stop in ranges for number in range(start, stop)}
    found = codes.nearest(vectors[query], 80, 1, ranges)
    assert set(found.numbers.tolist()) == allowed


def one_list() -> CodedTiles:
    """A single list with codes of one byte."""
    from wsi_tower.retrieval.choice import IndexChoice

    sample = np.random.default_rng(0).normal(size=(256 * 39, 2)).astype(np.float32)
    return CodedTiles.learnt(IndexChoice("compressed", 2, 1, 1, "none", 2), sample, 0)


ONE_LIST = one_list()


@pytest.mark.parametrize("reduction", ["pca", pytest.param("opq", marks=pytest.mark.slow)])
def test_long_descriptors_are_shortened_for_codes_alone(tmp_path: Path, reduction: str) -> None:
    """The answer's distances are of whole descriptors."""
    features = write_cohort(tmp_path, 4, 2600, length=12)
    asked = IndexSettings(
        kind="compressed",
        lists=4,
        code_bytes=2,
        coded_length=4,
        reduction=reduction,  # type: ignore[arg-type]
    )
    change = build_index([Workspace(tmp_path)], "tower", asked)
    assert (change.record.choice.length, change.record.choice.coded_length) == (12, 4)
    index = TileIndex.open(Workspace(tmp_path).index("tower"))
    vector = features[0][5]
    thorough = SearchSettings(compare_below=0, probes=4, candidates=10_400)
    (found,) = nearest(index, vector[None], 5, settings=thorough)
    assert places(found) == nearest_by_hand(features, vector, 5, [0, 1, 2, 3])


def test_shards_answer_as_one(coded: Cohort, tmp_path: Path) -> None:
    from dataclasses import replace

    write_cohort(tmp_path, 8, 1300)
    build_index([Workspace(tmp_path)], "tower", replace(CODED, shards=3))
    index = TileIndex.open(Workspace(tmp_path).index("tower"))
    assert {slide.shard for slide in index.slides} == {0, 1, 2}
    settings = SearchSettings(compare_below=0, probes=4, candidates=64)
    vectors = coded.features[0][:10]
    for allowed in (None, allowed_of(index, [1, 2, 6])):
        one = nearest(coded.index, vectors, 12, allowed=allowed, settings=settings)
        three = nearest(index, vectors, 12, allowed=allowed, settings=settings)
        for left, right in zip(one, three, strict=True):
            assert places(left) == places(right)
            np.testing.assert_array_equal(left.distances, right.distances)
