"""Cohorts of embedding caches made by hand, and the answers that a plain loop gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.embeddings.made import SLIDE, made_cache
from wsi_tower.geometry import Level0Size

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.retrieval import TileIndex

SITES = ("breast", "lung", "colon")


def write_slide(workspace: Path, number: int, features: NDArray[Any], **more: Any) -> None:
    """A slide ``s<number>``, two a patient, three sites in turn."""
    cohort = {"patient": f"p{number // 2}", "site": SITES[number % 3]}
    slide = replace(SLIDE, slide_id=f"s{number:02}", cohort=cohort)
    # Tiles of 25 µm in rows of ten.
    rows = -(-len(features) // 10)
    slide = replace(slide, size=Level0Size(1000, 100 * rows), **more.pop("of_slide", {}))
    made_cache(workspace, features, slide_id=slide.slide_id, slide=slide, **more)


def write_cohort(
    workspace: Path, slides: int, tiles: int, length: int = 8, dtype: Any = np.float32
) -> list[NDArray[Any]]:
    """Slides of random descriptors that differ a little from slide to slide."""
    features = []
    for number in range(slides):
        rng = np.random.default_rng((7, number))
        own = rng.normal(size=(tiles, length)) + rng.normal(scale=0.3, size=length)
        features.append(own.astype(dtype))
        write_slide(workspace, number, features[-1])
    return features


def nearest_by_hand(
    features: list[NDArray[Any]], vector: NDArray[Any], count: int, slides: list[int]
) -> list[tuple[int, int]]:
    """Slide and row of the nearest tiles of some slides: every distance, then sorted."""
    found = [
        (float(np.linalg.norm(one.astype(np.float64) - vector.astype(np.float64))), slide, row)
        for slide in slides
        for row, one in enumerate(features[slide])
    ]
    return [(slide, row) for _, slide, row in sorted(found)[:count]]


def allowed_of(index: TileIndex, slides: list[int]) -> NDArray[np.bool_]:
    allowed = np.zeros(len(index.slides), bool)
    allowed[slides] = True
    return allowed
