"""Aperio ImageScope's XML.

A layer is an ``<Annotation>`` with regions; coordinates are level-0 pixels. Negative regions
(``NegativeROA="1"``) are cut out of their own layer, as ImageScope does when it analyses one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from wsi_tower.annotations.outlines import NamedArea, area_within, sound
from wsi_tower.annotations.xml_text import numbers_of
from wsi_tower.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from wsi_tower.annotations.outlines import Area

__all__ = ["imagescope_areas", "imagescope_mpp"]

_FREEHAND, _RECTANGLE, _ELLIPSE = "0", "1", "2"
_ELLIPSE_CORNERS = 256


def imagescope_areas(root: Element, path: Path) -> Iterator[NamedArea]:
    """The regions of every layer under ``<Annotations>``, less its negative ones; empty ones too.

    The class of a region is the name of its layer, or else its own text. Arrows and rulers are
    passed over.

    Raises:
        AnnotationError: a coordinate is missing or no finite number.
    """
    for number, layer in enumerate(root.iter("Annotation")):
        name = layer.get("Name", "").strip()
        regions = [
            (region, _area(region, f"layer {number} ({name!r}), region {index}", path))
            for index, region in enumerate(layer.iter("Region"))
            if region.get("Type", _FREEHAND) in (_FREEHAND, _RECTANGLE, _ELLIPSE)
        ]
        negative = [area for region, area in regions if _is_negative(region)]
        cut_out = shapely.union_all(negative) if negative else None
        for region, area in regions:
            if not _is_negative(region):
                rest = area if cut_out is None else sound(area.difference(cut_out))
                yield NamedArea(name or region.get("Text", "").strip() or None, rest)


def imagescope_mpp(root: Element, path: Path) -> float | None:
    """Micrometres per level-0 pixel of the slide that was drawn on, where the file says so.

    Raises:
        AnnotationError: it is no number.
    """
    name = "MicronsPerPixel"
    if not root.get(name):
        return None
    return numbers_of(root, (name, name), "its root", path)[0]


def _is_negative(region: Element) -> bool:
    return region.get("NegativeROA", "0").strip() not in ("0", "")


def _area(region: Element, place: str, path: Path) -> Area:
    corners = [numbers_of(one, ("X", "Y"), place, path) for one in region.iter("Vertex")]
    try:
        return _shape(np.array(corners).reshape(-1, 2), region.get("Type", _FREEHAND))
    except ValueError as error:
        raise AnnotationError(
            f"annotation file {path}, {place}: {error}; draw it again in ImageScope"
        ) from error


def _shape(corners: np.ndarray, kind: str) -> Area:
    """Rectangles and ellipses may be given by opposite corners of their box alone."""
    if kind == _FREEHAND or (kind == _RECTANGLE and len(corners) > 2) or len(corners) < 2:
        return area_within(corners)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if kind == _RECTANGLE:
        return sound(shapely.box(*low, *high))
    angles = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return area_within((low + high) / 2 + circle * (high - low) / 2)
