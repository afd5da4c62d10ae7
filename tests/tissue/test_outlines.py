"""Outlines against the pixels that they outline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import shapely

from wsi_tower.geometry import Level0Size, Mpp
from wsi_tower.tissue import TissueMask, tissue_outlines

if TYPE_CHECKING:
    from numpy.typing import NDArray

PITCH_L0 = 16.5


def mask_of(tissue: NDArray[np.bool_]) -> TissueMask:
    none = np.zeros(tissue.shape, np.uint8)
    return TissueMask(tissue, none.astype(np.bool_), none, PITCH_L0, Mpp(0.5, 0.5))


def rasterised(outline: shapely.MultiPolygon, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    y, x = (np.indices(shape) + 0.5) * PITCH_L0
    return np.asarray(shapely.contains_xy(outline, x, y))


def blobs(seed: int) -> NDArray[np.bool_]:
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((120, 150)), (0, 0), 4)
    return np.asarray(noise > np.median(noise))


@pytest.mark.parametrize("seed", range(5))
def test_outlines_give_the_pixels_back(seed: int) -> None:
    tissue = blobs(seed)
    outline = tissue_outlines(mask_of(tissue))
    back = rasterised(outline, tissue.shape)
    assert outline.is_valid
    assert (back & tissue).sum() / (back | tissue).sum() > 0.97
    assert outline.area == pytest.approx(tissue.sum() * PITCH_L0**2, rel=0.02)


def test_a_rectangle_is_outlined_along_its_pixel_edges() -> None:
    tissue = np.zeros((40, 60), bool)
    tissue[10:30, 5:50] = True
    outline = tissue_outlines(mask_of(tissue))
    assert outline.bounds == pytest.approx(np.array([5, 10, 50, 30]) * PITCH_L0)
    # Corners may be cut by half a pixel and no more.
    assert outline.symmetric_difference(shapely.box(*outline.bounds)).area < 2 * PITCH_L0**2


def test_holes_and_islands_in_holes_are_kept() -> None:
    tissue = np.ones((60, 60), bool)
    tissue[10:50, 10:50] = False
    tissue[25:35, 25:35] = True
    outline = tissue_outlines(mask_of(tissue))
    assert sorted(len(part.interiors) for part in outline.geoms) == [0, 1]
    assert outline.area == pytest.approx((3600 - 1600 + 100) * PITCH_L0**2, rel=0.01)


def test_tissue_that_fills_the_picture_is_outlined_by_its_frame() -> None:
    outline = tissue_outlines(mask_of(np.ones((30, 40), bool)))
    assert outline.bounds == pytest.approx((0, 0, 40 * PITCH_L0, 30 * PITCH_L0))


def test_no_tissue_has_no_outline() -> None:
    assert tissue_outlines(mask_of(np.zeros((30, 40), bool))).is_empty


def test_outlines_end_at_the_edge_of_the_slide() -> None:
    tissue = np.ones((30, 40), bool)
    tissue[5:8, 38:] = False
    size = Level0Size(650, 490)  # 40 × 30 pixels of 16.5 reach 660 × 495
    outline = tissue_outlines(mask_of(tissue), size)
    assert outline.bounds == pytest.approx((0, 0, 650, 490))
    assert outline.is_valid
    assert outline.area == pytest.approx(tissue_outlines(mask_of(tissue)).area, rel=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_cut_outlines_are_polygons_and_only_the_rim_is_gone(seed: int) -> None:
    mask, size = mask_of(blobs(seed)), Level0Size(149 * 16, 119 * 16)
    whole, cut = tissue_outlines(mask), tissue_outlines(mask, size)
    assert cut.is_valid
    assert all(isinstance(part, shapely.Polygon) for part in cut.geoms)
    inside = whole.intersection(shapely.box(0, 0, size.width, size.height))
    assert cut.symmetric_difference(inside).area == pytest.approx(0, abs=1e-6)


def test_outlines_wholly_beyond_the_slide_are_none() -> None:
    tissue = np.zeros((30, 40), bool)
    tissue[:, 39] = True
    assert tissue_outlines(mask_of(tissue), Level0Size(620, 490)).is_empty
