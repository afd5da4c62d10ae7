"""How far few labels go: scores by the share of labels, and how many of them another way saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from wsi_tower.errors import ScoreError

__all__ = ["LabelCurve", "LabelPoint", "annotations_saved"]


class LabelPoint(NamedTuple):
    """One training."""

    fraction: float
    """Share of the training labels that it saw: above 0, up to 1."""
    seed: int
    """Which labels, and which luck."""
    score: float
    """On test data that is the same for all; more is better."""


@dataclass(frozen=True, slots=True)
class LabelCurve:
    """What one way of learning makes of few labels."""

    name: str
    """The way: an encoder with a linear head, a fine-tuned network, one trained from scratch."""
    points: tuple[LabelPoint, ...]
    """Its trainings."""

    def __post_init__(self) -> None:
        for point in self.points:
            if not 0 < point.fraction <= 1 or not np.isfinite(point.score):
                raise ScoreError(
                    f"curve {self.name} has score {point.score:g} at fraction {point.fraction:g}; "
                    f"fractions lie above 0 and up to 1, and scores are finite"
                )

    @property
    def fractions(self) -> tuple[float, ...]:
        """Shares that were tried, from few to many."""
        return tuple(sorted({point.fraction for point in self.points}))

    def scores_at(self, fraction: float) -> tuple[float, ...]:
        """The scores at one share, by seed."""
        here = sorted(point for point in self.points if point.fraction == fraction)
        return tuple(point.score for point in here)

    def mean_at(self, fraction: float) -> float:
        """Mean score at one share, over seeds.

        Raises:
            ScoreError: it was not tried.
        """
        scores = self.scores_at(fraction)
        if not scores:
            raise ScoreError(
                f"curve {self.name} has no score at {fraction:.0%} of the labels, only at "
                f"{', '.join(f'{one:.0%}' for one in self.fractions) or 'none'}; train there, too"
            )
        return float(np.mean(scores))


def annotations_saved(curve: LabelCurve, against: LabelCurve) -> float | None:
    """Share of the labels that one way needs no more to be as good as another with all of them.

    1 − the smallest tried fraction at which the mean score over seeds is at least the other's mean
    score at 100 %. Nothing is read between fractions: 0.99 needs a training with 1 %.

    Args:
        curve: the way that should need few.
        against: the way with all labels, usually a network trained from scratch.

    Returns:
        0 where all labels are needed; None where even all are not enough.

    Raises:
        ScoreError: the other way has no score with all labels.
    """
    wanted = against.mean_at(1.0)
    enough = (fraction for fraction in curve.fractions if curve.mean_at(fraction) >= wanted)
    fraction = next(enough, None)
    return None if fraction is None else 1 - fraction
