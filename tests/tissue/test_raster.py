"""Polygons drawn by the rule of pixel centres."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import shapely

from wsi_tower.geometry import Mpp
from wsi_tower.tissue import TissueMask, tissue_outlines
from wsi_tower.tissue.raster import draw_polygon

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

PITCH_L0 = 10.0


def drawn(*polygons: shapely.Polygon, shape: tuple[int, int] = (6, 8)) -> list[str]:
    """The canvas as text, a character a pixel."""
    canvas = np.zeros(shape, np.bool_)
    for polygon in polygons:
        draw_polygon(canvas, polygon, PITCH_L0)
    return ["".join(".#"[int(pixel)] for pixel in row) for row in canvas]


def canvas_of(polygon: BaseGeometry) -> NDArray[np.bool_]:
    assert isinstance(polygon, shapely.Polygon)
    canvas = np.zeros((40, 40), np.bool_)
    draw_polygon(canvas, polygon, PITCH_L0)
    return canvas


def test_a_rectangle_on_pixel_edges_is_its_pixels() -> None:
    assert drawn(shapely.box(20, 10, 50, 30)) == [
        "........",
        "..###...",
        "..###...",
        "........",
        "........",
        "........",
    ]


def test_a_rectangle_through_pixel_centres_keeps_its_area() -> None:
    # From centre to centre: the left and upper ones count, the right and lower ones do not.
    assert drawn(shapely.box(25, 15, 55, 35)) == [
        "........",
        "..###...",
        "..###...",
        "........",
        "........",
        "........",
    ]


@pytest.mark.parametrize(("left", "columns"), [(24.9, "..###..."), (25.1, "...##...")])
def test_a_pixel_counts_by_its_centre(left: float, columns: str) -> None:
    assert drawn(shapely.box(left, 0, 54.9, 60)) == [columns] * 6


def test_holes_are_left_out_and_islands_in_them_are_not() -> None:
    outer, hole, island = (shapely.box(n, n, 60 - n, 60 - n) for n in (0, 10, 20))
    ring = shapely.Polygon(outer.exterior, [hole.exterior])
    assert drawn(ring, island, shape=(6, 6)) == [
        "######",
        "#....#",
        "#.##.#",
        "#.##.#",
        "#....#",
        "######",
    ]


def test_a_slanting_edge_takes_the_centres_on_its_side() -> None:
    # Below the diagonal from (0, 0) to (40, 40); centres on it are to the left of nothing.
    assert drawn(shapely.Polygon([(0, 0), (40, 40), (0, 40)]), shape=(4, 4)) == [
        "....",
        "#...",
        "##..",
        "###.",
    ]


def test_slivers_between_centres_and_polygons_elsewhere_draw_nothing() -> None:
    far = [shapely.box(x, y, x + 50, y + 50) for x, y in ((900, 0), (0, 900), (-90, -90))]
    slivers = [shapely.box(26, 0, 34, 60), shapely.box(0, 26, 80, 34)]
    assert drawn(*far, *slivers) == ["........"] * 6


def test_polygons_are_cut_at_the_canvas() -> None:
    assert drawn(shapely.box(-1e9, -500, 30, 1e12)) == ["###....."] * 6
    assert drawn(shapely.box(50, 30, 1e300, 1e300))[2:4] == ["........", ".....###"]


@pytest.mark.parametrize("seed", range(20))
def test_random_polygons_are_drawn_as_geos_sees_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = shapely.make_valid(shapely.Polygon(rng.uniform(-20, 420, (12, 2))))
    parts = [part for part in shapely.get_parts(shape) if isinstance(part, shapely.Polygon)]
    canvas = np.zeros((40, 40), np.bool_)
    for part in parts:
        draw_polygon(canvas, part, PITCH_L0)
    y, x = (np.indices(canvas.shape) + 0.5) * PITCH_L0
    np.testing.assert_array_equal(canvas, shapely.contains_xy(shape, x, y))


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_share_no_pixel_and_leave_none_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Whole multiples of half a pixel: many corners and edges fall on centres.
    points = shapely.MultiPoint(rng.integers(0, 81, (60, 2)) * (PITCH_L0 / 2))
    times = np.zeros((40, 40), np.int64)
    for triangle in shapely.delaunay_triangles(points).geoms:
        times += canvas_of(triangle)
    np.testing.assert_array_equal(times, canvas_of(shapely.convex_hull(points)))


def test_a_large_mask_is_drawn_quickly() -> None:
    noise = np.random.default_rng(1).random((2560, 2560), np.float32)
    tissue = cv2.GaussianBlur(noise, (0, 0), 40) > 0.5
    none = np.zeros(tissue.shape, np.uint8)
    mask = TissueMask(tissue, none.view(np.bool_), none, PITCH_L0, Mpp(0.5, 0.5))
    outlines = tissue_outlines(mask)
    canvas = np.zeros(tissue.shape, np.bool_)
    started = time.perf_counter()
    for polygon in outlines.geoms:
        draw_polygon(canvas, polygon, PITCH_L0)
    # 0.04 s on one core; the bound leaves room for a busy machine.
    assert time.perf_counter() - started < 1
    assert np.count_nonzero(canvas != tissue) < 0.001 * canvas.size
