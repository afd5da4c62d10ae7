"""A pyramidal, tiled JPEG TIFF in the Aperio layout, written as its tiles come.

Pages as Aperio orders them: level 0, thumbnail, coarser levels. Level 0 is never held: each tile is
written at once and passes its average on to the next level, whose finished tiles wait in a spool.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import cv2
import numpy as np
from tifffile import TiffWriter

from wsi_tower import jpeg
from wsi_tower.geometry import Level0Box, LevelSize
from wsi_tower.phantom.ordered import in_order
from wsi_tower.phantom.recipe import GENERATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsi_tower.phantom.settings import PhantomSettings
    from wsi_tower.slides import Rgb

__all__ = ["Glass", "write_aperio"]

Glass: TypeAlias = tuple[int, int, int]
"""Red, green and blue of bare glass."""

_STEP = 4
"""Downsample from level to level."""
_MAX_LEVELS = 3
_THUMBNAIL_PX = 1024
_THUMBNAIL_STEPS = (1, 2, 4, 8, 16)
_SUBSAMPLING = "420"
_SPOOL_BYTES = 32 * 1024 * 1024
"""Encoded tiles of a coarser level that are held in memory before they go to a temporary file."""
_BIG_TIFF_PX = 1 << 31
"""Level-0 pixels above which a file may outgrow offsets of 4 GiB."""


def write_aperio(
    path: Path,
    settings: PhantomSettings,
    glass: Glass,
    tile: Callable[[Level0Box], Rgb | None],
    *,
    threads: int = 1,
) -> None:
    """Write a slide in bounded memory.

    Args:
        path: file to write; what stands there is replaced.
        settings: size, pixel size, tile side and JPEG quality.
        glass: colour of bare glass.
        tile: gives the colours of a tile's box, or None where it is bare glass.
        threads: tiles made at once; the bytes are the same for any number.

    Raises:
        OSError: the disk refused; the file is then incomplete.
    """
    encoder = _Encoder.of(settings, glass)
    grids = [_Grid(size, settings.tile_px) for size in _level_sizes(settings)]
    big = settings.size.width * settings.size.height > _BIG_TIFF_PX
    with ExitStack() as stack:
        sink: _Sink
        thumbnail = sink = _Thumbnail.of(grids[-1], glass)
        levels: list[_CoarserLevel] = []
        for grid, finer in zip(grids[:0:-1], grids[-2::-1], strict=True):
            spool = _Spool(stack.enter_context(_temporary_file(path.parent)))
            levels.append(_CoarserLevel(grid, finer, encoder, spool, sink))
            sink = levels[-1]
        pages = _Pages(stack.enter_context(TiffWriter(path, bigtiff=big)), settings)
        pages.add_level(grids[0], _level0_tiles(grids[0], encoder, tile, sink, threads))
        pages.add_thumbnail(thumbnail.image)
        for level in reversed(levels):
            pages.add_level(level.grid, level.spool.streams())


def _level_sizes(settings: PhantomSettings) -> list[LevelSize]:
    """Sizes of the levels worth a page: floors of the divisions, no smaller than one tile."""
    sides = [
        (settings.size.width // _STEP**level, settings.size.height // _STEP**level)
        for level in range(_MAX_LEVELS)
    ]
    return [LevelSize(*side) for side in sides if min(side) >= settings.tile_px]


@dataclass(frozen=True, slots=True)
class _Grid:
    """A level and its tiles; those at the right and lower edge reach beyond it."""

    size: LevelSize
    tile_px: int

    @property
    def columns(self) -> int:
        return -(-self.size.width // self.tile_px)

    @property
    def rows(self) -> int:
        return -(-self.size.height // self.tile_px)


@dataclass(frozen=True, slots=True)
class _Encoder:
    """Tiles to JPEG; the many bare ones are encoded once."""

    quality: int
    glass: Glass
    bare: bytes

    @classmethod
    def of(cls, settings: PhantomSettings, glass: Glass) -> _Encoder:
        tile = np.full((settings.tile_px, settings.tile_px, 3), glass, np.uint8)
        bare = jpeg.encode(tile, quality=settings.jpeg_quality, subsampling=_SUBSAMPLING)
        return cls(settings.jpeg_quality, glass, bare)

    def stream(self, tile: Rgb | None) -> bytes:
        if tile is None:
            return self.bare
        return jpeg.encode(tile, quality=self.quality, subsampling=_SUBSAMPLING)


class _Sink(Protocol):
    """Takes the tiles of the next finer level, row by row."""

    def take(self, column: int, row: int, tile: Rgb | None) -> None: ...


def _level0_tiles(
    grid: _Grid,
    encoder: _Encoder,
    tile: Callable[[Level0Box], Rgb | None],
    sink: _Sink,
    threads: int,
) -> Iterator[bytes]:
    side = grid.tile_px
    places = [(column, row) for row in range(grid.rows) for column in range(grid.columns)]

    def made(place: tuple[int, int]) -> tuple[Rgb | None, bytes]:
        rgb = tile(Level0Box(place[0] * side, place[1] * side, side, side))
        return rgb, encoder.stream(rgb)

    for place, (rgb, stream) in zip(places, in_order(made, places, threads), strict=True):
        sink.take(*place, rgb)
        yield stream


def _temporary_file(folder: Path) -> SpooledTemporaryFile[bytes]:
    return SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=str(folder))


@dataclass(slots=True)
class _Spool:
    """Streams put aside in order."""

    file: SpooledTemporaryFile[bytes]
    lengths: list[int] = field(default_factory=list)

    def add(self, stream: bytes) -> None:
        self.file.write(stream)
        self.lengths.append(len(stream))

    def streams(self) -> Iterator[bytes]:
        self.file.seek(0)
        for length in self.lengths:
            yield self.file.read(length)


class _CoarserLevel:
    """A level that grows, one row of tiles at a time, from the tiles of the next finer one."""

    def __init__(
        self, grid: _Grid, finer: _Grid, encoder: _Encoder, spool: _Spool, sink: _Sink
    ) -> None:
        self.grid = grid
        self.spool = spool
        self._finer = finer
        self._encoder = encoder
        self._sink = sink
        self._band: Rgb = np.empty((grid.tile_px, grid.columns * grid.tile_px, 3), np.uint8)
        self._touched: set[int] = set()
        self._clear()

    def take(self, column: int, row: int, tile: Rgb | None) -> None:
        """Average a finer tile into its place; after the last of a row of ours, encode that row."""
        # The finer level's last tiles may lie wholly in the remainder that the division drops.
        if tile is not None and column // _STEP < self.grid.columns:
            block = self.grid.tile_px // _STEP
            top, left = row % _STEP * block, column * block
            self._band[top : top + block, left : left + block] = _averaged(tile, _STEP)
            self._touched.add(column // _STEP)
        at_end_of_row = column == self._finer.columns - 1
        is_last_row = row % _STEP == _STEP - 1 or row == self._finer.rows - 1
        if at_end_of_row and is_last_row and row // _STEP < self.grid.rows:
            self._finish(row // _STEP)

    def _finish(self, row: int) -> None:
        side = self.grid.tile_px
        for column in range(self.grid.columns):
            tile = self._band[:, column * side : (column + 1) * side]
            found = tile if column in self._touched else None
            self.spool.add(self._encoder.stream(found))
            self._sink.take(column, row, found)
        self._clear()

    def _clear(self) -> None:
        self._band[:] = self._encoder.glass
        self._touched.clear()


@dataclass(frozen=True, slots=True)
class _Thumbnail:
    """The whole slide in small, from the tiles of the coarsest level."""

    image: Rgb
    step: int

    @classmethod
    def of(cls, grid: _Grid, glass: Glass) -> _Thumbnail:
        longest = max(grid.size.width, grid.size.height)
        fitting = (step for step in _THUMBNAIL_STEPS if longest // step <= _THUMBNAIL_PX)
        step = next(fitting, _THUMBNAIL_STEPS[-1])
        shape = (grid.size.height // step, grid.size.width // step, 3)
        return cls(np.full(shape, glass, np.uint8), step)

    def take(self, column: int, row: int, tile: Rgb | None) -> None:
        if tile is None:
            return
        small = _averaged(tile, self.step)
        top, left = row * len(small), column * len(small)
        place = self.image[top : top + len(small), left : left + len(small)]
        place[:] = small[: place.shape[0], : place.shape[1]]


def _averaged(tile: Rgb, step: int) -> Rgb:
    side = len(tile) // step
    average: Rgb = np.asarray(
        cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA), np.uint8
    )
    return average


@dataclass(frozen=True, slots=True)
class _Pages:
    """The pages of the TIFF with the tags and descriptions that Aperio's have."""

    tiff: TiffWriter
    settings: PhantomSettings

    def add_level(self, grid: _Grid, tiles: Iterator[bytes]) -> None:
        """A level from its encoded tiles, row by row."""
        size_l0, mpp = self.settings.size, self.settings.mpp
        side = self.settings.tile_px
        scaled = f"{size_l0.width}x{size_l0.height} [0,0 {size_l0.width}x{size_l0.height}] "
        scaled += f"({side}x{side})"
        if grid.size.width != size_l0.width:
            scaled += f" -> {grid.size.width}x{grid.size.height}"
        properties = f"AppMag = {10 / mpp:.10g}|MPP = {mpp:.10g}"
        self._add(
            grid.size,
            tiles,
            f"{scaled} JPEG/YCC Q={self.settings.jpeg_quality}|{properties}",
            tile=(side, side),
        )

    def add_thumbnail(self, image: Rgb) -> None:
        """The thumbnail, one strip."""
        size = LevelSize(image.shape[1], image.shape[0])
        stream = jpeg.encode(image, quality=self.settings.jpeg_quality, subsampling=_SUBSAMPLING)
        size_l0 = self.settings.size
        description = f"{size_l0.width}x{size_l0.height} -> {size.width}x{size.height} - "
        self._add(size, iter([stream]), description, rowsperstrip=size.height)

    def _add(
        self, size: LevelSize, streams: Iterator[bytes], description: str, **layout: Any
    ) -> None:
        # Nothing that changes from run to run: no time, no version of the writing library.
        self.tiff.write(
            streams,
            shape=(size.height, size.width, 3),
            dtype=np.uint8,
            photometric="ycbcr",
            subsampling=(2, 2),
            compression="jpeg",
            description=f"Aperio Image Library (wsi-tower {GENERATOR})\r\n{description}",
            software=False,
            metadata=None,
            maxworkers=1,
            **layout,
        )
