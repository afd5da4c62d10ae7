"""What an encoder has to beat: colour alone, and its own architecture before any training.

Floors are embedding caches like any encoder's, made where they are missing and kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.embeddings import CacheContents, open_cache, write_cache
from wsi_tower.errors import CorruptStoreError
from wsi_tower.records import held_lock
from wsi_tower.scores.cohort import Cohort
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.embeddings import EmbeddingCache

__all__ = ["COLOUR", "colour_floor", "colour_statistics", "floors_of", "is_floor"]

COLOUR = "colour-statistics"
"""Slug of the floor that knows colour alone."""

UNTRAINED = "untrained-"
"""How the slugs of encoders with random weights begin."""

_TILES_AT_ONCE = 128


def is_floor(encoder: str) -> bool:
    """Whether a slug is a floor's."""
    return encoder == COLOUR or encoder.startswith(UNTRAINED)


def floors_of(cohorts: Sequence[Cohort]) -> list[Cohort]:
    """The floors of some encoders that saw the same tiles, made where they are missing.

    Raises:
        CorruptStoreError: a tile store is missing, damaged, or of other tiles than the caches.
        StorageError: the disk refused.
    """
    named = {cohort.encoder for cohort in cohorts}
    return [colour_floor(cohorts[0])] if COLOUR not in named else []


def colour_floor(cohort: Cohort) -> Cohort:
    """The same tiles described by their colour as scanned, never normalised.

    Raises:
        CorruptStoreError: a tile store is missing, damaged, or of other tiles than the cache.
        StorageError: the disk refused.
    """
    caches = tuple(_colour_cache(cache) for cache in cohort.caches)
    return Cohort(COLOUR, caches, cohort.patients, role="floor")


def colour_statistics(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean and standard deviation of red, green and blue over each tile.

    Args:
        pixels: (N, side, side, 3).

    Returns:
        (N, 6), in grey levels from 0 to 255.
    """
    flat = pixels.reshape(len(pixels), -1, 3).astype(np.float32)
    return np.concatenate([flat.mean(axis=1), flat.std(axis=1)], axis=1)


def _colour_cache(cache: EmbeddingCache) -> EmbeddingCache:
    """The colours of a slide's tiles: those kept, or new ones where there are none of these."""
    home = Workspace(cache.workspace)
    path = home.embedding_cache(COLOUR, cache.slide_id)
    with held_lock(home.lock(path), wait=True):
        kept = _kept(path, cache)
        return kept or write_cache(path, _colours(cache), alone=True)


def _kept(path: Path, cache: EmbeddingCache) -> EmbeddingCache | None:
    if not path.exists():
        return None
    kept = open_cache(path)
    is_of_these = kept.header.parents == _parents(cache)
    return kept if is_of_these else None


def _colours(cache: EmbeddingCache) -> CacheContents:
    with TileStore.open(cache.workspace / cache.slide.tile_store, decode="fast") as store:
        if not np.array_equal(store.xy_l0, cache.coords_l0):
            raise CorruptStoreError(
                f"store {store.path} has other tiles than {cache.path}; embed the slide again with "
                f"--overwrite"
            )
        blocks = np.split(np.arange(len(store)), range(_TILES_AT_ONCE, len(store), _TILES_AT_ONCE))
        features = np.concatenate([colour_statistics(store.pixels[rows]) for rows in blocks])
    return CacheContents(
        slide=cache.slide,
        encoder_id="mean and standard deviation of red, green and blue",
        descriptor="pooled",
        features=features,
        coords_l0=cache.coords_l0,
        centre_um=cache.centre_um,
        slide_descriptor=features.mean(axis=0) if len(features) else np.zeros(6, np.float32),
        settings={"stain": "none"},
        parents=_parents(cache),
    )


def _parents(cache: EmbeddingCache) -> dict[str, str]:
    return {"tiles": cache.header.parents.get("tiles", cache.array_digests["coords"])}
