"""Which slides may answer: filters on the cohort's columns, and never what was asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.errors import InputError, SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.retrieval.asking import Question
    from wsi_tower.retrieval.query_settings import QuerySettings
    from wsi_tower.retrieval.tile_index import TileIndex

__all__ = ["allowed_slides"]

_SHOWN = 8


def allowed_slides(
    index: TileIndex, question: Question, settings: QuerySettings
) -> NDArray[np.bool_]:
    """Whether each slide may answer: (S,).

    Raises:
        SettingsError: a filter on a column that the cohort does not have.
        InputError: no slide is left.
    """
    wanted: dict[str, set[str]] = {}
    for column, value in settings.where:
        _check_column(index, column)
        wanted.setdefault(column, set()).add(value)
    fitting = np.array(
        [
            all(slide.cohort.get(column) in values for column, values in wanted.items())
            for slide in index.slides
        ],
        bool,
    )
    allowed = fitting & ~_asked_about(index, question, settings)
    if not allowed.any():
        raise InputError(_nothing_left(index, question, settings, int(fitting.sum())))
    return allowed


def _asked_about(
    index: TileIndex, question: Question, settings: QuerySettings
) -> NDArray[np.bool_]:
    """Slides that are asked about, and others of their patients, unless they may answer."""
    column = settings.patient_column
    patients = {cohort[column] for cohort in question.slides.values() if cohort.get(column)}
    is_refused = []
    for slide in index.slides:
        if slide.slide_id in question.slides:
            is_refused.append(not settings.own_slide)
        else:
            is_own = slide.cohort.get(column) in patients
            is_refused.append(is_own and not settings.own_patient)
    return np.array(is_refused, bool)


def _check_column(index: TileIndex, column: str) -> None:
    columns = index.record.columns
    if column not in columns:
        known = f"known are {', '.join(columns)}" if columns else "the cohort has no columns"
        raise SettingsError(
            f"--where {column}=…: no slide of index {index.path} has a column {column!r}; {known}. "
            f"Columns come from the slide list; index again after it changed"
        )


def _nothing_left(
    index: TileIndex, question: Question, settings: QuerySettings, fitting: int
) -> str:
    told = " and ".join(f"{column}={value}" for column, value in settings.where)
    if fitting:
        asked = ", ".join(sorted(question.slides)[:_SHOWN])
        which = f" with {told}" if told else ""
        return (
            f"no slide is left to answer: each of {fitting} in index {index.path}{which} is asked "
            f"about ({asked}) or of the same patient; allow it with --own-slide or --own-patient"
        )
    there = "; ".join(
        f"{column}: {', '.join(_values(index, column)[:_SHOWN])}"
        for column in dict.fromkeys(column for column, _ in settings.where)
    )
    return f"no slide is left to answer: none of index {index.path} has {told}; there are {there}"


def _values(index: TileIndex, column: str) -> list[str]:
    return sorted({slide.cohort[column] for slide in index.slides if column in slide.cohort})
