"""JPEG tiles of a TIFF slide as the file holds them: to copy as they are, or to decode exactly.

Libraries decode such tiles one region at a time, convert to four channels and, where a level's
downsample is no whole number, interpolate between pixels. Going to the tiles themselves is several
times faster and gives the level's own pixels.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from wsi_tower.errors import UnreadableSlideError
from wsi_tower.geometry import LevelBox, LevelSize
from wsi_tower.jpeg import REDUCTIONS, JpegColour, JpegError, Reduction, StreamFamily, read_head
from wsi_tower.slides.decoded import DecodedTiles
from wsi_tower.slides.tiff import refused_when_damaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.slides.info import Rgb
    from wsi_tower.slides.tiff import TiffPage

__all__ = ["CompressedLevel", "Streams", "compressed_levels"]

_LEAST_CACHE_BYTES = 64 * 1024 * 1024
_MOST_CACHE_BYTES = 256 * 1024 * 1024
_ROWS_CACHED = 3
"""Rows of tiles that a row of boxes touches, and one more: neighbours decode none of them again."""
_EOI = (0xFF, 0xD9)


@dataclass(frozen=True, slots=True)
class Streams:
    """Several tiles as the file holds them."""

    joined: memoryview
    """Their bytes, one tile after another."""
    byte_counts: NDArray[np.int64]
    """Bytes of each."""


class CompressedLevel:
    """The JPEG tiles of one level, row by row from the top left; holds the file open.

    Safe to share between threads.
    """

    def __init__(self, path: Path, page: TiffPage, tile: LevelSize, colour: JpegColour) -> None:
        """The tiles of ``page`` in the file ``path``, of size ``tile``, padded ones too."""
        self.path = path
        self.tile = tile
        self.columns = -(-page.size.width // tile.width)
        self.rows = -(-page.size.height // tile.height)
        self.offsets, self.byte_counts = page.segments()
        """Where every tile lies, and its bytes: 0 where the slide was not scanned."""
        self.family = StreamFamily(page.jpeg_tables, colour)
        row_bytes = self.columns * tile.width * tile.height * 3
        self._decoded = DecodedTiles(
            int(np.clip(_ROWS_CACHED * row_bytes, _LEAST_CACHE_BYTES, _MOST_CACHE_BYTES))
        )
        self._descriptor = -1
        self._opening = threading.Lock()

    @classmethod
    def of_page(cls, path: Path, page: TiffPage) -> Self | None:
        """The tiles of a TIFF page, or None where it does not hold 8-bit colour JPEG tiles.

        Raises:
            UnreadableSlideError: the file ends before its tiles do.
        """
        if page.jpeg_colour is None or page.tile is None:
            return None
        level = cls(path, page, page.tile, page.jpeg_colour)
        if not len(level.offsets) == len(level.byte_counts) == level.columns * level.rows:
            return None
        end = int((level.offsets + level.byte_counts).max(initial=0))
        if end > path.stat().st_size:
            raise UnreadableSlideError(
                f"slide {path.name} is cut off: its tiles reach to byte {end} of a file of "
                f"{path.stat().st_size} bytes; copy the file again from its source"
            )
        return level

    @cached_property
    def subsampling(self) -> str:
        """Chroma subsampling of the tiles: ``444``, ``422``, ``420``, or another; of the first."""
        scanned = np.flatnonzero(self.byte_counts)
        return read_head(self.read(int(scanned[0]))).subsampling if len(scanned) else "444"

    def reduction(self, ratio: float) -> Reduction:
        """How far boxes can be reduced while they are decoded, at most by ``ratio``."""
        fitting = (
            one
            for one in REDUCTIONS
            if one <= ratio and self.tile.width % one == self.tile.height % one == 0
        )
        return next(fitting, 1)

    def index(self, column: int, row: int) -> int:
        """Number of a tile in `offsets` and `byte_counts`."""
        return row * self.columns + column

    def read(self, index: int) -> bytes:
        """A tile's stream as the file holds it, abbreviated where tables are shared.

        Raises:
            UnreadableSlideError: it lies beyond the end of the file, is cut off, is no JPEG, or
                has another size than the level's tiles.
        """
        count = int(self.byte_counts[index])
        stream = os.pread(self._opened(), count, int(self.offsets[index]))
        if len(stream) < count:
            raise self._cut_off(np.array([index]))
        self._check(index, stream)
        return stream

    def read_many(self, indices: NDArray[np.int64]) -> Streams:
        """Streams of several tiles; those that lie together in the file are read at once.

        Raises:
            UnreadableSlideError: as `read`, for any of them.
        """
        joined = self._pread(indices)
        counts = self.byte_counts[indices]
        ends = np.cumsum(counts)
        for place in np.flatnonzero(~self._are_like_the_last(joined, ends - counts, ends)):
            stream = joined[ends[place] - counts[place] : ends[place]]
            self._check(int(indices[place]), bytes(stream))
        return Streams(joined, counts)

    def decode_many(self, indices: NDArray[np.int64]) -> Iterator[Rgb]:
        """Pixels of several tiles, one after the other, read as `read_many` reads them.

        Raises:
            UnreadableSlideError: as `read`, for any of them, or a stream is damaged.
        """
        streams = self.read_many(indices[self.byte_counts[indices] > 0])
        end = 0
        for index in indices.tolist():
            begin, end = end, end + int(self.byte_counts[index])
            yield self._decoded_stream(index, bytes(streams.joined[begin:end]), 1)

    def pixels(self, index: int, reduction: Reduction = 1) -> Rgb:
        """A tile decoded: (tile height, tile width, 3), each side divided by ``reduction``.

        White where it was never scanned. Not to be written to: it is kept for who asks next.

        Raises:
            UnreadableSlideError: as `read`, or the stream is damaged.
        """
        held = self._decoded.get((index, reduction))
        if held is not None:
            return held
        pixels = self._decode(index, reduction)
        self._decoded.keep((index, reduction), pixels)
        return pixels

    def read_box(self, box: LevelBox, reduction: Reduction = 1) -> Rgb:
        """Pixels of a box that lies inside the level: height × width × 3.

        Args:
            box: in pixels of the level, or of the level reduced.
            reduction: pixels of the level that become one, along each side; see `reduction`.

        Raises:
            UnreadableSlideError: a tile in it is damaged.
        """
        tile = LevelSize(self.tile.width // reduction, self.tile.height // reduction)
        column, row = box.x // tile.width, box.y // tile.height
        if box == LevelBox(column * tile.width, row * tile.height, tile.width, tile.height):
            return self._decode(self.index(column, row), reduction)
        region = np.empty((box.height, box.width, 3), np.uint8)
        rows = range(box.y // tile.height, -(-(box.y + box.height) // tile.height))
        # So large a box is an overview, which asks for each tile once.
        pixels = self.pixels if len(rows) <= _ROWS_CACHED else self._decode
        for row in rows:
            for column in range(box.x // tile.width, -(-(box.x + box.width) // tile.width)):
                place = LevelBox(column * tile.width, row * tile.height, tile.width, tile.height)
                _paste(pixels(self.index(column, row), reduction), place, region, box)
        return region

    def close(self) -> None:
        """Give back the file and the decoded tiles."""
        self._decoded.clear()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _decode(self, index: int, reduction: Reduction) -> Rgb:
        stream = self.read(index) if self.byte_counts[index] else b""
        return self._decoded_stream(index, stream, reduction)

    def _decoded_stream(self, index: int, stream: bytes, reduction: Reduction) -> Rgb:
        """Pixels of a stream that was checked; white where there is none."""
        if not stream:
            height, width = self.tile.height // reduction, self.tile.width // reduction
            return np.full((height, width, 3), 255, np.uint8)
        try:
            if reduction == 1:
                return self.family.decode(stream)
            return self.family.decode_reduced(stream, reduction)
        except JpegError as error:
            raise self._damaged(index, str(error)) from error

    def _opened(self) -> int:
        """The file's descriptor, opened when first needed."""
        if self._descriptor < 0:
            with self._opening:
                if self._descriptor < 0:
                    self._descriptor = os.open(self.path, os.O_RDONLY)
        return self._descriptor

    def _pread(self, indices: NDArray[np.int64]) -> memoryview:
        """Bytes of tiles, joined; a read a run of tiles that lie one after another."""
        descriptor = self._opened()
        offsets, counts = self.offsets[indices], self.byte_counts[indices]
        ends = np.cumsum(counts)
        joined = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8).data
        breaks = np.flatnonzero(offsets[:-1] + counts[:-1] != offsets[1:]) + 1
        for first, after in zip([0, *breaks], [*breaks, len(indices)], strict=True):
            begin, end = int(ends[first] - counts[first]), int(ends[after - 1])
            if os.preadv(descriptor, [joined[begin:end]], int(offsets[first])) < end - begin:
                raise self._cut_off(indices[first:after])
        return joined

    def _are_like_the_last(
        self, joined: memoryview, begins: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which streams have an end marker and the very head of one that was checked."""
        content = np.frombuffer(joined, np.uint8)
        head = np.frombuffer(self.family.known_head, np.uint8)
        long_enough = ends - begins >= len(head) + len(_EOI)
        if not (len(head) and long_enough.any()):
            return np.zeros(len(ends), np.bool_)
        starts = np.where(long_enough, begins, 0)
        heads = content[starts[:, None] + np.arange(len(head))]
        ended = (content[ends - 2] == _EOI[0]) & (content[ends - 1] == _EOI[1])
        alike: NDArray[np.bool_] = long_enough & ended & (heads == head).all(axis=1)
        return alike

    def _check(self, index: int, stream: bytes) -> None:
        try:
            head = self.family.head(stream)
        except JpegError as error:
            raise self._damaged(index, str(error)) from error
        if (head.width, head.height, head.components) != (self.tile.width, self.tile.height, 3):
            self.family.forget()
            raise self._damaged(index, f"it is {head.width} × {head.height} px, not {self.tile}")

    def _cut_off(self, indices: NDArray[np.int64]) -> UnreadableSlideError:
        """The error that names the first of some tiles that lies beyond the end of the file."""
        size = os.fstat(self._descriptor).st_size
        ends = self.offsets[indices] + self.byte_counts[indices]
        beyond = int(np.argmax(ends > size))
        return self._damaged(
            int(indices[beyond]), f"it ends at byte {ends[beyond]} of a file of {size} bytes"
        )

    def _damaged(self, index: int, why: str) -> UnreadableSlideError:
        row, column = divmod(index, self.columns)
        return UnreadableSlideError(
            f"slide {self.path.name} is damaged at tile column {column}, row {row}: {why}; copy "
            f"the file again from its source"
        )


def compressed_levels(path: Path, pages: Mapping[int, TiffPage]) -> dict[int, CompressedLevel]:
    """The levels whose JPEG tiles can be read directly, of those that a page holds as it is.

    Raises:
        UnreadableSlideError: where a page says its tiles lie cannot be understood.
    """
    with refused_when_damaged(path.name):
        found = {number: CompressedLevel.of_page(path, page) for number, page in pages.items()}
    return {number: level for number, level in found.items() if level is not None}


def _paste(tile: Rgb, place: LevelBox, region: Rgb, box: LevelBox) -> None:
    """Copy the part of a tile at ``place`` that lies in ``box`` to its place in ``region``."""
    left, top = max(place.x, box.x), max(place.y, box.y)
    right = min(place.x + place.width, box.x + box.width)
    bottom = min(place.y + place.height, box.y + box.height)
    region[top - box.y : bottom - box.y, left - box.x : right - box.x] = tile[
        top - place.y : bottom - place.y, left - place.x : right - place.x
    ]
