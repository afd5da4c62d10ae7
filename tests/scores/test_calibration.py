"""Expected calibration error and balanced accuracy, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.errors import ScoreError, SettingsError
from wsi_tower.scores import balanced_accuracy, expected_calibration_error


def two(*of_first: float) -> np.ndarray:
    first = np.array(of_first)
    return np.stack([first, 1 - first], axis=1)


def test_ece_by_hand() -> None:
    # Bins of 0.2. Called with 0.9, 0.9, 0.9 and 0.9: three are right, so 0.75 against 0.9.
    # Called with 0.7 and 0.65: one is right, so 0.5 against 0.675.
    probabilities = two(0.9, 0.9, 0.1, 0.9, 0.7, 0.35)
    truth = np.array([0, 0, 1, 1, 0, 0])
    by_hand = 4 / 6 * (0.9 - 0.75) + 2 / 6 * (0.675 - 0.5)
    assert expected_calibration_error(probabilities, truth, bins=5) == pytest.approx(by_hand)


def test_ece_sums_over_bins_not_over_samples() -> None:
    # One bin: 0.6 and 0.8, one right of two, 0.7 against 0.5. Two bins of 0.5 to 1 would be the
    # same; with bins of 0.1 each sample stands alone: |1 - 0.6| and |0 - 0.8|.
    probabilities, truth = two(0.6, 0.8), np.array([0, 1])
    assert expected_calibration_error(probabilities, truth, bins=1) == pytest.approx(0.2)
    assert expected_calibration_error(probabilities, truth, bins=10) == pytest.approx(0.6)


def test_a_bin_holds_its_upper_end() -> None:
    # (0.5, 0.75] holds both, as published: 0.625 against 0.5.
    probabilities, truth = two(0.75, 0.5), np.array([0, 1])
    # 0.5 lies in (0.25, 0.5], alone: |0 - 0.5| / 2 + |1 - 0.75| / 2.
    assert expected_calibration_error(probabilities, truth, bins=4) == pytest.approx(0.375)
    probabilities = two(0.75, 0.51)
    assert expected_calibration_error(probabilities, truth, bins=4) == pytest.approx(0.13)


def test_sure_and_right_is_0_sure_and_wrong_is_1() -> None:
    assert expected_calibration_error(two(1.0, 0.0), np.array([0, 1])) == 0
    assert expected_calibration_error(two(1.0, 0.0), np.array([1, 0])) == 1


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_ece_lies_between_0_and_1_and_order_does_not_matter(
    samples: list[tuple[float, bool]],
) -> None:
    probabilities = two(*(first for first, _ in samples))
    truth = np.array([int(second) for _, second in samples])
    ece = expected_calibration_error(probabilities, truth)
    assert 0 <= ece <= 1
    assert expected_calibration_error(probabilities[::-1], truth[::-1]) == pytest.approx(ece)


def test_what_has_no_ece_is_refused() -> None:
    with pytest.raises(ScoreError, match="for 0 samples"):
        expected_calibration_error(np.zeros((0, 2)), np.zeros(0, np.int64))
    with pytest.raises(ScoreError, match="row 1 holds no probabilities"):
        expected_calibration_error(np.array([[0.5, 0.5], [0.5, 0.9]]), np.array([0, 0]))
    with pytest.raises(ScoreError, match="row 0 holds no probabilities"):
        expected_calibration_error(np.array([[1.5, -0.5]]), np.array([0]))
    with pytest.raises(SettingsError, match="bins is 0"):
        expected_calibration_error(two(0.5), np.array([0]), bins=0)


def test_balanced_accuracy_by_hand() -> None:
    # Of class 0, 3 of 4; of class 1, 0 of 1; of class 5, 1 of 2.
    truth = np.array([0, 0, 0, 0, 1, 5, 5])
    called = np.array([0, 0, 0, 1, 0, 5, 0])
    assert balanced_accuracy(called, truth) == pytest.approx((3 / 4 + 0 + 1 / 2) / 3)
    assert balanced_accuracy(np.zeros(7, np.int64), truth) == pytest.approx(1 / 3)
    with pytest.raises(ScoreError, match="0 calls of 0 samples"):
        balanced_accuracy(np.zeros(0, np.int64), np.zeros(0, np.int64))
