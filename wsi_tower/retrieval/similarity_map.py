"""How alike every tile of one slide is to what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.retrieval.exact import distances_to

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.embeddings import EmbeddingCache
    from wsi_tower.retrieval.asking import Question

__all__ = ["SimilarityMap", "similarity_map"]

_BLOCK_ROWS = 1 << 14


@dataclass(frozen=True, slots=True, eq=False)
class SimilarityMap:
    """Distances of a slide's tiles to a question."""

    distances: NDArray[np.float64]
    """Euclidean distance of every tile's descriptor to the nearest of the question's: (N,)."""
    cells: NDArray[np.int64]
    """Column and row of every tile in the grid of the slide: (N, 2)."""
    pixel_um: tuple[float, float]
    """Micrometres from one tile to the next along x and y."""

    def classes(self, count: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """The map as an image with a pixel a tile: steps of equal width from far to near.

        Args:
            count: how many steps, up to 255.

        Returns:
            Steps, uint8 (rows, columns): 0 where there is no tile, 1 for the farthest, ``count``
            for the nearest; and the distances between which they lie, from far to near:
            (count + 1,).
        """
        edges = np.linspace(self.distances.max(), self.distances.min(), count + 1)
        width = max(edges[0] - edges[-1], np.finfo(np.float64).tiny)
        steps = ((edges[0] - self.distances) / width * count).astype(np.int64)
        columns, rows = (self.cells.max(axis=0) + 1).tolist()
        image = np.zeros((rows, columns), np.uint8)
        image[self.cells[:, 1], self.cells[:, 0]] = np.minimum(steps, count - 1) + 1
        return image, edges


def similarity_map(question: Question, cache: EmbeddingCache) -> SimilarityMap:
    """Distances of every tile of a slide to the nearest of a question's vectors.

    Args:
        question: what is asked.
        cache: of the slide; by the encoder that the question was made with.
    """
    distances = np.full(len(cache), np.inf)
    for start in range(0, len(cache), _BLOCK_ROWS):
        block = cache.features[start : start + _BLOCK_ROWS]
        for vector in question.vectors:
            own = distances[start : start + len(block)]
            np.minimum(own, distances_to(vector, block), out=own)
    slide = cache.slide
    pixel_um = slide.pitch_l0 * slide.mpp.x, slide.pitch_l0 * slide.mpp.y
    return SimilarityMap(distances, cache.coords_l0 // slide.pitch_l0, pixel_um)
