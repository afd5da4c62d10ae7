"""What is asked: tiles, positions and regions of slides become points among the descriptors."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import shapely

from wsi_tower.annotations import read_geojson_polygons
from wsi_tower.embeddings import open_cache
from wsi_tower.errors import EncoderError, InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.embeddings import EmbeddingCache
    from wsi_tower.retrieval.tile_index import TileIndex

__all__ = ["AskedTile", "Question", "refined", "region_rows", "row_at", "slide_cache"]

_OWN, _LIKE, _UNLIKE = 1.0, 0.75, 0.15
"""Weights of the query, its positive and its negative examples (Rocchio 1971, as in Manning,
Raghavan and Schütze 2008, section 9.1.1)."""


@dataclass(frozen=True, slots=True)
class AskedTile:
    """A tile of a slide that is part of a question."""

    slide_id: str
    """Its slide."""
    row: int
    """Its row in the slide's tile store and embedding cache."""

    @classmethod
    def at(cls, cache: EmbeddingCache, place: int | tuple[float, float]) -> Self:
        """The tile of a row, or at a position in micrometres from the slide's origin.

        Raises:
            InputError: there is no such row, or no tile there.
        """
        row = place if isinstance(place, int) else row_at(cache, place)
        if not 0 <= row < len(cache):
            raise InputError(
                f"slide {cache.slide_id} has no tile of row {row}; rows go from 0 to "
                f"{len(cache) - 1}"
            )
        return cls(cache.slide_id, row)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Points among the descriptors, and where they come from."""

    vectors: NDArray[np.float32]
    """What is searched for: (Q, D)."""
    told: dict[str, Any]
    """The question in plain values, for answers that are written down."""
    tiles: tuple[AskedTile, ...] = ()
    """Tiles that it was made from; neither they nor tiles that overlap them answer it."""
    slides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Slides that are asked about, with their columns of the cohort. Those of tiles that refine
    another question are not."""


def refined(
    vectors: NDArray[np.float32],
    like: NDArray[np.float32] | None = None,
    unlike: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Queries moved towards positive examples and away from negative ones.

    Rocchio's rule: q' = (1 · q + 0.75 · mean of positives − 0.15 · mean of negatives) / sum of the
    weights. The division, which his ranking by angle does not need, keeps q' a point among the
    descriptors: Euclidean distances depend on where it lies, and the origin means nothing to them.

    Args:
        vectors: the queries: (Q, D).
        like: descriptors of positive examples: (P, D); None: none.
        unlike: descriptors of negative examples: (M, D); None: none.
    """
    total = np.full(len(vectors), _OWN)
    moved = _OWN * vectors.astype(np.float64)
    for examples, weight in ((like, _LIKE), (unlike, -_UNLIKE)):
        if examples is not None and len(examples):
            moved += weight * examples.astype(np.float64).mean(axis=0)
            total += weight
    result: NDArray[np.float32] = (moved / total[:, None]).astype(np.float32)
    return result


def slide_cache(index: TileIndex, slide_id: str, folder: Path) -> EmbeddingCache:
    """The embedding cache of a slide that is asked about, whether or not it is indexed.

    Args:
        index: to be asked.
        slide_id: the slide.
        folder: where caches of slides lie that are not indexed.

    Raises:
        InputError: the slide is neither indexed nor embedded.
        EncoderError: it was embedded by another encoder than the index's.
        CorruptStoreError: the cache is damaged, or changed after it was indexed.
    """
    number = index.number_of(slide_id)
    if number is not None:
        return index.cache(number)
    path = folder / f"{slide_id}.h5"
    if not path.is_file():
        known = [slide.slide_id for slide in index.slides]
        alike = difflib.get_close_matches(slide_id, known, n=3, cutoff=0.6) or known[:3]
        raise InputError(
            f"slide {slide_id} is neither in index {index.path} nor embedded in {folder}; known "
            f"are {len(known)} slides, such as {', '.join(alike)}"
        )
    cache = open_cache(path)
    own, indexed = cache.header.parents.get("encoder"), index.record.header.parents["encoder"]
    if own != indexed or cache.descriptor != index.record.descriptor:
        raise EncoderError(
            f"embedding cache {path} and index {index.path} do not belong together: encoder "
            f"{cache.encoder_id} has weights {str(own)[:8]}… there and {indexed[:8]}… here; embed "
            f"the slide again, or index again with `wsi-tower index`"
        )
    return cache


def row_at(cache: EmbeddingCache, centre_um: tuple[float, float]) -> int:
    """The row of the tile at a position; of overlapping ones the one whose centre is nearest.

    Args:
        cache: of the slide.
        centre_um: x and y in micrometres from the slide's origin.

    Raises:
        InputError: outside the slide, or off its tiles; the nearest tile is named.
    """
    slide, point = cache.slide, np.asarray(centre_um)
    mpp = np.array([slide.mpp.x, slide.mpp.y])
    extent_um = np.array([slide.size.width, slide.size.height]) * mpp
    if not ((point >= 0) & (point < extent_um)).all():
        raise InputError(
            f"position {_position(point)} lies outside slide {slide.slide_id}, which is "
            f"{_position(extent_um)} wide and high"
        )
    distances_um = np.hypot(*(cache.centre_um - point).T)
    row = int(distances_um.argmin())
    if (np.abs(cache.centre_um[row] - point) > slide.footprint_l0 * mpp / 2).any():
        raise InputError(
            f"slide {slide.slide_id} has no tile at {_position(point)}; the nearest is row {row} "
            f"at {_position(cache.centre_um[row])}, {distances_um[row]:.0f} µm away: take it with "
            f"--row {row}"
        )
    return row


def region_rows(cache: EmbeddingCache, path: Path, most: int) -> NDArray[np.int64]:
    """Rows of the tiles whose centres lie in the polygons of a GeoJSON file.

    Args:
        cache: of the slide that the polygons were drawn on.
        path: the file, in level-0 pixels as QuPath counts them.
        most: rows to give; of more, so many are taken evenly.

    Raises:
        AnnotationError: the file cannot be read.
        InputError: no tile lies inside.
    """
    slide = cache.slide
    areas = shapely.union_all([one.area for one in read_geojson_polygons(path, slide.bounds)])
    centres_l0 = cache.coords_l0 + slide.footprint_l0 / 2
    rows = np.flatnonzero(shapely.contains_xy(areas, *centres_l0.T))
    if not len(rows):
        raise InputError(
            f"region {path} holds the centre of no tile of slide {slide.slide_id}; draw it larger "
            f"than a tile of {slide.footprint_l0} level-0 px, on tissue, and on this slide"
        )
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64)]


def _position(point_um: NDArray[np.float64]) -> str:
    """A position as ``--at`` takes it."""
    return ",".join(f"{value / 1000:.4g}mm" for value in point_um)
