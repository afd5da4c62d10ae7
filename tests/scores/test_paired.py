"""Paired differences: the signed-rank test by counting signs, intervals of known cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.errors import ScoreError
from wsi_tower.scores import mean_with_interval, paired_difference, signed_rank_p


def p_of(*differences: float) -> float:
    return signed_rank_p(np.array(differences, np.float64))


def test_three_that_are_all_better() -> None:
    # Of 8 choices of signs one has a rank sum of 6, one of 0: 2 / 8.
    assert p_of(0.3, 0.1, 0.2) == pytest.approx(0.25)


def test_one_that_is_worse() -> None:
    # Ranks 1 and 3 are above: 4. Of the sums 0 1 2 3 3 4 5 6, three are at least 4.
    assert p_of(1, -2, 3) == pytest.approx(2 * 3 / 8)
    assert p_of(-1, 2, -3) == pytest.approx(2 * 3 / 8)


def test_equal_differences_share_their_rank() -> None:
    # Ranks 1.5, 1.5 and 3. Above: 3. Of 0 1.5 1.5 3 3 4.5 4.5 6, five are up to 3.
    assert p_of(1, 1, -2) == 1
    # Above: 4.5. Three of eight are at least that.
    assert p_of(1, -1, 2) == pytest.approx(2 * 3 / 8)


def test_none_is_dropped_and_none_at_all_is_no_difference() -> None:
    assert p_of(0, 0.3, 0.1, 0, 0.2) == pytest.approx(0.25)
    assert p_of(0, 0) == 1


def test_the_table_of_the_signed_rank_test() -> None:
    # Published critical value: of 10 pairs, a smaller rank sum of 8 is significant at 5 %, 9 is
    # not (Wilcoxon 1945; any table of the test).
    ranks = np.arange(1.0, 11)

    def with_smaller_sum(*worse: int) -> float:
        return signed_rank_p(np.where(np.isin(ranks, worse), -ranks, ranks))

    assert with_smaller_sum(8) < 0.05 < with_smaller_sum(9)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_every_choice_of_signs_counts(differences: list[int]) -> None:
    kept = np.array([one for one in differences if one], np.float64)
    if not len(kept):
        return
    sizes = np.abs(kept)
    ranks = np.array([(sizes < one).sum() + ((sizes == one).sum() + 1) / 2 for one in sizes])
    sums = np.array(
        [ranks @ np.array(signs) for signs in itertools.product((0, 1), repeat=len(kept))]
    )
    above = ranks[kept > 0].sum()
    by_hand = min(1, 2 * min((sums >= above - 1e-9).mean(), (sums <= above + 1e-9).mean()))
    assert p_of(*differences) == pytest.approx(by_hand)


def test_many_are_about_as_few_are() -> None:
    # The normal distribution stands in above 500; one more, the smallest of all, hardly counts.
    luck = np.random.default_rng(0).normal(0.06, 1, 500)
    assert signed_rank_p(np.append(luck, 1e-9)) == pytest.approx(signed_rank_p(luck), abs=0.005)


def test_a_difference_of_every_image_has_no_spread() -> None:
    first = np.array([0.5, 0.7, 0.9, 0.6])
    found = paired_difference(first, first - 0.1)
    assert found.images == 4
    assert found.mean == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.1, 0.1))
    # Rounding makes no ranks: four equal differences, 2 of 16 choices of signs.
    assert found.p_value == pytest.approx(2 / 16)


def test_the_interval_is_about_the_means_standard_error() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 400)
    mean, interval = mean_with_interval(values)
    assert interval is not None
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(mean - half, abs=half / 5)
    assert interval.high == pytest.approx(mean + half, abs=half / 5)
    assert mean_with_interval(np.array([0.5])) == (0.5, None)


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(ScoreError, match="2 and 3 images cannot be paired"):
        paired_difference(np.zeros(2), np.zeros(3))
    with pytest.raises(ScoreError, match="image 1 has a score that is no finite number"):
        paired_difference(np.zeros(2), np.array([0, np.nan]))
