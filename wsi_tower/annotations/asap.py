"""ASAP's XML, as Camelyon16 and Camelyon17 come with.

Coordinates are level-0 pixels from the slide's corner, with a decimal point or, as ASAP writes them
under some languages, a decimal comma. The class of an annotation is the group it is part of. What
is to be cut out of others is a class of its own there (``_2``, ``Exclusion``, ``normal``).
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

__all__ = ["asap_areas"]

_OUTLINES = ("Polygon", "Spline", "Rectangle")
"""Types that enclose something; a spline is taken by its corners. Dots, sets of points and
measurements do not."""


def asap_areas(root: Element, path: Path) -> Iterator[NamedArea]:
    """The outlines under ``<ASAP_Annotations>``; empty ones too.

    Raises:
        AnnotationError: a coordinate is missing or no finite number.
    """
    for number, annotation in enumerate(root.iter("Annotation")):
        place = f"annotation {number} ({annotation.get('Name', 'without a name')!r})"
        if annotation.get("Type", "Polygon") not in _OUTLINES:
            continue
        corners = _corners(annotation, place, path)
        try:
            area = _area(corners)
        except ValueError as error:
            raise AnnotationError(
                f"annotation file {path}, {place}: {error}; draw it again in ASAP"
            ) from error
        group = annotation.get("PartOfGroup", "None")
        yield NamedArea(None if group in ("None", "") else group, area)


def _corners(annotation: Element, place: str, path: Path) -> list[list[float]]:
    """Points in the order that they are numbered in."""
    points = list(annotation.iter("Coordinate"))
    orders = [int(numbers_of(one, ("Order", "Order"), place, path)[0]) for one in points]
    in_order = [points[index] for index in np.argsort(orders, kind="stable")]
    return [numbers_of(one, ("X", "Y"), place, path) for one in in_order]


def _area(corners: list[list[float]]) -> Area:
    # A rectangle may be given by two opposite corners.
    if len(corners) == 2:
        (left, top), (right, bottom) = np.sort(np.array(corners), axis=0)
        return sound(shapely.box(left, top, right, bottom))
    return area_within(corners)
