"""Outlines in level-0 pixels, whatever file they come from, and how unsound ones are mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from shapely.geometry.base import BaseGeometry

__all__ = ["Area", "NamedArea", "area_within", "sound"]

Area: TypeAlias = Polygon | MultiPolygon
"""One outline, or several that belong together."""


class NamedArea(NamedTuple):
    """A polygon and what it was called."""

    name: str | None
    """Its class: a QuPath classification, a group of ASAP, a layer of ImageScope; or None."""
    area: Area
    """Its outline in level-0 pixels, valid and not empty."""


def sound(geometry: BaseGeometry) -> Area:
    """The polygons of a geometry, valid; empty where it has none.

    An outline that crosses itself keeps every part that it goes around, once or more often: a hand
    that passes its own start a second time means no hole. Points, lines and spikes are dropped.

    Raises:
        ValueError: a coordinate is not a finite number.
    """
    _check_finite(shapely.get_coordinates(geometry))
    # The default method makes a hole of what lies within an outline twice.
    valid = shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    if not valid.is_valid:
        # Rounding lets two of its parts cross; a union sets their crossing points anew.
        valid = shapely.union_all(shapely.get_parts(valid))
    parts = (part for outer in shapely.get_parts(valid) for part in shapely.get_parts(outer))
    polygons = [part for part in parts if isinstance(part, Polygon) and not part.is_empty]
    return polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)


def area_within(points: ArrayLike) -> Area:
    """The area within a closed line through points, (P, 2); empty where they are fewer than three.

    Raises:
        ValueError: a coordinate is not a finite number.
    """
    corners = np.asarray(points, np.float64).reshape(-1, 2)
    _check_finite(corners)
    return sound(Polygon(corners)) if len(corners) > 2 else MultiPolygon()


def _check_finite(coordinates: NDArray[np.float64]) -> None:
    if not np.isfinite(coordinates).all():
        raise ValueError("a coordinate is not a finite number")
