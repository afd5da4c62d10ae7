"""Outlines with known truth: pieces of tissue, ragged areas in them, and strokes of a felt pen.

All in micrometres.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
import shapely
from shapely.affinity import affine_transform, rotate
from shapely.geometry import LineString, Polygon

from wsi_tower.phantom.noise import fractal_noise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = [
    "largest",
    "longest_um",
    "pen_stroke_um",
    "point_inside",
    "polygons_in",
    "ragged_area_um",
    "tissue_pieces_um",
]

_GRID = 320
"""Cells along each side of the grid that a piece's outline is traced on."""
_TRACED = 4 * _GRID
"""Cells along each side of the mask that is traced."""
_SMOOTHING = 4
"""Cells of the mask over which an outline is averaged, to each side."""
_RAGGEDNESS = 0.16
"""How far noise moves an outline, in half-axes of the piece."""
_ROUGHNESS = 0.3
"""The same for areas inside tissue, which grow along what lies there."""
_POINT_TRIES = 200
_MIN_FRAGMENT = 0.002
"""Share of a piece's area below which a fragment or hole is dropped."""


def tissue_pieces_um(rng: np.random.Generator, width_um: float, height_um: float) -> list[Polygon]:
    """Two to four ragged pieces of tissue with holes, spread over the slide's longer side.

    Returns:
        Valid polygons in micrometres that do not touch one another.
    """
    fragments: list[Polygon] = []
    for left, top, width, height in _slots(rng, width_um, height_um):
        # The 2 × 2 matrix, then the offset.
        piece = affine_transform(_ragged_blob(rng), (width, 0, 0, height, left, top))
        fragments += polygons_in(piece)
    return fragments


def pen_stroke_um(
    rng: np.random.Generator, pieces_um: list[Polygon], width_um: float, height_um: float
) -> Polygon:
    """A felt-pen stroke around part of the largest piece, partly on it and partly on glass.

    Returns:
        A valid polygon in micrometres, clipped to the slide; 1 to 1.5 mm wide where the slide has
        room for that.
    """
    pen_width_um = min(rng.uniform(1_000, 1_500), 0.12 * min(width_um, height_um))
    left, top, right, bottom = largest(pieces_um).bounds
    start = rng.uniform(0, 2 * math.pi)
    angle = start + np.linspace(0, rng.uniform(1.1, 1.6) * math.pi, 90)
    wobble = 1 + 0.07 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.03 * np.sin(7 * angle)
    x = (left + right) / 2 + 0.5 * (right - left) * wobble * np.cos(angle)
    y = (top + bottom) / 2 + 0.5 * (bottom - top) * wobble * np.sin(angle)
    stroke = LineString(np.stack([x, y], axis=1)).buffer(pen_width_um / 2)
    inside = shapely.box(0, 0, width_um, height_um)
    return largest(polygons_in(shapely.intersection(stroke, inside)))


def ragged_area_um(rng: np.random.Generator, length_um: float) -> Polygon:
    """An irregular area around the origin, turned at random, rougher than a piece of tissue.

    Args:
        rng: source of randomness.
        length_um: its longest dimension.
    """
    squeeze = rng.uniform(0.55, 1)
    blob = affine_transform(_ragged_blob(rng, _ROUGHNESS), (1, 0, 0, squeeze, 0, 0))
    area = rotate(largest(polygons_in(blob)), rng.uniform(0, 360))
    middle, scale_um = area.centroid, length_um / longest_um(area)
    return affine_transform(
        area, (scale_um, 0, 0, scale_um, -scale_um * middle.x, -scale_um * middle.y)
    )


def point_inside(rng: np.random.Generator, area: shapely.Geometry) -> tuple[float, float]:
    """A point of an area, each as likely as the other."""
    left, top, right, bottom = shapely.bounds(area)
    for _ in range(_POINT_TRIES):
        x, y = rng.uniform(left, right), rng.uniform(top, bottom)
        if shapely.contains_xy(area, x, y):
            return x, y
    inside = shapely.point_on_surface(area)
    return float(shapely.get_x(inside)), float(shapely.get_y(inside))


