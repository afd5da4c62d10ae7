"""The pixels of a store's tiles, read by row: from its shards, or from the slide itself."""

from __future__ import annotations

import operator
import threading
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
from numcodecs.zstd import Zstd

from wsi_tower.errors import CorruptStoreError, SettingsError
from wsi_tower.jpeg import JpegError, StreamFamily
from wsi_tower.slides import Rgb, fingerprint, open_slide
from wsi_tower.tiles.reading import read_tile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.geometry import Mpp
    from wsi_tower.jpeg.codec import JpegCodec
    from wsi_tower.slides import Slide
    from wsi_tower.tiles.plan import TilePlan
    from wsi_tower.tiles.shards import ShardReader

__all__ = ["Decode", "ShardTiles", "SlideTiles", "TilePixels", "TileSource"]

Rows: TypeAlias = "int | slice | list[int] | NDArray[np.integer[Any]] | NDArray[np.bool_]"

Decode: TypeAlias = Literal["exact", "fast"]
"""``exact`` gives the very pixels of libjpeg's default; ``fast`` takes its quicker transform and
repeats chroma instead of smoothing it."""


class TileSource(Protocol):
    """Where one tile's pixels come from."""

    def read_into(self, row: int, pixels: Rgb) -> None:
        """Put a row's pixels into ``pixels``: side × side × 3 uint8, contiguous."""

    def stream(self, row: int) -> bytes:
        """A row's complete JPEG stream."""

    def close(self) -> None:
        """Give back files."""


class TilePixels:
    """The tiles' pixels as one array (N, side, side, 3) that is read by row.

    ``pixels[rows]`` takes what NumPy takes along the first axis: a number, a slice, a list or array
    of numbers in any order, or a mask. Safe in threads; pixels are decoded by the thread that asks.
    """

    def __init__(self, source: TileSource, tiles: int, side_px: int) -> None:
        self._source = source
        self.shape = (tiles, side_px, side_px, 3)
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> Rgb:
        if isinstance(rows, (int, np.integer)):
            tile = np.empty(self.shape[1:], np.uint8)
            self._source.read_into(self._checked(operator.index(rows)), tile)
            return tile
        chosen = np.arange(len(self))[rows]
        batch = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        # In the order of the file, whatever was asked: a disk reads on faster than back and forth.
        for place in np.argsort(chosen, kind="stable").tolist():
            self._source.read_into(int(chosen[place]), batch[place])
        return batch

    def stream(self, row: int) -> bytes:
        """A tile's complete JPEG stream, to be decoded elsewhere.

        Raises:
            SettingsError: the store holds its pixels in another form.
            CorruptStoreError: the store is damaged there.
        """
        return self._source.stream(self._checked(row))

    def close(self) -> None:
        """Give back files."""
        self._source.close()

    def _checked(self, row: int) -> int:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of a store with {len(self)} tiles")
        return row % len(self)


class ShardTiles:
    """Tiles from a store's own shards; safe in threads and worker processes."""

    def __init__(self, shards: ShardReader, codec: JpegCodec | None, decode: Decode) -> None:
        """``codec`` is that of the chunks; None where they are zstd frames of raw pixels."""
        self._shards = shards
        self._family = StreamFamily(codec.tables, codec.colour) if codec else None
        self._is_fast = decode == "fast"

    def read_into(self, row: int, pixels: Rgb) -> None:
        """Put a row's pixels into ``pixels``.

        Raises:
            CorruptStoreError: the store is damaged there.
        """
        chunk = self._shards.read(row)
        try:
            if self._family is None:
                raw = np.frombuffer(Zstd().decode(chunk), np.uint8)
                pixels[:] = raw.reshape(pixels.shape)
                return
            decoded = self._family.decode(chunk, fast=self._is_fast, into=pixels)
            if decoded.shape != pixels.shape:
                raise JpegError(f"an image of {decoded.shape} instead of {pixels.shape}")
        except (ValueError, RuntimeError) as error:
            raise _damaged_row(row, error) from error

    def stream(self, row: int) -> bytes:
        """A row's complete JPEG stream.

        Raises:
            SettingsError: the store's chunks are no JPEG streams.
            CorruptStoreError: the store is damaged there.
        """
        if self._family is None:
            raise _no_streams("lossless")
        chunk = self._shards.read(row)
        try:
            return self._family.complete(chunk)
        except ValueError as error:
            raise _damaged_row(row, error) from error

    def close(self) -> None:
        """Give back the shard files."""
        self._shards.close()


class SlideTiles:
    """Tiles of a store without pixels, read from the slide it was planned on."""

    def __init__(
        self, source: str, digest: str, mpp: Mpp, plan: TilePlan, xy_l0: NDArray[np.int64]
    ) -> None:
        """``digest`` is the slide's fingerprint when the store was made."""
        self._source, self._digest, self._mpp, self._plan = source, digest, mpp, plan
        self._xy_l0 = xy_l0
        self._slide: Slide | None = None
        self._opening = threading.Lock()

    def read_into(self, row: int, pixels: Rgb) -> None:
        """Put a row's pixels into ``pixels``.

        Raises:
            CorruptStoreError: the slide is not the one that the store was made from.
            SlideError: the slide cannot be read.
        """
        with self._opening:
            if self._slide is None:
                self._slide = unchanged_slide(self._source, self._digest, self._mpp)
        x_l0, y_l0 = (int(value) for value in self._xy_l0[row])
        pixels[:] = read_tile(self._slide, self._plan, x_l0, y_l0)

    def stream(self, row: int) -> bytes:
        """None, for these tiles are cut from the slide."""
        del row
        raise _no_streams("none")

    def close(self) -> None:
        """Give back the slide."""
        if self._slide is not None:
            self._slide.close()
            self._slide = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_slide": None, "_opening": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._opening = threading.Lock()


def _damaged_row(row: int, error: Exception) -> CorruptStoreError:
    return CorruptStoreError(
        f"tile row {row} is damaged ({error}); remake the store with `wsi-tower tile … --overwrite`"
    )


def _no_streams(mode: str) -> SettingsError:
    return SettingsError(
        f"a store with pixels {mode} has no JPEG streams to decode on a GPU; decode on the CPU, or "
        f"tile again with --pixels native or jpeg"
    )


def unchanged_slide(source: str, digest: str, mpp: Mpp) -> Slide:
    """The slide that a store was made from, open.

    Args:
        source: where it lies.
        digest: its fingerprint then.
        mpp: its level-0 pixel size then.

    Raises:
        CorruptStoreError: another file lies there.
        SlideError: it cannot be read.
    """
    slide = open_slide(source, mpp_um=mpp.mean)
    if fingerprint(source).digest != digest:
        slide.close()
        raise CorruptStoreError(
            f"slide {source} is not the file that its tiles were planned on; tile it again with "
            f"--overwrite"
        )
    return slide


def resolved_source(store: Path, recorded: str) -> str:
    """Where the slide lies, from its path as the store records it, relative to the workspace."""
    if "://" in recorded:
        return recorded
    workspace = store.absolute().parent.parent
    source = workspace / recorded
    if not source.exists():
        raise SettingsError(
            f"slide {recorded} of store {store.name} is not where it was, seen from {workspace}; "
            f"put it back, or tile it again from its new place with --overwrite"
        )
    return str(source)
