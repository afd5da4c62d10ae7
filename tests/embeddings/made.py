"""Caches made by hand: a grid of tiles of 100 level-0 pixels with random features."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_tower.embeddings import CacheContents, CachedSlide, write_cache
from wsi_tower.geometry import Level0Size, Mpp

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.embeddings import EmbeddingCache

SLIDE = CachedSlide(
    slide_id="a",
    path="../slides/a.svs",
    tile_store="tiles/a.zarr",
    size=Level0Size(1000, 800),
    mpp=Mpp(0.25, 0.25),
    bounds=None,
    footprint_l0=100,
    pitch_l0=100,
    tile_px=50,
    tile_mpp=0.5,
    cohort={"patient": "p1"},
)


def contents_of(features: NDArray[Any], slide: CachedSlide = SLIDE, **more: Any) -> CacheContents:
    """Contents with these features, on tiles in rows of ten."""
    rows = np.arange(len(features))
    coords_l0 = np.stack([rows % 10, rows // 10], axis=1) * slide.pitch_l0
    centre_um = (coords_l0 + slide.footprint_l0 / 2) * (slide.mpp.x, slide.mpp.y)
    values: dict[str, Any] = {
        "slide": slide,
        "encoder_id": "tower",
        "descriptor": "pooled",
        "features": features,
        "coords_l0": coords_l0,
        "centre_um": centre_um,
        "slide_descriptor": features.mean(axis=0, dtype=np.float64).astype(np.float32),
        "settings": {"descriptor": "pooled"},
        "parents": {"tiles": "0" * 32, "encoder": "1" * 32},
    }
    return CacheContents(**(values | more))


def made_cache(
    workspace: Path, features: NDArray[Any], slide_id: str = "a", **more: Any
) -> EmbeddingCache:
    """A cache of encoder ``tower`` in a workspace."""
    slide = more.pop("slide", replace(SLIDE, slide_id=slide_id))
    path = workspace / "embeddings" / "tower" / f"{slide_id}.h5"
    return write_cache(path, contents_of(features, slide, **more))
