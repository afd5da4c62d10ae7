"""How well masks overlap: Dice of pixels, and the aggregated Jaccard index of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_tower.errors import ScoreError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["aggregated_jaccard", "dice"]


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """2 |A ∩ B| / (|A| + |B|): 1 where masks are the same, and where both are empty.

    Args:
        found: a mask, of any shape.
        truth: the other one, of the same shape.

    Raises:
        ScoreError: the shapes differ.
    """
    _check_same_shape(found, truth)
    both = int(np.count_nonzero(found)) + int(np.count_nonzero(truth))
    return 2 * int(np.count_nonzero(found & truth)) / both if both else 1.0


def aggregated_jaccard(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """Aggregated Jaccard index of objects (Kumar et al. 2017, doi 10.1109/TMI.2017.2677499).

    Each true object takes the found one of the largest Jaccard index with it; the pixels that these
    pairs share are divided by the pixels of their unions, of true objects that nothing meets, and
    of found ones that nobody took. As published, a found object may be taken more than once. Of
    equal ones the lowest id is taken. Two pictures without objects score 1.

    Args:
        found: ids of objects, 0 for none: whole numbers, of any shape.
        truth: ids of the true ones, of the same shape.

    Raises:
        ScoreError: the shapes differ.
    """
    _check_same_shape(found, truth)
    found_ids, found_places = np.unique(found, return_inverse=True)
    true_ids, true_places = np.unique(truth, return_inverse=True)
    shared = np.zeros((len(true_ids), len(found_ids)), np.int64)
    np.add.at(shared, (true_places.ravel(), found_places.ravel()), 1)
    found_areas, true_areas = shared.sum(axis=0), shared.sum(axis=1)
    shared = shared[true_ids != 0][:, found_ids != 0]
    found_areas, true_areas = found_areas[found_ids != 0], true_areas[true_ids != 0]
    if not shared.size:
        return 0.0 if len(found_areas) or len(true_areas) else 1.0
    unions = true_areas[:, None] + found_areas - shared
    best = (shared / unions).argmax(axis=1)
    rows = np.arange(len(best))
    is_met = shared[rows, best] > 0
    is_taken = np.isin(np.arange(len(found_areas)), best[is_met])
    over = int(unions[rows, best][is_met].sum())
    over += int(true_areas[~is_met].sum()) + int(found_areas[~is_taken].sum())
    return int(shared[rows, best].sum()) / over


def _check_same_shape(found: NDArray[Any], truth: NDArray[Any]) -> None:
    if found.shape != truth.shape:
        raise ScoreError(
            f"a mask of {_size(found)} cannot be compared with one of {_size(truth)}; give masks "
            f"of the same picture at the same resolution"
        )


def _size(mask: NDArray[Any]) -> str:
    return " × ".join(map(str, mask.shape))
