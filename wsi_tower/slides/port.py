"""The `Slide` port: one way to read any slide, whichever library does it.

Checks, frames, filling and resampling live here; an adapter only reads a box that lies inside one
level. All readers therefore round, clip and fill alike.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from contextlib import nullcontext
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import cv2
import numpy as np

from wsi_tower.errors import (
    MissingPixelSizeError,
    SettingsError,
    UnreadableSlideError,
    UnsupportedSlideError,
)
from wsi_tower.geometry import LevelBox, LevelSize
from wsi_tower.slides.info import BACKGROUND, MAX_SIDE_PX, Overview, Rgb

if TYPE_CHECKING:
    from types import TracebackType

    from wsi_tower.geometry import Level0Point, Mpp
    from wsi_tower.jpeg import Reduction
    from wsi_tower.slides.compressed import CompressedLevel
    from wsi_tower.slides.info import Level, SlideInfo

__all__ = ["Slide", "resampled", "shrunk"]

_BLOCK_BYTES = 48 * 1024 * 1024
"""Pixels held at a time while an overview is read: bounds memory on single-level slides."""
_MAX_OVERVIEW_PX = 160_000_000
"""Half a gigabyte: 100 × 100 mm at 8 µm/px. A larger slide does not fit a worker's memory."""
_PITCH_TOLERANCE = 0.01
_JPEG_BLOCK_PX: Literal[8] = 8
_MAX_RATIO_TERM = 128
"""Bounds the source pixels of the smallest block that averages exactly."""


