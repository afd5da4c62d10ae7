"""Measures of tiles against sums over every single pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.geometry import Mpp
from wsi_tower.tissue import TissueMask, focus_measure, tile_quality

if TYPE_CHECKING:
    from numpy.typing import NDArray


def random_mask(seed: int, height: int, width: int, pitch_l0: float) -> TissueMask:
    rng = np.random.default_rng(seed)
    tissue, pen = rng.random((2, height, width)) > 0.5
    density = rng.integers(0, 256, (height, width)).astype(np.uint8)
    return TissueMask(tissue, pen, density, pitch_l0, Mpp(0.25, 0.25))


def shared_area(
    mask: TissueMask, xy_l0: NDArray[np.int64], footprint_l0: int
) -> NDArray[np.float64]:
    """Area that each mask pixel shares with the tile, as a share of the tile's."""
    overlaps = []
    for start, pixels in zip(xy_l0, reversed(mask.tissue.shape), strict=True):
        left = np.arange(pixels) * mask.pitch_l0
        shared = np.minimum(left + mask.pitch_l0, start + footprint_l0) - np.maximum(left, start)
        overlaps.append(np.maximum(shared, 0) / footprint_l0)
    return np.outer(overlaps[1], overlaps[0])


@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    pitch_l0=st.floats(1, 40),
    footprint_l0=st.integers(1, 300),
    corners=st.lists(
        st.tuples(st.integers(-100, 600), st.integers(-100, 600)), min_size=1, max_size=6
    ),
)
def test_every_pixel_counts_by_the_area_it_shares(
    seed: int,
    shape: tuple[int, int],
    pitch_l0: float,
    footprint_l0: int,
    corners: list[tuple[int, int]],
) -> None:
    mask = random_mask(seed, *shape, pitch_l0)
    xy_l0 = np.array(corners, np.int64)
    quality = tile_quality(mask, xy_l0, footprint_l0)
    for row, corner in enumerate(xy_l0):
        share = shared_area(mask, corner, footprint_l0)
        assert quality.tissue_fraction[row] == pytest.approx((share * mask.tissue).sum(), abs=1e-5)
        assert quality.pen_fraction[row] == pytest.approx((share * mask.pen).sum(), abs=1e-5)
        expected = (share * mask.optical_density).sum() / 100
        assert quality.mean_od[row] == pytest.approx(expected, abs=1e-4)


def test_a_tile_half_beyond_the_mask_is_half_tissue() -> None:
    mask = TissueMask(
        np.ones((10, 10), bool), np.zeros((10, 10), bool), np.full((10, 10), 40, np.uint8), 8.0,
        Mpp(1, 1),
    )  # fmt: skip
    quality = tile_quality(mask, np.array([[72, 0], [0, 0], [80, 0]]), 16)
    np.testing.assert_allclose(quality.tissue_fraction, [0.5, 1, 0])
    np.testing.assert_allclose(quality.mean_od, [0.2, 0.4, 0])
    assert quality.tissue_fraction.dtype == quality.mean_od.dtype == np.float32


def test_no_tiles_are_no_values() -> None:
    quality = tile_quality(random_mask(0, 5, 5, 8.0), np.zeros((0, 2), np.int64), 16)
    assert quality.tissue_fraction.shape == (0,)


def test_focus_of_a_checkerboard_by_hand() -> None:
    # Every grey level of 0 has four neighbours of 100: 400. Every 100 has four of 0: -400.
    board = (np.indices((8, 8)).sum(0) % 2 * 100).astype(np.uint8)
    assert focus_measure(np.repeat(board[..., None], 3, axis=2)) == pytest.approx(400.0**2)


def test_an_even_picture_has_no_focus() -> None:
    assert focus_measure(np.full((32, 32, 3), 200, np.uint8)) == 0
