"""JPEG tiles of a TIFF slide as the file holds them: to copy as they are, or to decode exactly.

Libraries decode such tiles one region at a time, convert to four channels and, where a level's
downsample is no whole number, interpolate between pixels. Going to the tiles themselves is several
times faster and gives the level's own pixels.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from wsi_tower.errors import UnreadableSlideError
from wsi_tower.jpeg import JpegColour, JpegError, complete, decode, has_head, read_head
from wsi_tower.slides.tiff import refused_when_damaged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.geometry import LevelBox, LevelSize
    from wsi_tower.slides.info import Rgb
    from wsi_tower.slides.tiff import TiffPage

__all__ = ["CompressedLevel", "compressed_levels"]

_CACHE_BYTES = 64 * 1024 * 1024
"""Decoded tiles kept: two rows of tiles of a wide slide, so that neighbours decode them once."""


@dataclass(eq=False)
class CompressedLevel:
    """The JPEG tiles of one level, row by row from the top left; holds the file open."""

    path: Path
    """The slide's file."""
    tile: LevelSize
    """Size of every tile, the padded ones at the right and bottom too."""
    columns: int
    """Tiles in a row."""
    rows: int
    """Rows of tiles."""
    offsets: NDArray[np.int64]
    """Byte offset of every tile."""
    byte_counts: NDArray[np.int64]
    """Bytes of every tile; 0 where the slide was not scanned."""
    tables: bytes
    """Tables that the tiles share, as a JPEG stream of their own; empty where each has its own."""
    colour: JpegColour
    """What the tiles' components mean."""
    _descriptor: int = -1
    _head: bytes = b""
    _decoded: OrderedDict[int, Rgb] = field(default_factory=OrderedDict)

    @classmethod
    def of_page(cls, path: Path, page: TiffPage) -> Self | None:
        """The tiles of a TIFF page, or None where it does not hold 8-bit colour JPEG tiles.

        Raises:
            UnreadableSlideError: the file ends before its tiles do.
        """
        if page.jpeg_colour is None or page.tile is None:
            return None
        columns = -(-page.size.width // page.tile.width)
        rows = -(-page.size.height // page.tile.height)
        offsets, byte_counts = page.segments()
        if not len(offsets) == len(byte_counts) == columns * rows:
            return None
        end = int((offsets + byte_counts).max(initial=0))
        if end > path.stat().st_size:
            raise UnreadableSlideError(
                f"slide {path.name} is cut off: its tiles reach to byte {end} of a file of "
                f"{path.stat().st_size} bytes; copy the file again from its source"
            )
        return cls(
            path, page.tile, columns, rows, offsets, byte_counts, page.jpeg_tables, page.jpeg_colour
        )

    @property
    def subsampling(self) -> str:
        """Chroma subsampling of the tiles: ``444``, ``422``, ``420``, or another; of the first."""
        scanned = np.flatnonzero(self.byte_counts)
        return read_head(self.read(int(scanned[0]))).subsampling if len(scanned) else "444"

    def index(self, column: int, row: int) -> int:
        """Number of a tile in `offsets` and `byte_counts`."""
        return row * self.columns + column

    def read(self, index: int) -> bytes:
        """A tile's stream as the file holds it, abbreviated where tables are shared.

        Raises:
            UnreadableSlideError: it lies beyond the end of the file, is cut off, is no JPEG, or
                has another size than the level's tiles.
        """
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDONLY)
        offset, count = int(self.offsets[index]), int(self.byte_counts[index])
        end = os.fstat(self._descriptor).st_size
        if not 0 <= offset <= offset + count <= end:
            raise self._damaged(index, f"it ends at byte {offset + count} of a file of {end} bytes")
        stream = os.pread(self._descriptor, count, offset)
        if self._head and has_head(stream, self._head):
            return stream
        try:
            head = read_head(stream)
        except JpegError as error:
            raise self._damaged(index, str(error)) from error
        if (head.width, head.height, head.components) != (self.tile.width, self.tile.height, 3):
            raise self._damaged(index, f"it is {head.width} × {head.height} px, not {self.tile}")
        self._head = stream[: head.byte_count]
        return stream

    def pixels(self, index: int) -> Rgb:
        """A tile decoded: tile height × tile width × 3; white where it was never scanned.

        Raises:
            UnreadableSlideError: as `read`, or the stream is damaged.
        """
        if not self.byte_counts[index]:
            return np.full((self.tile.height, self.tile.width, 3), 255, np.uint8)
        if index in self._decoded:
            self._decoded.move_to_end(index)
            return self._decoded[index]
        try:
            pixels = decode(complete(self.read(index), self.tables, self.colour))
        except JpegError as error:
            raise self._damaged(index, str(error)) from error
        self._decoded[index] = pixels
        while len(self._decoded) * pixels.nbytes > _CACHE_BYTES:
            self._decoded.popitem(last=False)
        return pixels

    def read_box(self, box: LevelBox) -> Rgb:
        """Pixels of a box that lies inside the level: height × width × 3.

        Raises:
            UnreadableSlideError: a tile in it is damaged.
        """
        region = np.empty((box.height, box.width, 3), np.uint8)
        right, bottom = box.x + box.width, box.y + box.height
        for row in range(box.y // self.tile.height, -(-bottom // self.tile.height)):
            for column in range(box.x // self.tile.width, -(-right // self.tile.width)):
                self._paste(region, box, column, row)
        return region

    def close(self) -> None:
        """Give back the file and the decoded tiles."""
        self._decoded.clear()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _paste(self, region: Rgb, box: LevelBox, column: int, row: int) -> None:
        """Copy the part of one tile that lies in ``box`` to its place in ``region``."""
        x, y = column * self.tile.width, row * self.tile.height
        left, top = max(x, box.x), max(y, box.y)
        right = min(x + self.tile.width, box.x + box.width)
        bottom = min(y + self.tile.height, box.y + box.height)
        tile = self.pixels(self.index(column, row))
        region[top - box.y : bottom - box.y, left - box.x : right - box.x] = tile[
            top - y : bottom - y, left - x : right - x
        ]

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
