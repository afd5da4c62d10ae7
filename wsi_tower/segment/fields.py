"""Parts of a segmented slide that are worth a look: pixels, and the objects on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.geometry import Level0Box, LevelBox
from wsi_tower.ngff import label_levels
from wsi_tower.segment.raster import SlideRaster
from wsi_tower.segment.record import read_segmentation

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.ngff import LabelLevel
    from wsi_tower.slides import Rgb, Slide

__all__ = ["ObjectCover", "SegmentedField", "object_cover", "segmented_fields"]

_PARTS = (1.0, 0.8, 0.4)
"""Which fields are shown: the one most covered, and two with less, as quantiles of all fields that
hold objects."""
_CELL_PX = 8
_LEAST_COVER = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedField:
    """A square of a slide."""

    rgb: Rgb
    """Its pixels at the resolution of the segmentation: (H, W, 3)."""
    ids: NDArray[np.uint32]
    """Ids of the objects: (H, W)."""
    box_l0: Level0Box
    """Where it lies."""
    pixel_um: float
    """Side of a pixel."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectCover:
    """How much of the slide is object, cell by cell."""

    fraction: NDArray[np.float32]
    """Part of each cell that is object: (rows, columns)."""
    pitch_l0: float
    """Side of a cell in level-0 pixels."""


def object_cover(path: Path, pitch_l0: float) -> ObjectCover:
    """How much of a slide is object, in cells of about a side.

    Counted on every second, fourth, … pixel, at least eight along a cell's side where there are so
    many.

    Args:
        path: the label image.
        pitch_l0: side of a cell in level-0 pixels.
    """
    own_l0 = read_segmentation(path).pitch_l0
    cell = max(1.0, pitch_l0 / own_l0)
    levels = label_levels(path)
    number = min(len(levels) - 1, max(0, int(math.log2(cell / _CELL_PX))))
    side = max(1, round(cell / 2**number))
    return ObjectCover(_means(levels[number], side), side * 2**number * own_l0)


def segmented_fields(path: Path, slide: Slide, side_um: float = 160.0) -> list[SegmentedField]:
    """Up to three squares of a slide: the one most covered by objects, and two with less.

    Args:
        path: the label image.
        slide: open.
        side_um: about their side.

    Raises:
        UnreadableSlideError: the slide is damaged there.
    """
    record = read_segmentation(path)
    cover = object_cover(path, side_um / slide.mpp.mean)
    cells = np.argwhere(cover.fraction > _LEAST_COVER)
    order = np.argsort(cover.fraction[tuple(cells.T)], kind="stable")
    if not len(order):
        return []
    places = dict.fromkeys(int(part * (len(order) - 1)) for part in _PARTS)
    raster = SlideRaster.of(slide, record.mpp, resample=True)
    finest = label_levels(path)[0]
    return [
        _field(slide, raster, finest, tuple(cells[order[place]].tolist()), cover.pitch_l0)
        for place in places
    ]


def _field(
    slide: Slide,
    raster: SlideRaster,
    labels: LabelLevel,
    cell: tuple[int, int],
    pitch_l0: float,
) -> SegmentedField:
    side = round(pitch_l0 / raster.pitch_l0)
    height, width = labels.shape
    top, left = (
        min(place * side, max(0, end - side))
        for place, end in zip(cell, (height, width), strict=True)
    )
    ids = np.asarray(labels[top : top + side, left : left + side], np.uint32)
    rgb = raster.read(slide, LevelBox(left, top, ids.shape[1], ids.shape[0]))
    sides = (round(value * raster.pitch_l0) for value in (left, top, ids.shape[1], ids.shape[0]))
    return SegmentedField(rgb, ids, Level0Box(*sides), raster.mpp)


def _means(level: LabelLevel, side: int) -> NDArray[np.float32]:
    """Part of each block of ``side`` pixels that is not 0; read a row of blocks at a time."""
    height, width = level.shape
    rows, columns = -(-height // side), -(-width // side)
    means = np.zeros((rows, columns), np.float32)
    at_once = max(1, 512 // side)
    for first in range(0, rows, at_once):
        band = np.asarray(level[first * side : (first + at_once) * side]) > 0
        padded = np.zeros((-(-len(band) // side) * side, columns * side), np.bool_)
        padded[: len(band), :width] = band
        blocks = padded.reshape(-1, side, columns, side)
        means[first : first + len(blocks)] = blocks.mean(axis=(1, 3))
    return means
