"""Intervals over slides, where they are known."""

from __future__ import annotations

import numpy as np
import pytest

from wsi_tower.errors import SettingsError
from wsi_tower.scores import BootstrapSettings, interval_over_slides
from wsi_tower.scores.bootstrap import ratio_of


def test_equal_slides_leave_no_doubt() -> None:
    assert interval_over_slides(np.array([[3.0, 4.0]] * 5), ratio_of, BootstrapSettings()) == (
        0.75,
        0.75,
    )


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    # Shares of 400 slides: their mean varies by s / √400, and 95 % lie within 1.96 of that.
    shares = np.random.default_rng(0).uniform(0, 1, 400)
    sums = np.stack([shares, np.ones(400)], axis=1)
    found = interval_over_slides(sums, ratio_of, BootstrapSettings(4000))
    assert found is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * shares.std() / 20, rel=0.06)
    assert (found.high + found.low) / 2 == pytest.approx(shares.mean(), abs=0.003)


def test_two_slides_give_three_values() -> None:
    # Both the first, both the second, or one of each: a quarter, a quarter, a half.
    sums = np.array([[0.0, 1.0], [1.0, 1.0]])
    found = [interval_over_slides(sums, ratio_of, BootstrapSettings(level=x)) for x in (0.95, 0.4)]
    assert found == [(0, 1), (0.5, 0.5)]


def test_one_slide_has_none_and_empty_sets_are_left_out() -> None:
    for sums in (np.array([[1.0, 2.0]]), np.zeros((3, 2))):
        assert interval_over_slides(sums, ratio_of, BootstrapSettings()) is None
    some = interval_over_slides(np.array([[0.0, 0.0], [1.0, 2.0]]), ratio_of, BootstrapSettings())
    assert some == (0.5, 0.5)


@pytest.mark.parametrize("values", [{"resamples": 10}, {"level": 1.0}, {"level": float("nan")}])
def test_settings_that_cannot_be(values: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        BootstrapSettings(**values)  # type: ignore[arg-type]
