"""Slides with descriptors and tumour labels: what retrieval and nearest neighbours are asked of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.errors import ScoreError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.embeddings import FeatureArray

__all__ = ["LabelRules", "LabelledSlide", "check_comparable"]


@dataclass(frozen=True, slots=True)
class LabelRules:
    """How much of a tile tumour must cover."""

    query_fraction: float = 1.0
    """Least fraction of a tile that asks: published, wholly inside the annotation."""
    answer_fraction: float = 0.5
    """Least fraction of a tile that counts as tumour when it answers: ours, not published."""

    def __post_init__(self) -> None:
        for name in ("query_fraction", "answer_fraction"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise SettingsError(
                    f"{name} is {value:g}; choose above 0 and up to 1, which is wholly inside"
                )


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSlide:
    """One slide's tiles."""

    slide_id: str
    """The slide."""
    patient: str
    """Whose it is; the slide's own id where nothing is known."""
    features: FeatureArray
    """Descriptors: (N, D)."""
    tumour_fraction: NDArray[np.float64]
    """Fraction of each tile within annotated tumour: (N,)."""

    def queries(self, rules: LabelRules) -> NDArray[np.int64]:
        """Rows of the tiles that ask."""
        return np.flatnonzero(self.tumour_fraction >= rules.query_fraction)

    def is_tumour(self, rules: LabelRules) -> NDArray[np.bool_]:
        """Which tiles count as tumour when they answer: (N,)."""
        is_tumour: NDArray[np.bool_] = self.tumour_fraction >= rules.answer_fraction
        return is_tumour


def check_comparable(slides: Sequence[LabelledSlide], rules: LabelRules) -> None:
    """Refuse slides between which there is nothing to find.

    Raises:
        ScoreError: fewer than two slides or patients with tiles, no tile that can ask, or tumour of
            one patient alone.
    """
    filled = [slide for slide in slides if len(slide.features)]
    if len(filled) < 2:
        raise ScoreError(
            f"{len(filled)} of {len(slides)} slides has tiles, but answers come from other slides; "
            f"embed two or more"
        )
    if len({slide.patient for slide in filled}) < 2:
        raise ScoreError(
            f"all {len(filled)} slides are of patient {filled[0].patient!r}, but answers come from "
            f"other patients; add slides of others, or correct the cohort's patient column"
        )
    asking = [slide for slide in filled if len(slide.queries(rules))]
    if not asking:
        most = max(float(slide.tumour_fraction.max()) for slide in filled)
        raise ScoreError(
            f"no tile of {len(filled)} slides is at least {rules.query_fraction:.0%} within "
            f"annotated tumour (the most is {most:.0%}); check that the annotations belong to "
            f"these slides and that their class is named as tumour, or lower the query fraction"
        )
    with_tumour = {slide.patient for slide in filled if slide.is_tumour(rules).any()}
    if len(with_tumour) < 2:
        raise ScoreError(
            f"only patient {min(with_tumour)!r} has tumour tiles, so that no other patient's could "
            f"answer; annotate tumour of two patients or more"
        )
