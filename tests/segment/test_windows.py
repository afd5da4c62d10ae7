"""Windows cover the picture without seams, and only where there is tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.segment.standin import REACH_PX, Darkness
from wsi_tower.geometry import LevelSize
from wsi_tower.segment.blending import SeenWindow, blended_bands
from wsi_tower.segment.windows import WindowGrid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@st.composite
def grids(draw: st.DrawFn) -> WindowGrid:
    window = draw(st.integers(8, 40))
    overlap = draw(st.integers(0, window // 2))
    size = LevelSize(draw(st.integers(1, 120)), draw(st.integers(1, 120)))
    return WindowGrid(size, window, overlap)


def blended(
    grid: WindowGrid, windows: Iterator[SeenWindow], classes: int = 1
) -> NDArray[np.float32]:
    bands = [
        (band.top, band.probabilities.copy()) for band in blended_bands(windows, grid, classes)
    ]
    height = 0
    for top, rows in bands:
        assert top == height
        height += rows.shape[1]
    return np.concatenate([rows for _, rows in bands], axis=1)


@given(grids())
def test_the_weights_of_every_pixel_add_up_to_one(grid: WindowGrid) -> None:
    one = np.ones((1, grid.window_px, grid.window_px), np.float32)
    dark = np.zeros((grid.window_px, grid.window_px), np.uint8)
    windows = (
        SeenWindow(column, row, one, dark)
        for row in range(grid.rows)
        for column in range(grid.columns)
    )
    whole = blended(grid, windows)
    assert whole.shape == (1, grid.size.height, grid.size.width)
    np.testing.assert_allclose(whole, 1, atol=1e-5)


@given(grids(), st.integers(0, 119), st.integers(0, 119))
def test_a_pixel_with_tissue_has_every_window_that_counts_for_it(
    grid: WindowGrid, x: int, y: int
) -> None:
    tissue = np.zeros((grid.size.height, grid.size.width), np.bool_)
    x, y = x % grid.size.width, y % grid.size.height
    tissue[y, x] = True
    chosen = grid.touched(tissue, 1.0)
    for row in range(grid.rows):
        for column in range(grid.columns):
            box, weights = grid.box(column, row), grid.weights(column, row)
            within = 0 <= x - box.x < box.width and 0 <= y - box.y < box.height
            if within and weights[y - box.y, x - box.x] > 0:
                assert chosen[row, column]


def test_what_is_far_from_tissue_is_not_seen() -> None:
    tissue = np.zeros((100, 100), np.bool_)
    tissue[:5, :5] = True
    chosen = WindowGrid(LevelSize(800, 800), 128, 32).touched(tissue, 8.0)
    assert chosen.shape == (9, 9)
    assert chosen.sum() == 1
    assert chosen[0, 0]


@pytest.mark.parametrize(("window", "overlap"), [(64, 32), (50, 20), (96, 24), (33, 16)])
@pytest.mark.parametrize("size", [LevelSize(200, 170), LevelSize(131, 77)])
def test_blended_windows_are_the_whole_picture_away_from_its_rim(
    size: LevelSize, window: int, overlap: int
) -> None:
    # A network that sees no farther than the quarter overlap that counts nothing cannot tell.
    assert overlap / 4 >= REACH_PX
    pixels = np.random.default_rng(0).random((3, size.height, size.width)).astype(np.float32)
    network = Darkness(0.5)
    whole = network.probabilities(torch.from_numpy(pixels)[None])[0].numpy()
    grid = WindowGrid(size, window, overlap)
    found = blended(grid, _seen(grid, pixels, network))
    inside = np.s_[:, REACH_PX:-REACH_PX, REACH_PX:-REACH_PX]
    np.testing.assert_allclose(found[inside], whole[inside], atol=1e-5)


def _seen(grid: WindowGrid, pixels: NDArray[np.float32], network: Darkness) -> Iterator[SeenWindow]:
    side = grid.window_px
    padded = np.pad(pixels, ((0, 0), (side, 2 * side), (side, 2 * side)), constant_values=1)
    for row in range(grid.rows):
        for column in range(grid.columns):
            box = grid.box(column, row)
            part = padded[:, box.y + side : box.y + 2 * side, box.x + side : box.x + 2 * side]
            found = network.probabilities(torch.from_numpy(part.copy())[None])[0].numpy()
            yield SeenWindow(column, row, found, np.zeros((side, side), np.uint8))
