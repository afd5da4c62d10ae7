"""Intervals by drawing slides with replacement (Efron 1979): tiles of a slide are no samples.

A score that is a function of sums over slides is computed again for many drawn sets of slides; the
interval is between the percentiles of what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from wsi_tower.draws import Draws
from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["BootstrapSettings", "Interval", "Statistic", "interval_over_slides", "ratio_of"]

Statistic: TypeAlias = "Callable[[NDArray[np.float64]], NDArray[np.float64]]"
"""From sums over slides (R, K) to scores (R,)."""


class Interval(NamedTuple):
    """Where a score lies for other slides of the same kind."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """How intervals are drawn."""

    resamples: int = 2000
    """Sets of slides that are drawn."""
    level: float = 0.95
    """Share of the sets whose score lies within the interval."""
    seed: int = 0
    """What the sets depend on."""

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise SettingsError(
                f"{self.resamples} resamples are too few for percentiles; take 100 or more"
            )
        if not 0 < self.level < 1:
            raise SettingsError(f"level is {self.level:g}; choose between 0 and 1, as in 0.95")


def interval_over_slides(
    sums: NDArray[np.float64], statistic: Statistic, settings: BootstrapSettings
) -> Interval | None:
    """The percentile interval of a score that is a function of sums over slides.

    Args:
        sums: what each slide adds: (S, K).
        statistic: the score of summed rows. Sets of slides that have none (NaN) are left out.
        settings: how many sets, and how wide.

    Returns:
        None where there are fewer than two slides, or no set has a score.
    """
    if len(sums) < 2:
        return None
    draws = Draws(settings.seed, 0, np.arange(settings.resamples))
    drawn = (draws.uniform("bootstrap/slides", len(sums)) * len(sums)).astype(np.int64)
    times = np.stack([np.bincount(row, minlength=len(sums)) for row in drawn])
    scores = statistic(times @ sums)
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return None
    tail = 100 * (1 - settings.level) / 2
    low, high = np.percentile(scores, [tail, 100 - tail])
    return Interval(float(low), float(high))


def ratio_of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """A `Statistic`: the first column over the second, NaN where that is 0."""
    parts, wholes = sums.T
    ratios = np.full(len(sums), np.nan)
    np.divide(parts, wholes, out=ratios, where=wholes > 0)
    return ratios
