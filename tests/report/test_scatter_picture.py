"""Tiles as points: what has which colour, and what the legend says."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from wsi_tower.report import EmbeddedTiles, scatter_picture
from wsi_tower.report.scatter_picture import NORMAL, TUMOUR

if TYPE_CHECKING:
    from numpy.typing import NDArray


def picture(tiles: EmbeddedTiles) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(scatter_picture(tiles, "tower_$x$"))) as opened:
        assert opened.format == "PNG"
        return np.asarray(opened.convert("RGB"), np.int64)


def tiles_of(slides: int, each: int, tumour: float) -> EmbeddedTiles:
    rng = np.random.default_rng(0)
    count = slides * each
    return EmbeddedTiles(
        points=rng.normal(size=(count, 2)),
        axes=("component 1, 60% of variance", "component 2, 20% of variance"),
        tumour_fraction=(rng.uniform(size=count) < tumour).astype(float),
        slides=np.repeat(np.arange(slides), each),
        slide_ids=[f"slide-{number}" for number in range(slides)],
    )


def share(pixels: NDArray[np.int64], colour: str) -> float:
    """Part of the left half that has about a colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    left = pixels[: int(0.85 * len(pixels)), : pixels.shape[1] // 2]
    return float((np.abs(left - wanted).max(axis=2) < 40).mean())


def test_labels_are_told_apart_by_colour() -> None:
    all_tumour, none = picture(tiles_of(2, 300, 1.0)), picture(tiles_of(2, 300, 0.0))
    assert share(all_tumour, TUMOUR) > 20 * share(none, TUMOUR)
    assert share(none, NORMAL) > 5 * share(all_tumour, NORMAL)


@pytest.mark.parametrize(("slides", "each"), [(1, 3), (12, 50), (40, 10)])
def test_any_number_of_slides_fits(slides: int, each: int) -> None:
    pixels = picture(tiles_of(slides, each, 0.3))
    assert pixels.shape[1] == 1430
    # Nothing touches the rim: no legend is cut off.
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (rim == 255).all()


def test_the_same_tiles_make_the_same_picture() -> None:
    tiles = tiles_of(3, 40, 0.3)
    assert scatter_picture(tiles, "a") == scatter_picture(tiles, "a")
