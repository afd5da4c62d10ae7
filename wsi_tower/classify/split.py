"""Whose slides train, calibrate and test: patients are never parted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from wsi_tower.draws import Draws
from wsi_tower.errors import LabelError
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from wsi_tower.classify.labels import TileLabels
    from wsi_tower.classify.settings import SplitSettings
    from wsi_tower.scores import Cohort

__all__ = ["Part", "Split", "split_cohort", "split_patients"]

Part: TypeAlias = Literal["train", "validation", "test"]
_PARTS: tuple[Part, ...] = get_args(Part)
_TRIES = 200
"""Orders of patients that are tried for one in which every part has every class."""


@dataclass(frozen=True, slots=True)
class Split:
    """The slides of each part, by id."""

    train: tuple[str, ...]
    """Teach."""
    validation: tuple[str, ...]
    """Calibrate; they teach nothing else."""
    test: tuple[str, ...]
    """Are scored and nothing else; perhaps none."""
    unused: tuple[str, ...]
    """Have no labelled tile, or no part in the cohort table."""
    groups: int
    """Patients that have labelled tiles."""


def split_cohort(cohort: Cohort, labels: TileLabels, settings: SplitSettings) -> Split:
    """Give each labelled slide a part: by a column of the cohort table, or by drawing patients.

    Raises:
        LabelError: there are too few patients, a patient is in two parts, or a part that is needed
            has no slide.
    """
    patients = {
        cache.slide_id: patient
        for cache, patient in zip(cohort.caches, cohort.patients, strict=True)
        if labels.counts(cache.slide_id).any()
    }
    if settings.column:
        of_slide = _told(cohort, patients, settings)
    else:
        counts: dict[str, NDArray[np.int64]] = {}
        for slide_id, patient in patients.items():
            own = labels.counts(slide_id)
            counts[patient] = counts.get(patient, np.zeros_like(own)) + own
        of_patient = split_patients(counts, settings)
        of_slide = {slide_id: of_patient[patient] for slide_id, patient in patients.items()}
    parts = {
        part: tuple(slide_id for slide_id, own in of_slide.items() if own == part)
        for part in _PARTS
    }
    _check(parts, settings)
    unused = tuple(one.slide_id for one in cohort.caches if one.slide_id not in of_slide)
    return Split(**parts, unused=unused, groups=len(set(patients.values())))


def split_patients(
    counts: Mapping[str, NDArray[np.int64]], settings: SplitSettings
) -> dict[str, Part]:
    """Draw each patient's part.

    Of many drawn orders the first is taken in which every part has every class; where there is
    none, the one in which training lacks fewest classes, then validation, then test.

    Args:
        counts: labelled tiles of each class, by patient: (K,).
        settings: how many patients a part gets: at least one where its share is above 0, but
            there is no test with fewer than three.

    Raises:
        LabelError: there are fewer patients than parts that cannot do without.
    """
    names = sorted(counts)
    sizes = _sizes(len(names), settings)
    table = np.stack([counts[name] > 0 for name in names])
    ends = np.cumsum(sizes)
    luck = Draws(settings.seed, 0, np.arange(_TRIES)).uniform("classify/patients", len(names))
    orders = np.argsort(luck, axis=1, kind="stable")

    def covered(order: NDArray[np.int64]) -> tuple[int, ...]:
        parts = np.split(order, ends[:-1])
        return tuple(int(table[part].any(axis=0).sum()) for part in parts)

    best = max(orders, key=covered)  # the first of equal ones
    parts = np.repeat(np.array(_PARTS), sizes).tolist()
    return {names[place]: part for place, part in zip(best.tolist(), parts, strict=True)}


def _sizes(patients: int, settings: SplitSettings) -> tuple[int, int, int]:
    has_validation = settings.validation > 0
    has_test = settings.test > 0 and patients >= 2 + has_validation
    spare = patients - 1 - has_test
    validation = min(max(1, round(settings.validation * patients)), spare) if has_validation else 0
    spare = patients - 1 - validation
    test = min(max(1, round(settings.test * patients)), spare) if has_test else 0
    train = patients - validation - test
    if has_validation and validation < 1:
        raise LabelError(
            f"{patients} patients have labelled tiles, and two are needed at least: slides of one "
            f"train, those of another calibrate. Annotate slides of more patients, or correct the "
            f"cohort's patient column"
        )
    return train, validation, test


def _told(cohort: Cohort, patients: Mapping[str, str], settings: SplitSettings) -> dict[str, Part]:
    """Parts as the cohort table has them.

    Raises:
        LabelError: a patient is in two.
    """
    known: Mapping[str, Part] = {part: part for part in _PARTS} | {"val": "validation"}
    of_slide: dict[str, Part] = {}
    of_patient: dict[str, Part] = {}
    for cache in cohort.caches:
        columns = cache.slide.cohort | Workspace(cache.workspace).cohort().get(cache.slide_id, {})
        part = known.get(columns.get(settings.column, "").lower())
        patient = patients.get(cache.slide_id)
        if part is None or patient is None:
            continue
        of_slide[cache.slide_id] = part
        if of_patient.setdefault(patient, part) != part:
            raise LabelError(
                f"patient {patient} has slides in {of_patient[patient]} and in {part} (column "
                f"{settings.column} of the cohort table); one patient's slides are of one part"
            )
    return of_slide


def _check(parts: Mapping[Part, Sequence[str]], settings: SplitSettings) -> None:
    needed: list[Part] = ["train"]
    if settings.validation:
        needed.append("validation")
    missing = [part for part in needed if not parts[part]]
    if missing:
        raise LabelError(
            f"no labelled slide has {missing[0]} in column {settings.column!r} of the cohort "
            f"table; calibration takes other slides than training, so give both"
        )
