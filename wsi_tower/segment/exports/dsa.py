"""Objects for the Digital Slide Archive: one annotation document of polylines.

Format: large_image's annotation schema, elements of type ``polyline`` with ``closed`` and
``holes``. Coordinates are level-0 pixels from the slide's corner: unlike QuPath, large_image counts
them over the whole canvas, also where a slide says which part of it was scanned.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import shapely

if TYPE_CHECKING:
    from typing import TextIO

    from numpy.typing import NDArray

    from wsi_tower.segment.exports.found import FoundObject

__all__ = ["DsaWriter"]

_DECIMALS = 2


class DsaWriter:
    """Writes objects as they come; `finish` makes the file whole."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._file = file
        head = json.dumps({"name": name, "description": "wsi-tower segment"}, ensure_ascii=False)
        self._separator = f'{head[:-1]}, "elements": [\n'

    def add(self, found: FoundObject) -> None:
        """Write one object; a polyline for each of its parts.

        Raises:
            OSError: the disk refused.
        """
        for part in shapely.get_parts(found.outline):
            element = _element(found, part)
            self._file.write(self._separator + json.dumps(element, ensure_ascii=False))
            self._separator = ",\n"

    def finish(self) -> None:
        """Close the list and the document."""
        start = "" if self._separator == ",\n" else self._separator
        self._file.write(f"{start}\n]}}\n")


def _element(found: FoundObject, part: shapely.Polygon) -> dict[str, Any]:
    shade = ",".join(map(str, found.colour))
    element = {
        "type": "polyline",
        "closed": True,
        "points": _points(part.exterior),
        "lineColor": f"rgb({shade})",
        "fillColor": f"rgba({shade},0.15)",
        "lineWidth": 1,
        "group": found.class_name,
        "label": {"value": f"{found.class_name} {found.number}"},
    }
    holes = [_points(ring) for ring in part.interiors]
    return element | ({"holes": holes} if holes else {})


def _points(ring: shapely.LinearRing) -> list[list[float]]:
    """Corners as x, y and 0; the last is not the first again, since the line is closed."""
    corners: NDArray[Any] = shapely.get_coordinates(ring)[:-1].round(_DECIMALS)
    return [[x, y, 0] for x, y in corners.tolist()]
