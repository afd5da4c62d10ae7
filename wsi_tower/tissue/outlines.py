"""The outline of a tissue mask as polygons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from shapely.geometry import MultiPolygon

from wsi_tower.tissue.rings import rings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from wsi_tower.geometry import Level0Size
    from wsi_tower.tissue.mask import Mask, TissueMask

__all__ = ["SIMPLIFY_PX", "many_outlines", "mask_outlines", "tissue_outlines"]

SIMPLIFY_PX = 0.4
"""How far simplifying may move an outline, in mask pixels. Below a half, so that the cut corners of
a straight edge are not taken for its ends."""


def tissue_outlines(mask: TissueMask, size: Level0Size | None = None) -> MultiPolygon:
    """Outlines of the tissue, with holes, in level-0 pixels from the slide's corner.

    They run half-way between tissue pixels and the others, along pixel edges, cutting corners so
    that a slanting edge is straight and areas are kept; then simplified by at most `SIMPLIFY_PX`
    mask pixels.

    Args:
        mask: the tissue.
        size: the slide's; outlines are cut off at its edge, beyond which the last mask pixels may
            reach. None: they are not.
    """
    outlines = mask_outlines(mask.tissue)
    if outlines.is_empty:
        return outlines
    scaled = shapely.transform(outlines, lambda points: points * mask.pitch_l0)
    return _polygons(scaled if size is None else _clipped(scaled, size))


def mask_outlines(mask: Mask, simplify_px: float = SIMPLIFY_PX) -> MultiPolygon:
    """Outlines of a mask, with holes, in its pixels from its corner; see `tissue_outlines`.

    Args:
        mask: where: (H, W). Pixels that touch at a corner only are apart.
        simplify_px: how far simplifying may move a line; 0 leaves every corner.
    """
    rings = rings_of(mask)
    if not rings:
        return MultiPolygon()
    areas = _area_within(rings)
    return _polygons(_simplified(areas, simplify_px) if simplify_px else areas)


def many_outlines(masks: Sequence[Mask], simplify_px: float = SIMPLIFY_PX) -> list[MultiPolygon]:
    """`mask_outlines` of each of many small masks, several times as fast."""
    lefts = np.cumsum([0, *(mask.shape[1] + 1 for mask in masks)])
    canvas = np.zeros((max(mask.shape[0] for mask in masks), int(lefts[-1])), np.bool_)
    for mask, left in zip(masks, lefts.tolist(), strict=False):
        canvas[: mask.shape[0], left : left + mask.shape[1]] = mask
    grouped: list[list[NDArray[np.float64]]] = [[] for _ in masks]
    for ring in rings_of(canvas):
        owner = int(np.searchsorted(lefts, ring[0, 0], side="right")) - 1
        grouped[owner].append(ring - (lefts[owner], 0))
    areas = np.array([_area_within(rings) for rings in grouped], object)
    if not simplify_px:
        return list(map(_polygons, areas))
    simple = shapely.simplify(areas, simplify_px, preserve_topology=False)
    for place in np.flatnonzero(~shapely.is_valid(simple) | shapely.is_empty(simple)).tolist():
        simple[place] = _simplified(areas[place], simplify_px)
    return list(map(_polygons, simple))


def _area_within(rings: list[NDArray[np.float64]]) -> BaseGeometry:
    """The area that rings of `rings_of` go around; at least one."""
    if len(rings) == 1:
        return shapely.Polygon(rings[0])
    sizes = [_signed_area(ring) for ring in rings]
    largest = max(range(len(rings)), key=lambda number: abs(sizes[number]))
    # Rings of holes run the other way: where one ring runs like the largest, it is around them all.
    if sum(size * sizes[largest] > 0 for size in sizes) == 1:
        return shapely.Polygon(rings.pop(largest), rings)
    return shapely.build_area(shapely.geometrycollections(list(map(shapely.LinearRing, rings))))


def _signed_area(ring: NDArray[np.float64]) -> float:
    """Area within a closed line, negative where it runs the other way around."""
    x, y = (ring - ring[0]).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y)) / 2


def _simplified(areas: BaseGeometry, simplify_px: float) -> BaseGeometry:
    # Lines that are simplified one by one seldom meet, and keeping them apart takes ten times as
    # long; where some do meet, they are.
    simple = shapely.simplify(areas, simplify_px, preserve_topology=False)
    if shapely.is_valid(simple) and not shapely.is_empty(simple):
        return simple
    return shapely.make_valid(shapely.simplify(areas, simplify_px, preserve_topology=True))


def _clipped(areas: BaseGeometry, size: Level0Size) -> BaseGeometry:
    _, _, right, bottom = areas.bounds
    if right <= size.width and bottom <= size.height:
        return areas
    return shapely.intersection(areas, shapely.box(0, 0, size.width, size.height))


def _polygons(geometry: BaseGeometry) -> MultiPolygon:
    """The polygons among a geometry's parts; repairing and cutting may leave lines and points."""
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return MultiPolygon([part for part in parts if part.geom_type == "Polygon"])
