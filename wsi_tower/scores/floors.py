"""What an encoder has to beat: colour alone, and its own architecture before any training.

Floors are embedding caches like any encoder's, made where they are missing and kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.batch import unwatched
from wsi_tower.embeddings import CacheContents, open_cache, write_cache
from wsi_tower.errors import CorruptStoreError
from wsi_tower.scores.cohort import Cohort
from wsi_tower.scores.untrained import UNTRAINED, untrained_floor
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.embeddings import EmbeddingCache
    from wsi_tower.scores.untrained import Told

__all__ = ["COLOUR", "colour_floor", "colour_statistics", "floors_of", "is_floor"]

COLOUR = "colour-statistics"
"""Slug of the floor that knows colour alone."""

_TILES_AT_ONCE = 128


def is_floor(encoder: str) -> bool:
    """Whether a slug is a floor's."""
    return encoder == COLOUR or encoder.startswith(UNTRAINED)


def floors_of(
    cohorts: Sequence[Cohort], workspaces: Sequence[Workspace], on_slide: Told = unwatched
) -> list[Cohort]:
    """What some encoders that saw the same tiles have to beat, made where it is missing.

    One floor knows colour alone; the others have the architectures of the encoders and random
    weights. An encoder of a Python file, or whose record is in none of the workspaces, has no such
    floor.

    Args:
        cohorts: the encoders.
        workspaces: where their records lie.
        on_slide: called with the floor and the slide of each cache that is made.

    Raises:
        CorruptStoreError: a tile store is missing, damaged, or of other tiles than the caches.
        StorageError: the disk refused.
        WsiTowerError: see `embed_slide`.
    """
    named = {cohort.encoder for cohort in cohorts}
    floors = [
        untrained_floor(cohort, workspaces, on_slide)
        for cohort in cohorts
        if not is_floor(cohort.encoder)
    ]
    random = {floor.encoder: floor for floor in floors if floor is not None}
    found = [*random.values(), colour_floor(cohorts[0], on_slide)]
    return [floor for floor in found if floor.encoder not in named]


def colour_floor(cohort: Cohort, on_slide: Told = unwatched) -> Cohort:
    """The same tiles described by their colour as scanned, never normalised.

    Args:
        cohort: an encoder that has to beat it.
        on_slide: called with the floor and the slide of each cache that is made.

    Raises:
        CorruptStoreError: a tile store is missing, damaged, or of other tiles than the cache.
        StorageError: the disk refused.
    """
    caches = tuple(_colour_cache(cache, on_slide) for cache in cohort.caches)
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


def _colour_cache(cache: EmbeddingCache, on_slide: Told) -> EmbeddingCache:
    """The colours of a slide's tiles: those kept, or new ones where there are none of these."""
    home = Workspace(cache.workspace)
    path = home.embedding_cache(COLOUR, cache.slide_id)
    with home.owned(path, wait=True) as alone:
        kept = _kept(path, cache)
        if kept is not None:
            return kept
        made = write_cache(path, _colours(cache), alone=alone)
    on_slide(COLOUR, cache.slide_id)
    return made


def _kept(path: Path, cache: EmbeddingCache) -> EmbeddingCache | None:
    if not path.exists():
        return None
    kept = open_cache(path)
    is_of_these = kept.header.parents == _parents(cache)
    return kept if is_of_these else None


def _colours(cache: EmbeddingCache) -> CacheContents:
    with TileStore.open(cache.workspace / cache.slide.tile_store) as store:
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
