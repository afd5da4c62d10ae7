"""Objects for QuPath: one FeatureCollection, written feature by feature.

QuPath: *File → Import objects from file*, or drop it on the slide. Objects are detections, of which
it shows a million where as many annotations would stall it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import shapely

from wsi_tower.annotations import annotation_feature

if TYPE_CHECKING:
    from typing import TextIO

    from wsi_tower.geometry import Level0Box
    from wsi_tower.segment.exports.found import FoundObject

__all__ = ["GeoJsonWriter"]

_DIGITS = 4


class GeoJsonWriter:
    """Writes objects as they come; `finish` makes the file whole.

    Coordinates are level-0 pixels as QuPath counts them: from the corner of the scanned part where
    a slide has ``openslide.bounds-*``.
    """

    def __init__(self, file: TextIO, bounds: Level0Box | None) -> None:
        self._file = file
        self._corner = np.zeros(2) if bounds is None else np.array([bounds.x, bounds.y])
        self._separator = '{"type": "FeatureCollection", "features": [\n'

    def add(self, found: FoundObject) -> None:
        """Write one object.

        Raises:
            OSError: the disk refused.
        """
        feature = annotation_feature(
            shapely.transform(found.outline, lambda points: points - self._corner),
            found.class_name,
            found.colour,
            objectType="detection",
            name=str(found.number),
            measurements={
                "Area µm^2": round(found.area_um2, _DIGITS),
                "Optical density: mean": round(found.optical_density, _DIGITS),
                "Probability: mean": round(found.probability, _DIGITS),
            },
        )
        self._file.write(self._separator + json.dumps(feature, ensure_ascii=False))
        self._separator = ",\n"

    def finish(self) -> None:
        """Close the list and the collection."""
        start = "" if self._separator == ",\n" else self._separator
        self._file.write(f"{start}\n]}}\n")
