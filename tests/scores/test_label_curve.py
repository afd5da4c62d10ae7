"""Curves over few labels, and annotations saved, by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.errors import ScoreError
from wsi_tower.scores import LabelCurve, LabelPoint, annotations_saved

SHARES = (0.01, 0.05, 0.1, 0.25, 1.0)


def curve(name: str, **scores: list[float]) -> LabelCurve:
    """From percent, as in ``p25=[0.8, 0.9]``, to a curve with a seed a score."""
    points = (
        LabelPoint(int(percent[1:]) / 100, seed, score)
        for percent, of_seeds in scores.items()
        for seed, score in enumerate(of_seeds)
    )
    return LabelCurve(name, tuple(points))


FROM_SCRATCH = curve("scratch", p1=[0.5], p100=[0.7, 0.9])


def test_saved_by_hand() -> None:
    # From scratch reaches 0.8 on average; 5 % reach 0.79 on average, 10 % reach 0.81.
    tuned = curve("tuned", p1=[0.6], p5=[0.75, 0.83], p10=[0.80, 0.82], p100=[0.9])
    assert annotations_saved(tuned, FROM_SCRATCH) == pytest.approx(0.9)


def test_ninety_nine_percent_need_a_training_with_one() -> None:
    assert annotations_saved(curve("tuned", p1=[0.85]), FROM_SCRATCH) == pytest.approx(0.99)
    assert annotations_saved(curve("tuned", p100=[0.85]), FROM_SCRATCH) == 0


def test_as_good_counts_and_worse_does_not() -> None:
    assert annotations_saved(curve("tuned", p25=[0.8]), FROM_SCRATCH) == pytest.approx(0.75)
    assert annotations_saved(curve("tuned", p25=[0.79], p100=[0.79]), FROM_SCRATCH) is None


def test_the_first_that_reaches_it_counts_though_a_later_one_falls() -> None:
    tuned = curve("tuned", p5=[0.81], p10=[0.7], p100=[0.9])
    assert annotations_saved(tuned, FROM_SCRATCH) == pytest.approx(0.95)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_against_itself_it_is_the_smallest_share_that_is_as_good(scores: list[float]) -> None:
    points = tuple(LabelPoint(share, 0, one) for share, one in zip(SHARES, scores, strict=True))
    own = LabelCurve("own", points)
    saved = annotations_saved(own, own)
    good = [share for share, one in zip(SHARES, scores, strict=True) if one >= scores[-1]]
    assert saved == 1 - min(good)


def test_what_was_not_tried_is_said() -> None:
    with pytest.raises(ScoreError, match=r"scratch has no score at 100% .* only at 1%, 5%"):
        annotations_saved(FROM_SCRATCH, curve("scratch", p5=[0.5], p1=[0.4]))
    with pytest.raises(ScoreError, match="fraction 0;"):
        curve("none", p0=[0.5])
    with pytest.raises(ScoreError, match="score nan"):
        curve("none", p1=[float("nan")])


def test_scores_of_a_share_are_by_seed() -> None:
    assert FROM_SCRATCH.fractions == (0.01, 1.0)
    assert FROM_SCRATCH.scores_at(1.0) == (0.7, 0.9)
