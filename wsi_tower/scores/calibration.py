"""Do probabilities mean what they say, and is every class found?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.errors import ScoreError, SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["balanced_accuracy", "expected_calibration_error"]

_SUM_TOLERANCE = 1e-3


def expected_calibration_error(
    probabilities: NDArray[np.floating], truth: NDArray[np.integer], bins: int = 15
) -> float:
    """Expected calibration error, ECE (Guo et al. 2017, arXiv 1706.04599, equation 3).

    Samples are binned by the probability of the class they are called, in bins of equal width that
    hold their upper end. In each, the share that was called right should be the mean probability;
    ECE is the mean absolute difference, weighted by the samples of a bin.

    Args:
        probabilities: of each class: (N, K), rows sum to 1.
        truth: number of the true class: (N,).
        bins: M; 15 is published.

    Raises:
        ScoreError: there is no sample, or these are no probabilities of as many samples.
        SettingsError: there is no bin.
    """
    if bins < 1:
        raise SettingsError(f"bins is {bins}; take 1 or more")
    _check(probabilities, truth)
    sure = probabilities.max(axis=1).astype(np.float64)
    is_right = probabilities.argmax(axis=1) == truth
    places = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    # |accuracy - confidence| × samples of a bin is |right - sum of confidence|.
    gaps = np.bincount(places, is_right - sure, bins)
    return float(np.abs(gaps).sum() / len(truth))


def balanced_accuracy(called: NDArray[np.integer], truth: NDArray[np.integer]) -> float:
    """Mean over classes of the share of their samples that were called so; guessing gives 1 / K.

    Classes without a sample are left out.

    Args:
        called: number of the class that each sample was given: (N,).
        truth: number of the true one: (N,).

    Raises:
        ScoreError: there is no sample, or not one call a sample.
    """
    if not len(truth) or called.shape != truth.shape:
        raise ScoreError(
            f"{len(called)} calls of {len(truth)} samples have no balanced accuracy; give one call "
            f"for each of one or more"
        )
    is_right = called == truth
    return float(np.mean([is_right[truth == one].mean() for one in np.unique(truth)]))


def _check(probabilities: NDArray[np.floating], truth: NDArray[np.integer]) -> None:
    shape = probabilities.shape
    if not len(truth) or probabilities.ndim != 2 or len(probabilities) != len(truth):
        raise ScoreError(
            f"probabilities of shape {shape} for {len(truth)} samples cannot be scored; give a row "
            f"for each of one or more"
        )
    off = np.abs(probabilities.sum(axis=1) - 1)
    if not (off <= _SUM_TOLERANCE).all() or not (probabilities >= 0).all():
        raise ScoreError(
            f"row {int(np.nanargmax(off))} holds no probabilities: they are 0 or more and sum to 1"
        )
