"""One method against another on the same images: the mean difference, its interval, a test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.errors import ScoreError
from wsi_tower.scores.bootstrap import (
    BootstrapSettings,
    Interval,
    interval_over_slides,
    ratio_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PairedDifference", "mean_with_interval", "paired_difference", "signed_rank_p"]

_MOST_EXACT = 500
"""Differences up to which the distribution of the rank sum is counted, not approximated."""
_DECIMALS = 12
"""Differences are equal, or none, up to rounding."""


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How much better one method is than another, over images that both were given."""

    images: int
    """N."""
    mean: float
    """Mean of first minus second."""
    interval: Interval | None
    """Where it lies for other images of the kind; None for one image."""
    p_value: float
    """Two-sided, of Wilcoxon's signed-rank test."""


def paired_difference(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    bootstrap: BootstrapSettings | None = None,
) -> PairedDifference:
    """Compare two methods image by image.

    Average seeds within an image first: images are the samples, runs are not.

    Args:
        first: score of each image: (N,).
        second: the other method's, in the same order: (N,).
        bootstrap: how the interval is drawn.

    Raises:
        ScoreError: there is no image, not one score each, or one that is no finite number.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ScoreError(
            f"scores of {len(first)} and {len(second)} images cannot be paired; give one of each "
            f"method for one image or more"
        )
    differences = np.asarray(first, np.float64) - second
    if not np.isfinite(differences).all():
        raise ScoreError(
            f"image {int(np.isfinite(differences).argmin())} has a score that is no finite number; "
            f"leave it out of both"
        )
    mean, interval = mean_with_interval(differences, bootstrap)
    return PairedDifference(len(first), mean, interval, signed_rank_p(differences))


def mean_with_interval(
    values: NDArray[np.float64], bootstrap: BootstrapSettings | None = None
) -> tuple[float, Interval | None]:
    """The mean over images, and its interval by drawing images with replacement.

    Args:
        values: one an image: (N,), N above 0.
        bootstrap: how the interval is drawn; None of one image.
    """
    sums = np.stack([np.asarray(values, np.float64), np.ones(len(values))], axis=1)
    interval = interval_over_slides(sums, ratio_of, bootstrap or BootstrapSettings())
    return float(np.mean(values)), interval


def signed_rank_p(differences: NDArray[np.float64]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test (1945, doi 10.2307/3001968).

    Differences of 0 are dropped, as published; equal ones share their mean rank. Up to 500, every
    choice of signs is counted, ties and all; above, the normal distribution stands in.

    Args:
        differences: of each pair: (N,).

    Returns:
        1 where no difference is left.
    """
    kept = np.round(differences, _DECIMALS)
    kept = kept[kept != 0]
    if not len(kept):
        return 1.0
    doubled = _doubled_ranks(np.abs(kept))
    above = int(doubled[kept > 0].sum())
    if len(kept) > _MOST_EXACT:
        spread = math.sqrt(float(np.square(doubled, dtype=np.float64).sum()) / 4)
        return math.erfc(abs(above - doubled.sum() / 2) / spread / math.sqrt(2))
    chances = _rank_sum_chances(doubled)
    tail = min(float(chances[: above + 1].sum()), float(chances[above:].sum()))
    return min(1.0, 2 * tail)


def _doubled_ranks(sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Twice the rank of each, equal ones sharing their mean: whole numbers."""
    _, places, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    doubled: NDArray[np.int64] = (2 * last - counts + 1)[places].astype(np.int64)
    return doubled


def _rank_sum_chances(doubled: NDArray[np.int64]) -> NDArray[np.float64]:
    """Chance of every doubled rank sum when each sign is a coin: (sum + 1,)."""
    chances = np.zeros(int(doubled.sum()) + 1)
    chances[0] = 1
    for rank in doubled.tolist():
        with_it = np.zeros_like(chances)
        with_it[rank:] = chances[:-rank]
        chances = (chances + with_it) / 2
    return chances
