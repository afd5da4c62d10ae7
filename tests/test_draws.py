"""Draws against SplitMix64's published outputs, and that nothing but their key decides them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.draws import Draws, _mixed

SAMPLES = np.arange(100_000)


def test_words_are_splitmix64_s() -> None:
    # The first outputs for the seed 1234567, as the reference implementation prints them.
    golden = np.uint64(0x9E3779B97F4A7C15)
    states = np.uint64(1234567) + np.arange(1, 4, dtype=np.uint64) * golden
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert _mixed(states).tolist() == expected


@given(st.integers(0, 2**31), st.integers(0, 2**31), st.permutations(list(range(7))))
def test_order_and_company_change_nothing(seed: int, step: int, order: list[int]) -> None:
    samples = np.arange(7) * 1000 + 3
    together = Draws(seed, step, samples).uniform("a", 2, 3)
    shuffled = Draws(seed, step, samples[order]).uniform("a", 2, 3)
    assert (shuffled == together[order]).all()
    assert (Draws(seed, step, samples[4:5]).uniform("a", 2, 3) == together[4:5]).all()


def test_every_part_of_the_key_counts() -> None:
    one = Draws(1, 2, SAMPLES[:50]).bits("a", 4)
    others = [
        Draws(2, 2, SAMPLES[:50]).bits("a", 4),
        Draws(1, 3, SAMPLES[:50]).bits("a", 4),
        Draws(1, 2, SAMPLES[:50] + 50).bits("a", 4),
        Draws(1, 2, SAMPLES[:50]).bits("b", 4),
    ]
    words = np.concatenate([one, *others]).ravel()
    assert len(np.unique(words)) == len(words)


def test_uniform_numbers_are_uniform_and_unrelated() -> None:
    values = Draws(5, 0, SAMPLES).uniform("x", 3)
    assert 0 <= values.min() <= values.max() < 1
    counts = np.array([np.histogram(column, 50, (0, 1))[0] for column in values.T])
    # Chi-square with 49 degrees of freedom: 99.9 % lie below 86.
    assert (((counts - 2000) ** 2 / 2000).sum(axis=1) < 86).all()
    correlation = np.corrcoef(np.concatenate([values[1:].T, values[:-1].T]))
    assert np.abs(correlation - np.eye(6)).max() < 0.015


def test_steps_are_unrelated() -> None:
    steps = np.array([Draws(5, step, [0]).uniform("x")[0] for step in range(4000)])
    assert steps.mean() == pytest.approx(0.5, abs=0.02)
    assert abs(np.corrcoef(steps[1:], steps[:-1])[0, 1]) < 0.06


def test_normal_numbers_have_mean_0_and_deviation_1() -> None:
    values = Draws(9, 1, SAMPLES).normal("n", 2)
    assert values.shape == (100_000, 2)
    assert values.mean(axis=0) == pytest.approx([0, 0], abs=0.015)
    assert values.std(axis=0) == pytest.approx([1, 1], abs=0.015)
    assert (np.abs(values) < 1.96).mean() == pytest.approx(0.95, abs=0.003)


def test_integers_stay_below_each_bound_and_reach_it() -> None:
    bounds = np.tile([1, 2, 7], 3000)
    chosen = Draws(1, 1, np.arange(9000)).below("i", bounds)
    assert (chosen < bounds).all()
    assert [np.unique(chosen[i::3]).tolist() for i in range(3)] == [[0], [0, 1], list(range(7))]
