"""The outline of a tissue mask as polygons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from shapely.geometry import MultiPolygon
from skimage.measure import find_contours

if TYPE_CHECKING:
    from wsi_tower.tissue.mask import Mask, TissueMask

__all__ = ["SIMPLIFY_PX", "tissue_outlines"]

SIMPLIFY_PX = 0.4
"""How far simplifying may move an outline, in mask pixels. Below a half, so that the cut corners of
a straight edge are not taken for its ends."""


def tissue_outlines(mask: TissueMask) -> MultiPolygon:
    """Outlines of the tissue, with holes, in level-0 pixels from the slide's corner.

    They run half-way between tissue pixels and the others, along pixel edges, cutting corners so
    that a slanting edge is straight and areas are kept; then simplified by at most `SIMPLIFY_PX`
    mask pixels.
    """
    rings = _rings(mask.tissue)
    if not rings:
        return MultiPolygon()
    areas = shapely.build_area(shapely.geometrycollections(rings))
    simple = shapely.make_valid(shapely.simplify(areas, SIMPLIFY_PX, preserve_topology=True))
    scaled = shapely.transform(simple, lambda points: points * mask.pitch_l0)
    parts = shapely.get_parts(scaled)
    return MultiPolygon([part for part in parts if part.geom_type == "Polygon"])


def _rings(mask: Mask) -> list[shapely.LinearRing]:
    """Closed rings around and within the mask, in mask pixels from its corner."""
    # A border of nothing closes the rings of tissue that runs out of the picture.
    padded = np.pad(mask, 1)
    contours = find_contours(padded, 0.5)
    # Contours count from the centre of the border's first pixel.
    return [shapely.LinearRing(contour[:, ::-1] - 0.5) for contour in contours]
