"""Exact distances of descriptors: Euclidean, never from codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.embeddings import FeatureArray

__all__ = ["distances_to", "near_rows"]

_BLOCK_ROWS = 1 << 14


def distances_to(vector: NDArray[np.float32], features: FeatureArray) -> NDArray[np.float64]:
    """Euclidean distances of ``features`` (n, D) to ``vector`` (D,), in double precision: (n,)."""
    apart = features.astype(np.float64) - vector
    squared: NDArray[np.float64] = np.einsum("nd,nd->n", apart, apart)
    return np.sqrt(squared)


def near_rows(
    vector: NDArray[np.float32], features: FeatureArray, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest of ``features`` (N, D) by single precision, ``count`` of every block of rows.

    Returns:
        Rows and squared distances, in no order.
    """
    rows, squared = [], []
    for start in range(0, len(features), _BLOCK_ROWS):
        block = features[start : start + _BLOCK_ROWS]
        if block.dtype != np.float32:
            block = block.astype(np.float32)
        distances, found = faiss.knn(vector[None], block, min(count, len(block)))
        rows.append(found[0] + start)
        squared.append(distances[0])
    return np.concatenate(rows), np.concatenate(squared)
