"""Patients are never parted, and every part that can be has every class."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.classify import SplitSettings, split_patients
from wsi_tower.errors import LabelError, SettingsError


def patients(*classes: str) -> dict[str, np.ndarray]:
    """Patients by the classes they have tiles of: ``"01"`` has both."""
    return {
        f"p{number}": np.array([str(one) in own for one in range(3)], np.int64)
        for number, own in enumerate(classes)
    }


@given(st.integers(2, 40), st.integers(0, 9))
def test_every_patient_has_a_part_and_no_part_is_empty(count: int, seed: int) -> None:
    parts = split_patients(patients(*["01"] * count), SplitSettings(seed=seed))
    sizes = Counter(parts.values())
    assert sum(sizes.values()) == count
    assert sizes["train"] >= 1
    assert sizes["validation"] >= 1
    # Two patients train and calibrate; a third is needed for a test.
    assert (sizes["test"] >= 1) == (count >= 3)


def test_shares_are_of_patients() -> None:
    parts = split_patients(patients(*["01"] * 20), SplitSettings(validation=0.2, test=0.3))
    assert Counter(parts.values()) == {"train": 10, "validation": 4, "test": 6}


@given(st.integers(0, 20))
def test_a_rare_class_is_in_every_part(seed: int) -> None:
    # Three of nine patients have class 1, one for each part.
    cohort = patients("0", "01", "0", "0", "01", "0", "0", "01", "0")
    parts = split_patients(cohort, SplitSettings(seed=seed))
    assert {parts[name] for name in ("p1", "p4", "p7")} == {"train", "validation", "test"}


def test_what_is_too_rare_trains() -> None:
    parts = split_patients(patients("0", "0", "0", "0", "01", "0"), SplitSettings())
    assert parts["p4"] == "train"


def test_without_calibration_two_patients_train_and_test() -> None:
    parts = split_patients(patients("01", "01"), SplitSettings(validation=0, test=0.33))
    assert sorted(parts.values()) == ["test", "train"]


def test_one_patient_cannot_train_and_calibrate() -> None:
    with pytest.raises(LabelError, match="1 patients have labelled tiles, and two are needed"):
        split_patients(patients("01"), SplitSettings())
    with pytest.raises(SettingsError, match="leave nothing to train on"):
        SplitSettings(validation=0.5, test=0.5)
    with pytest.raises(SettingsError, match="test is 1"):
        SplitSettings(test=1)
