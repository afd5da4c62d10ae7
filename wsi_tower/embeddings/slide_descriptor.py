"""One vector for a slide, from those of its tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.embeddings.cache import FeatureArray
    from wsi_tower.embeddings.settings import EmbedSettings

__all__ = ["SlideVector", "described_slide", "geometric_median", "mosaic_rows"]

_MEDIAN_ROUNDS, _MOSAIC_ROUNDS = 200, 50
_CLOSE = 1e-6
"""Step, as part of the features' spread, below which the median stands still."""


class SlideVector(NamedTuple):
    """What describes a slide."""

    vector: NDArray[np.float32]
    """One vector: (D,)."""
    mosaic: NDArray[np.int64]
    """Rows of the tiles that it was made of, where it was made of a mosaic: (K,)."""


def described_slide(features: FeatureArray, settings: EmbedSettings) -> SlideVector:
    """The slide's vector, by the settings' ``slide_descriptor``.

    Args:
        features: a row a tile, (N, D), N at least 1.
        settings: which way, and the mosaic's size and seed.
    """
    rows = np.empty(0, np.int64)
    if settings.slide_descriptor == "median":
        vector = geometric_median(features)
    else:
        if settings.slide_descriptor == "mosaic":
            rows = mosaic_rows(features, settings.mosaic_tiles, settings.seed)
            features = features[rows]
        vector = features.mean(axis=0, dtype=np.float64)
    return SlideVector(vector.astype(np.float32), rows)


def geometric_median(points: FeatureArray) -> NDArray[np.float64]:
    """The point with the least sum of distances to all points (N, D).

    Weiszfeld's iteration with the step of Vardi and Zhang (2000, doi 10.1073/pnas.97.4.1423) where
    it meets one of the points, made longer as long as that lessens the sum: beside a point that the
    others hardly move, or hardly fail to move, a step alone is tiny.
    """
    values = points.astype(np.float64)
    median: NDArray[np.float64] = values.mean(axis=0)
    spread = float(np.linalg.norm(values - median, axis=1).mean())
    for _ in range(_MEDIAN_ROUNDS):
        step = _lengthened(values, median, _weiszfeld_step(values, median, spread))
        median = median + step
        if np.linalg.norm(step) <= _CLOSE * spread:
            break
    # A point that only just holds out against the others is approached, and never met.
    nearest: NDArray[np.float64] = values[np.linalg.norm(values - median, axis=1).argmin()]
    return median if _weiszfeld_step(values, nearest, spread).any() else nearest


def _weiszfeld_step(
    values: NDArray[np.float64], median: NDArray[np.float64], spread: float
) -> NDArray[np.float64]:
    distances = np.linalg.norm(values - median, axis=1)
    is_away = distances > 1e-12 * spread
    if not is_away.any():
        return np.zeros_like(median)
    weights = 1 / distances[is_away]
    target = weights @ values[is_away] / weights.sum()
    pull = float(np.linalg.norm(weights @ (values[is_away] - median)))
    here = len(values) - int(is_away.sum())
    # Points that lie here hold it back; where they hold more than the others pull, it is found.
    freed = max(0.0, 1 - here / pull) if pull > 0 else 0.0
    step: NDArray[np.float64] = freed * (target - median)
    return step


def _lengthened(
    values: NDArray[np.float64], median: NDArray[np.float64], step: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The step, doubled as long as the sum of distances, which is convex, becomes less."""
    least = _distance_sum(values, median + step)
    while (longer := _distance_sum(values, median + 2 * step)) < least:
        step, least = 2 * step, longer
    return step


def _distance_sum(values: NDArray[np.float64], point: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(values - point, axis=1).sum())


def mosaic_rows(features: FeatureArray, tiles: int, seed: int) -> NDArray[np.int64]:
    """Rows of the tiles nearest to the centres of a k-means clustering, ascending: (K,).

    Rare tissue counts as much as abundant tissue, as in the mosaics of Yottixel (Kalra et al. 2020,
    doi 10.1016/j.media.2020.101757).

    Args:
        features: a row a tile, (N, D).
        tiles: K, how many; fewer where there are fewer different tiles.
        seed: of the first centres, by k-means++ (Arthur and Vassilvitskii 2007).
    """
    values = features.astype(np.float32)
    squares = np.einsum("nd,nd->n", values, values, dtype=np.float64)
    centres = _first_centres(values, squares, tiles, np.random.default_rng(seed))
    members = _nearest(values, squares, centres)
    for _ in range(_MOSAIC_ROUNDS):
        means = [
            values[members == number].mean(axis=0, dtype=np.float64)
            for number in range(len(centres))
            if (members == number).any()
        ]
        centres = np.array(means, np.float32)
        moved = _nearest(values, squares, centres)
        if np.array_equal(moved, members):
            break
        members = moved
    return np.unique(_distances(values, squares, centres).argmin(axis=0))


def _first_centres(
    values: NDArray[np.float32],
    squares: NDArray[np.float64],
    count: int,
    draws: np.random.Generator,
) -> NDArray[np.float32]:
    chosen = [int(draws.integers(len(values)))]
    nearest = _distances(values, squares, values[chosen])[:, 0]
    while len(chosen) < min(count, len(values)):
        nearest[chosen] = 0
        if nearest.sum() <= 0:
            break
        chosen.append(int(draws.choice(len(values), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, _distances(values, squares, values[chosen[-1:]])[:, 0])
    return values[chosen]


def _nearest(
    values: NDArray[np.float32], squares: NDArray[np.float64], centres: NDArray[np.float32]
) -> NDArray[np.int64]:
    rows: NDArray[np.int64] = _distances(values, squares, centres).argmin(axis=1)
    return rows


def _distances(
    values: NDArray[np.float32], squares: NDArray[np.float64], centres: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Squared distances of N points to K centres: (N, K)."""
    own = np.einsum("kd,kd->k", centres, centres, dtype=np.float64)
    distances: NDArray[np.float64] = squares[:, None] - 2.0 * (values @ centres.T) + own
    return np.maximum(distances, 0)
