"""Which tiles teach which class, and which share of them is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.classify import UNLABELLED, ClassRules, drawn_tiles, labels_of_fractions
from wsi_tower.errors import SettingsError


def test_a_tile_is_of_the_class_that_covers_most_of_it() -> None:
    fractions = np.array([[1.0, 0.0], [0.2, 0.8], [0.5, 0.5], [0.4, 0.4], [0.0, 0.0], [0.0, 0.1]])
    rules = ClassRules(names=("a", "b"))
    # At the rims, where neither covers half, nothing is taught; untouched is background.
    expected = [0, 1, 0, UNLABELLED, 2, UNLABELLED]
    assert labels_of_fractions(fractions, rules).tolist() == expected
    none = labels_of_fractions(fractions, ClassRules(names=("a", "b"), background=None))
    assert none.tolist() == [0, 1, 0, UNLABELLED, UNLABELLED, UNLABELLED]


def test_rules_that_cannot_be() -> None:
    with pytest.raises(SettingsError, match="least_fraction is 0"):
        ClassRules(least_fraction=0)
    with pytest.raises(SettingsError, match="class 'stroma' is named twice"):
        ClassRules(names=("Stroma", "stroma"))
    with pytest.raises(SettingsError, match="class 'other' is named twice"):
        ClassRules(names=("Other",))
    with pytest.raises(SettingsError, match="no class to tell"):
        ClassRules(names=())


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=200),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    st.integers(0, 5),
)
def test_shares_keep_classes_and_grow(
    labels: list[int], one: float, other: float, seed: int
) -> None:
    told = np.array(labels)
    few, many = (drawn_tiles(told, share, seed) for share in sorted((one, other)))
    assert set(few.tolist()) <= set(many.tolist())
    for name in set(labels):
        drawn = int((told[few] == name).sum())
        assert drawn == max(1, round(min(one, other) * labels.count(name)))


def test_all_are_all_and_seeds_differ() -> None:
    labels = np.repeat([0, 1], 500)
    assert drawn_tiles(labels, 1.0, 3).tolist() == list(range(1000))
    assert drawn_tiles(labels, 0.01, 0).tolist() != drawn_tiles(labels, 0.01, 1).tolist()
    with pytest.raises(SettingsError, match="fraction is 0;"):
        drawn_tiles(labels, 0, 0)