class Slide(ABC):
    """A slide open for reading, by any number of threads. Use as a context manager."""

    reads_in_threads: ClassVar[bool] = False
    """Whether the library behind it lets several threads read at once; else they take turns."""

    def __init__(self, info: SlideInfo) -> None:
        for level in info.levels:
            sides = (level.size.width, level.size.height)
            if not (min(sides) >= 1 and max(sides) <= MAX_SIDE_PX):
                raise UnreadableSlideError(
                    f"slide {info.name} claims an image of {level.size}; no slide has that many "
                    f"(1 to {MAX_SIDE_PX} px a side), so the file is damaged or no slide"
                )
        self.info = info
        self._compressed: dict[int, CompressedLevel] = {}
        """Levels whose JPEG tiles are decoded here and not by the adapter's library; it sets it."""
        self._turn = threading.Lock()

    @abstractmethod
    def _read_level(self, level: int, box: LevelBox) -> Rgb:
        """Read a box that is not empty and lies wholly inside the level.

        Returns:
            height × width × 3 uint8; what was never scanned is white.

        Raises:
            UnreadableSlideError: the file is damaged there.
        """

    @abstractmethod
    def _close(self) -> None:
        """Give back what the adapter holds. May be called twice."""

    def close(self) -> None:
        """Give back the file. Threads must have ended their reading."""
        for level in self._compressed.values():
            level.close()
        self._close()

    def compressed_level(self, level: int) -> CompressedLevel | None:
        """The file's own compressed tiles of a level, or None where they cannot be had as such."""
        return self._compressed.get(level)

    @property
    def mpp(self) -> Mpp:
        """Micrometres per level-0 pixel.

        Raises:
            MissingPixelSizeError: nobody said; the message says how to give it.
        """
        if self.info.pixel_size is None:
            name = self.info.name
            raise MissingPixelSizeError(
                f"slide {name} has no pixel size; give it with --mpp-of {name}=0.25 or in the "
                f"slide list's mpp column"
            )
        return self.info.pixel_size.mpp

    def read_region(self, corner: Level0Point, level: int, size: LevelSize) -> Rgb:
        """Read ``size`` pixels of ``level`` from a corner in level-0 pixels.

        The corner is rounded to the level's nearest pixel. What lies outside the slide is white.

        Returns:
            height × width × 3 uint8.

        Raises:
            SettingsError: no such level, or a size below 1.
            UnreadableSlideError: the file is damaged there.
        """
        downsample = self._level(level).downsample
        x_px, y_px = round(corner.x / downsample), round(corner.y / downsample)
        return self.read_level_box(level, LevelBox(x_px, y_px, size.width, size.height))

    def read_level_box(self, level: int, box: LevelBox, reduction: Reduction = 1) -> Rgb:
        """Read a box given in the pixels of its level, or of the level reduced.

        Args:
            level: which.
            box: in pixels of the level after reduction.
            reduction: pixels of the level that become one, along each side. JPEG tiles are reduced
                while they are decoded, all else is area-averaged.

        Raises:
            SettingsError, UnreadableSlideError: as `read_region`.
        """
        if box.width < 1 or box.height < 1:
            raise SettingsError(f"cannot read {box.width} × {box.height} px; ask for at least 1")
        size = self._level(level).size
        inside = box.clipped(LevelSize(size.width // reduction, size.height // reduction))
        if inside == box:
            return self._read_inside(level, box, reduction)
        region = np.full((box.height, box.width, 3), BACKGROUND, np.uint8)
        if inside.width and inside.height:
            left, top = inside.x - box.x, inside.y - box.y
            region[top : top + inside.height, left : left + inside.width] = self._read_inside(
                level, inside, reduction
            )
        return region

    def level_for(self, downsample: float) -> int:
        """The coarsest level that is at least as fine as ``downsample``; 0 where none is."""
        fine = [i for i, level in enumerate(self.info.levels) if level.downsample <= downsample]
        return max(fine, key=lambda i: self.info.levels[i].downsample, default=0)

    def overview(self, pitch_l0: float) -> Overview:
        """The whole slide area-averaged to about ``pitch_l0`` level-0 pixels a pixel.

        The pitch is moved by at most 1 % to a ratio of small whole numbers to the level that is
        read, so that blocks of it average exactly; the result says which. Read in blocks: memory
        is bounded by the result. Beyond the right and lower edge the slide counts as white.

        Raises:
            SettingsError: ``pitch_l0`` is below 1.
            UnreadableSlideError: the file is damaged.
            UnsupportedSlideError: the result would not fit a worker's memory.
        """
        if not pitch_l0 >= 1:
            raise SettingsError(f"an overview of {pitch_l0:g} level-0 px a pixel is not coarser")
        level = self.level_for(pitch_l0 * (1 + _PITCH_TOLERANCE))
        downsample = self._level(level).downsample
        ratio = _small_ratio(pitch_l0 / downsample)
        return Overview(self._averaged_level(level, ratio), float(ratio * Fraction(downsample)))

    def thumbnail(self, max_px: int) -> Overview:
        """The whole slide with its longer side at most ``max_px`` pixels.

        Raises:
            SettingsError: ``max_px`` is below 1.
            UnreadableSlideError: the file is damaged.
        """
        if max_px < 1:
            raise SettingsError(f"a thumbnail of {max_px} px shows nothing; ask for at least 1")
        pitch_l0 = max(self.info.size.width, self.info.size.height) / max_px
        # A little coarser, since `overview` may come out a little finer than asked.
        return self.overview(pitch_l0 * (1 + _PITCH_TOLERANCE) if pitch_l0 > 1 else 1.0)

    def _read_inside(self, level: int, box: LevelBox, reduction: Reduction) -> Rgb:
        """Read a box of the level reduced that lies wholly inside it."""
        compressed = self._compressed.get(level)
        if compressed is not None and compressed.reduction(reduction) == reduction:
            return compressed.read_box(box, reduction)
        place = (value * reduction for value in (box.x, box.y, box.width, box.height))
        with nullcontext() if self.reads_in_threads else self._turn:
            pixels = self._read_level(level, LevelBox(*place))
        return resampled(pixels, LevelSize(box.width, box.height))

    def _averaged_level(self, level: int, ratio: Fraction) -> Rgb:
        size = self._level(level).size
        height, width = math.ceil(size.height / ratio), math.ceil(size.width / ratio)
        if height * width > _MAX_OVERVIEW_PX:
            raise UnsupportedSlideError(
                f"slide {self.info.name} of {self.info.size} is too large: its overview would have "
                f"{width} × {height} px; check its pixel size, or tile a part of it"
            )
        compressed = self._compressed.get(level)
        # The mean of a block of JPEG's stands in the file; of smaller parts it does not.
        is_coarse = compressed is not None and compressed.reduction(float(ratio)) == _JPEG_BLOCK_PX
        reduction: Reduction = _JPEG_BLOCK_PX if is_coarse else 1
        rows, columns = _block(size, ratio, reduction)
        if rows >= height and columns >= width:
            whole = LevelBox(0, 0, columns, rows)
            block = self._averaged(level, whole, ratio / reduction, reduction)
            return np.ascontiguousarray(block[:height, :width])
        rgb = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                place = LevelBox(left, top, columns, rows)
                block = self._averaged(level, place, ratio / reduction, reduction)
                rgb[top : top + rows, left : left + columns] = block[: height - top, : width - left]
        return rgb

    def _averaged(self, level: int, place: LevelBox, ratio: Fraction, reduction: Reduction) -> Rgb:
        """The block at ``place`` of an overview, from pixels of the level reduced."""
        corners = (int(value * ratio) for value in (place.x, place.y, place.width, place.height))
        pixels = self.read_level_box(level, LevelBox(*corners), reduction)
        return resampled(pixels, LevelSize(place.width, place.height))

    def _level(self, level: int) -> Level:
        if not 0 <= level < len(self.info.levels):
            raise SettingsError(
                f"slide {self.info.name} has levels 0 to {len(self.info.levels) - 1}, not {level}"
            )
        return self.info.levels[level]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def resampled(image: Rgb, size: LevelSize) -> Rgb:
    """An image brought to ``size``: area-averaged where it shrinks, cubic where it grows."""
    if image.shape[:2] == (size.height, size.width):
        return image
    shrinks = image.shape[0] >= size.height and image.shape[1] >= size.width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    result: Rgb = np.asarray(
        cv2.resize(image, (size.width, size.height), interpolation=method), np.uint8
    )
    return result


def shrunk(overview: Overview, max_px: int) -> Overview:
    """An overview area-averaged until its longer side has at most ``max_px`` pixels.

    As `Slide.thumbnail` makes it, without reading the slide again.
    """
    height, width = overview.rgb.shape[:2]
    if max(height, width) <= max_px:
        return overview
    ratio = _small_ratio(max(height, width) / max_px * (1 + _PITCH_TOLERANCE))
    rows, columns = (math.ceil(side / ratio) for side in (height, width))
    # Whole ratios, so that every pixel averages as much; beyond the edge the slide is white.
    step = ratio.denominator
    size = LevelSize(-(-columns // step) * step, -(-rows // step) * step)
    canvas = np.full((int(size.height * ratio), int(size.width * ratio), 3), BACKGROUND, np.uint8)
    canvas[:height, :width] = overview.rgb
    small = resampled(canvas, size)[:rows, :columns]
    return Overview(np.ascontiguousarray(small), overview.pitch_l0 * float(ratio))


def _small_ratio(ratio: float) -> Fraction:
    denominator = max(1, int(_MAX_RATIO_TERM / max(ratio, 1.0)))
    return max(Fraction(1), Fraction(ratio).limit_denominator(denominator))


def _block(size: LevelSize, ratio: Fraction, reduction: int) -> tuple[int, int]:
    """Rows and columns of an overview to make at a time: whole ratios, within the bound."""
    # The smallest block that averages exactly has numerator² pixels of the level.
    step = (ratio / reduction).numerator
    fitting = max(1, _BLOCK_BYTES // (3 * step**2))
    across = min(fitting, math.ceil(size.width / reduction / step))
    down = min(fitting // across, math.ceil(size.height / reduction / step))
    denominator = (ratio / reduction).denominator
    return denominator * down, denominator * across
