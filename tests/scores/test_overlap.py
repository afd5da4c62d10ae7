"""Dice and the aggregated Jaccard index, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsi_tower.errors import ScoreError
from wsi_tower.scores import aggregated_jaccard, dice

MASKS = arrays(np.bool_, (6, 7))
OBJECTS = arrays(np.int32, (5, 6), elements=st.integers(0, 4))


def row(*ids: int) -> np.ndarray:
    return np.array([ids], np.int32)


def test_dice_by_hand() -> None:
    found, truth = row(1, 1, 1, 0) > 0, row(0, 1, 1, 1) > 0
    assert dice(found, truth) == pytest.approx(2 * 2 / 6)
    assert dice(found, ~found) == 0
    assert dice(found & False, truth & False) == 1


@given(MASKS, MASKS)
def test_dice_takes_no_side(one: np.ndarray, other: np.ndarray) -> None:
    assert dice(one, other) == dice(other, one)
    assert dice(one, one) == 1


def test_jaccard_of_a_shifted_object_and_a_false_one() -> None:
    # The pair shares 2 of 4 pixels; the object that is not there adds its 2.
    assert aggregated_jaccard(row(1, 1, 1, 0, 0, 2, 2), row(0, 7, 7, 7, 0, 0, 0)) == 2 / (4 + 2)


def test_jaccard_counts_what_was_missed() -> None:
    assert aggregated_jaccard(row(1, 1, 0, 0, 0), row(4, 4, 0, 9, 9)) == 2 / (2 + 2)


def test_jaccard_of_two_objects_found_as_one() -> None:
    # Both take the same found object of 4 pixels: 2 + 2 shared, each union 4.
    assert aggregated_jaccard(row(1, 1, 1, 1), row(1, 1, 2, 2)) == 4 / 8


def test_jaccard_of_one_object_found_as_two() -> None:
    # It takes one half; the other half is nobody's and adds its 2 pixels.
    assert aggregated_jaccard(row(1, 1, 2, 2), row(1, 1, 1, 1)) == 2 / (4 + 2)


def test_jaccard_without_objects() -> None:
    nothing, something = row(0, 0), row(0, 3)
    assert aggregated_jaccard(nothing, nothing) == 1
    assert aggregated_jaccard(something, nothing) == 0
    assert aggregated_jaccard(nothing, something) == 0


@given(OBJECTS, OBJECTS)
def test_jaccard_is_one_for_the_same_objects_alone(found: np.ndarray, truth: np.ndarray) -> None:
    index = aggregated_jaccard(found, truth)
    assert 0 <= index <= 1
    pairs = {(int(a), int(b)) for a, b in zip(found.ravel(), truth.ravel(), strict=True)}
    lefts, rights = {a for a, _ in pairs}, {b for _, b in pairs}
    is_renamed = len(pairs) == len(lefts) == len(rights)
    is_same = is_renamed and all((a == 0) == (b == 0) for a, b in pairs)
    assert (index == 1) == is_same


def test_masks_of_other_sizes_are_refused() -> None:
    with pytest.raises(ScoreError, match="a mask of 1 × 2 cannot be compared with one of 1 × 3"):
        dice(row(1, 1) > 0, row(1, 1, 1) > 0)
    with pytest.raises(ScoreError, match="same picture"):
        aggregated_jaccard(row(1, 1), row(1, 1, 1))
