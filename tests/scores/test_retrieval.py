"""Tumour retrieval and voting neighbours on slides small enough to work out by hand."""

from __future__ import annotations

from math import comb
from typing import TYPE_CHECKING

import numpy as np
import pytest

from wsi_tower.errors import ScoreError, SettingsError
from wsi_tower.scores import (
    BootstrapSettings,
    LabelledSlide,
    LabelRules,
    NeighbourSettings,
    RetrievalSettings,
    tumour_neighbours,
    tumour_retrieval,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def slide(
    name: str, values: Sequence[float], fractions: Sequence[float], patient: str = ""
) -> LabelledSlide:
    """A slide whose tiles are described by one number each."""
    features = np.array(values, np.float32).reshape(-1, 1)
    return LabelledSlide(name, patient or name, features, np.array(fractions, np.float64))


BY_HAND = [
    slide("a", [0.0, 1.0, 5.0], [1, 1, 0]),
    slide("b", [0.1, 1.2, 9.0], [0, 0.5, 1]),
    slide("c", [0.3, 8.5, 20.0], [1, 0, 0]),
]


def test_by_hand() -> None:
    # a 0.0 → b 0.1, c 0.3: no, yes.   a 1.0 → b 1.2, c 0.3: yes, yes.
    # b 9.0 → c 8.5, a 5.0: no, no.    c 0.3 → b 0.1, a 0.0: no, yes.
    found = tumour_retrieval(BY_HAND, RetrievalSettings(top=2))
    assert (found.queries, found.tiles, found.tumour_tiles) == (4, 9, 5)
    assert found.top_1.value == 1 / 4
    assert found.top_k.value == 3 / 4
    assert found.precision.value == (1 + 2 + 0 + 1) / 8
    assert [(one.slide_id, one.queries, one.top_1, one.top_k) for one in found.slides] == [
        ("a", 2, 1, 2),
        ("b", 1, 0, 0),
        ("c", 1, 0, 1),
    ]


def test_chance_is_that_of_drawing_from_the_same_tiles() -> None:
    # Tumour among the six tiles elsewhere: three for a (twice) and b, four for c.
    found = tumour_retrieval(BY_HAND, RetrievalSettings(top=2))
    assert found.top_1.chance == pytest.approx((3 + 3 + 3 + 4) / 6 / 4)
    none = [comb(6 - tumour, 2) / comb(6, 2) for tumour in (3, 3, 3, 4)]
    assert found.top_k.chance == pytest.approx(1 - np.mean(none))
    assert found.precision.chance == found.top_1.chance


def test_queries_lie_wholly_inside_and_answers_half() -> None:
    rules = LabelRules(query_fraction=0.5)
    assert tumour_retrieval(BY_HAND, RetrievalSettings(top=1, rules=rules)).queries == 5
    strict = LabelRules(answer_fraction=1.0)
    # b 1.2 no longer counts, so that a 1.0 finds nothing either.
    assert tumour_retrieval(BY_HAND, RetrievalSettings(top=1, rules=strict)).top_1.value == 0


def test_random_descriptors_score_what_chance_says() -> None:
    rng = np.random.default_rng(0)
    slides = [
        LabelledSlide(
            f"s{number}",
            f"s{number}",
            rng.normal(size=(1500, 16)).astype(np.float32),
            (rng.uniform(size=1500) < 0.2).astype(np.float64),
        )
        for number in range(4)
    ]
    found = tumour_retrieval(slides, RetrievalSettings(top=3))
    assert found.top_1.chance == pytest.approx(0.2, abs=0.01)
    assert found.top_1.value == pytest.approx(found.top_1.chance, abs=0.035)
    assert found.top_k.value == pytest.approx(found.top_k.chance, abs=0.045)
    assert tumour_neighbours(slides).balanced == pytest.approx(0.5, abs=0.03)


def test_descriptors_that_are_the_label_find_all() -> None:
    rng = np.random.default_rng(0)
    slides = []
    for number in range(4):
        tumour = (rng.uniform(size=200) < 0.2).astype(np.float64)
        features = (tumour[:, None] + rng.normal(0, 0.01, (200, 3))).astype(np.float32)
        slides.append(LabelledSlide(f"s{number}", f"p{number // 2}", features, tumour))
    found = tumour_retrieval(slides)
    assert (found.top_1.value, found.precision.value, found.top_1.interval) == (1, 1, (1, 1))
    votes = tumour_neighbours(slides)
    assert (votes.sensitivity, votes.specificity, votes.interval) == (1, 1, (1, 1))


def test_the_own_patient_never_answers() -> None:
    # Twins lie on the patient's other slide; the other patient's are all normal but one.
    twins = [slide("a", [0, 1], [1, 1], "p"), slide("b", [0, 1], [1, 1], "p")]
    other = slide("c", [0.4, 0.6, 50], [0, 0, 1], "q")
    assert tumour_retrieval([*twins, other], RetrievalSettings(top=1)).top_1.value == 0.2
    # c's one query, at 50, has 1 of either twin nearest.


class TestVotes:
    def test_by_hand(self) -> None:
        slides = [
            slide("a", [0.0, 0.2, 5.0, 5.2], [1, 1, 0, 0]),
            slide("b", [0.1, 5.4, 5.1, 5.3], [1, 1, 0, 0]),
        ]
        found = tumour_neighbours(slides, NeighbourSettings(neighbours=1))
        # Only b 5.4, among a's normal tiles, is called wrongly; a 5.2's nearest is b 5.1 or 5.3.
        assert (found.per_class, found.sensitivity, found.specificity) == (4, 0.75, 1)
        assert found.balanced == 0.875

    def test_classes_are_of_one_size_and_edges_take_no_part(self) -> None:
        rng = np.random.default_rng(0)
        slides = [
            slide(name, rng.normal(size=100).tolist(), [1] * 5 + [0.4] * 45 + [0] * 50)
            for name in "abc"
        ]
        found = tumour_neighbours(slides, NeighbourSettings(neighbours=3))
        assert found.per_class == 15
        assert tumour_neighbours(slides, NeighbourSettings(3, per_class=7)).per_class == 7
        assert found == tumour_neighbours(slides, NeighbourSettings(3))
        assert found != tumour_neighbours(slides, NeighbourSettings(3, seed=1))

    def test_no_normal_tile_is_told(self) -> None:
        slides = [slide("a", [0], [1]), slide("b", [0], [0.2]), slide("c", [0], [1])]
        with pytest.raises(ScoreError, match="every tile touches annotated tumour"):
            tumour_neighbours(slides)


class TestNothingToFind:
    @pytest.mark.parametrize(
        ("slides", "said"),
        [
            ([slide("a", [0, 1], [1, 0])], "1 of 1 slides has tiles, but answers come from other"),
            ([slide("a", [0], [1]), slide("b", [], [])], "1 of 2 slides"),
            (
                [slide("a", [0], [1], "p"), slide("b", [0], [1], "p")],
                "all 2 slides are of patient 'p'",
            ),
            (
                [slide("a", [0], [0.9]), slide("b", [0], [0])],
                r"no tile of 2 slides is at least 100% within annotated tumour \(the most is 90%",
            ),
            (
                [slide("a", [0], [1]), slide("b", [0], [0])],
                "only patient 'a' has tumour tiles",
            ),
            (
                [slide("a", [np.nan], [1]), slide("b", [0], [1])],
                "slide a has descriptors that are not finite",
            ),
        ],
    )
    def test_it_is_said(self, slides: list[LabelledSlide], said: str) -> None:
        with pytest.raises(ScoreError, match=said):
            tumour_retrieval(slides)
        if "finite" not in said:
            with pytest.raises(ScoreError, match=said):
                tumour_neighbours(slides)

    def test_settings_that_cannot_be(self) -> None:
        with pytest.raises(SettingsError, match="top is 0"):
            RetrievalSettings(top=0)
        with pytest.raises(SettingsError, match="query_fraction is 0"):
            LabelRules(query_fraction=0)
        with pytest.raises(SettingsError, match=r"answer_fraction is 1\.5"):
            LabelRules(answer_fraction=1.5)
        with pytest.raises(SettingsError, match="neighbours is 0"):
            NeighbourSettings(neighbours=0)


def test_the_interval_is_over_the_slides_that_ask() -> None:
    rng = np.random.default_rng(0)
    slides = []
    for number, noise in enumerate((0.01, 0.5, 1.0, 2.0)):
        tumour = (rng.uniform(size=200) < 0.3).astype(np.float64)
        features = (tumour[:, None] + noise * rng.normal(size=(200, 2))).astype(np.float32)
        slides.append(LabelledSlide(f"s{number}", f"s{number}", features, tumour))
    found = tumour_retrieval(slides, bootstrap=BootstrapSettings(500))
    shares = [one.top_1 / one.queries for one in found.slides]
    assert found.top_1.interval is not None
    low, high = found.top_1.interval
    assert min(shares) <= low < found.top_1.value < high <= max(shares)
