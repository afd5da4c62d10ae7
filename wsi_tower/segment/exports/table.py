"""Objects as CSV, a row each."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from wsi_tower.segment.joining import ObjectTable
    from wsi_tower.segment.raster import SlideRaster

__all__ = ["OBJECT_COLUMNS", "write_objects_csv"]

OBJECT_COLUMNS = (
    *("id", "class", "x_um", "y_um", "x_l0", "y_l0"),
    *("area_um2", "mean_optical_density", "mean_probability"),
)
"""Centroids count from the slide's corner."""
_ROWS = 4096


def write_objects_csv(
    file: TextIO, objects: ObjectTable, raster: SlideRaster, classes: Sequence[str]
) -> None:
    """Write `OBJECT_COLUMNS` of every object.

    Args:
        file: opened with ``newline=""``.
        objects: of the slide.
        raster: the picture that they were found on.
        classes: names by number.

    Raises:
        OSError: the disk refused.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(OBJECT_COLUMNS)
    pixel_um2 = raster.pixel_um[0] * raster.pixel_um[1]
    for start in range(0, len(objects), _ROWS):
        rows = slice(start, start + _ROWS)
        centre = objects.centre_px[rows]
        columns = (
            (centre * raster.pixel_um).round(2),
            (centre * raster.pitch_l0).round(2),
            (objects.area_px[rows] * pixel_um2).round(3)[:, None],
            objects.optical_density[rows].round(4)[:, None],
            objects.probability[rows].round(4)[:, None],
        )
        values = zip(*(one.T.tolist() for part in columns for one in part.T[:, None]), strict=True)
        names = (classes[number] for number in objects.class_number[rows].tolist())
        for number, (name, row) in enumerate(zip(names, values, strict=True), start + 1):
            writer.writerow((number, name, *(cell for (cell,) in row)))