def longest_um(area_um: Polygon) -> float:
    """Longest dimension of an area: the distance of its two remotest points."""
    corners = shapely.get_coordinates(area_um.convex_hull)
    apart = corners[:, None] - corners[None, :]
    return float(np.hypot(apart[..., 0], apart[..., 1]).max())


def polygons_in(area: shapely.Geometry) -> list[Polygon]:
    """The polygons of what an operation on areas gave, without its points and lines."""
    return [part for part in shapely.get_parts(area) if isinstance(part, Polygon) and part.area]


def largest(parts: Iterable[Polygon]) -> Polygon:
    """The one with the largest area."""
    return max(parts, key=lambda part: part.area)


def _slots(
    rng: np.random.Generator, width_um: float, height_um: float
) -> list[tuple[float, float, float, float]]:
    """Boxes for the pieces: left, top, width, height in micrometres, ends of the slide first."""
    pieces = int(rng.integers(2, 5))
    columns, rows = (pieces, 1) if pieces < 4 else (2, 2)
    if height_um > width_um:
        columns, rows = rows, columns
    pitch_x, pitch_y = width_um / columns, height_um / rows
    slots = []
    for row in range(rows):
        for column in range(columns):
            # A piece takes 70 to 85 % of its slot but never grows beyond 1.6 times its breadth.
            width, height = pitch_x * rng.uniform(0.7, 0.85), pitch_y * rng.uniform(0.7, 0.85)
            width, height = min(width, 1.6 * height), min(height, 1.6 * width)
            left = column * pitch_x + rng.uniform(0.1, 0.9) * (pitch_x - width)
            top = row * pitch_y + rng.uniform(0.1, 0.9) * (pitch_y - height)
            slots.append((left, top, width, height))
    return slots


def _ragged_blob(rng: np.random.Generator, raggedness: float = _RAGGEDNESS) -> shapely.Geometry:
    """A piece with holes and fragments inside the unit square: the rim of a noisy landscape."""
    y, x = np.mgrid[-1 : 1 : _GRID * 1j, -1 : 1 : _GRID * 1j]
    roundness = rng.uniform(2.0, 3.2)
    landscape = 0.86 - (np.abs(x) ** roundness + np.abs(y) ** roundness) ** (1 / roundness)
    noise = fractal_noise(rng, _GRID, cells=3, octaves=5)
    # Noise fades towards the square's rim, so that no outline is cut straight.
    landscape += raggedness * noise * np.clip(4 * (1 - np.maximum(abs(x), abs(y))), 0, 1)
    landscape[[0, -1], :] = landscape[:, [0, -1]] = -1
    fine = cv2.resize(landscape, (_TRACED, _TRACED), interpolation=cv2.INTER_CUBIC)
    return _traced((fine > 0).astype(np.uint8))


def _traced(mask: NDArray[np.uint8]) -> shapely.Geometry:
    """The area of a mask in the unit square, rims smoothed, without specks."""
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rims: list[Polygon] = []
    holes: list[Polygon] = []
    for contour, (_, _, _, parent) in zip(contours, hierarchy[0], strict=True):
        ring = _smoothed(contour[:, 0].astype(float)) / len(mask)
        if len(ring) > 3:
            (rims if parent < 0 else holes).append(Polygon(ring).buffer(0))
    least = _MIN_FRAGMENT * sum(rim.area for rim in rims)
    solid = shapely.union_all([rim for rim in rims if rim.area >= least])
    return shapely.difference(
        solid, shapely.union_all([hole for hole in holes if hole.area >= least])
    )


def _smoothed(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """A pixel outline without its steps, thinned: N × 2."""
    wrapped = np.pad(ring, ((_SMOOTHING, _SMOOTHING), (0, 0)), mode="wrap")
    sums = np.cumsum(np.pad(wrapped, ((1, 0), (0, 0))), axis=0)
    width = 2 * _SMOOTHING + 1
    return ((sums[width:] - sums[:-width]) / width)[::_SMOOTHING]
