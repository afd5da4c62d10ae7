"""Exact distances of descriptors: Euclidean, never from codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.embeddings import FeatureArray

__all__ = ["distances_to", "nearest_rows"]

_BLOCK_ROWS = 1 << 14
_SPARE = 8
"""More than asked for are taken by single precision before they are put in their exact order."""


def distances_to(vector: NDArray[np.float32], features: FeatureArray) -> NDArray[np.float64]:
    """Euclidean distances of ``features`` (n, D) to ``vector`` (D,), in double precision: (n,)."""
    apart = features.astype(np.float64) - vector
    squared: NDArray[np.float64] = np.einsum("nd,nd->n", apart, apart)
    return np.sqrt(squared)


def nearest_rows(
    vector: NDArray[np.float32], features: FeatureArray, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The ``count`` nearest of ``features`` (N, D), fewer where there are fewer.

    Returns:
        Rows and their distances, nearest first; of equal ones the lower row comes first.
    """
    blocks = [
        _near_in_block(vector, features[start : start + _BLOCK_ROWS], count) + start
        for start in range(0, len(features), _BLOCK_ROWS)
    ]
    rows = np.sort(np.concatenate([np.empty(0, np.int64), *blocks]))
    distances = distances_to(vector, features[rows])
    order = np.argsort(distances, kind="stable")[:count]
    return rows[order], distances[order]


def _near_in_block(
    vector: NDArray[np.float32], block: FeatureArray, count: int
) -> NDArray[np.int64]:
    wanted = min(count + _SPARE, len(block))
    _, rows = faiss.knn(vector[None], np.ascontiguousarray(block, np.float32), wanted)
    found: NDArray[np.int64] = rows[0]
    return found[found >= 0]
