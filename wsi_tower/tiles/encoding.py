"""A slide's chosen tiles, read and encoded anew in threads."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
from numcodecs.zstd import Zstd

from wsi_tower.jpeg import encode
from wsi_tower.slides import Streams
from wsi_tower.tiles.native import is_file_grid, native_level, native_rows
from wsi_tower.tiles.reading import read_tile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor, Future

    from numpy.typing import NDArray

    from wsi_tower.slides import Rgb, Slide
    from wsi_tower.tiles.plan import TilePlan
    from wsi_tower.tiles.settings import PixelMode

__all__ = ["BATCH_TILES", "ZSTD_LEVEL", "batches", "encoded_tiles", "tile_encoder"]

BATCH_TILES = 64
"""Tiles handed to a thread at a time: few enough to share out a small slide, many enough that
handing over costs nothing. Divides the chunks of a shard."""
ZSTD_LEVEL = 1
"""Level 3 is three times slower on stained tissue and saves one byte in a hundred."""
_AHEAD = 8
"""Batches begun before the first of them is taken: bounds memory where the disk is slow."""

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Encoder: TypeAlias = "Callable[[Rgb], bytes]"
"""Turns a tile's pixels into its chunk."""


def encoded_tiles(
    pool: Executor, slide: Slide, plan: TilePlan, xy_l0: NDArray[np.int64], encoder: Encoder
) -> Iterator[Streams]:
    """Chunks of the tiles at ``xy_l0`` in order, `BATCH_TILES` at a time.

    Args:
        pool: whose threads read and encode.
        slide: to read from.
        plan: the grid.
        xy_l0: corners of the chosen tiles: (N, 2).
        encoder: turns pixels into a chunk.

    Raises:
        UnreadableSlideError: the slide is damaged at one of them.
    """
    return _in_order(pool, partial(_encoded, slide, plan, encoder), batches(xy_l0))


def tile_encoder(pixels: PixelMode, quality: int, subsampling: str) -> Encoder:
    """What turns a tile into a chunk of ``jpeg`` or ``lossless`` pixels."""
    if pixels == "lossless":
        zstd = Zstd(level=ZSTD_LEVEL)
        return lambda tile: zstd.encode(np.ascontiguousarray(tile))
    return partial(encode, quality=quality, subsampling=subsampling)


def _encoded(slide: Slide, plan: TilePlan, encoder: Encoder, xy_l0: NDArray[np.int64]) -> Streams:
    chunks = [encoder(tile) for tile in _tiles(slide, plan, xy_l0)]
    counts = np.array([len(chunk) for chunk in chunks], np.int64)
    return Streams(memoryview(b"".join(chunks)), counts)


def _tiles(slide: Slide, plan: TilePlan, xy_l0: NDArray[np.int64]) -> Iterator[Rgb]:
    if is_file_grid(slide, plan):
        compressed = native_level(slide, plan)
        return compressed.decode_many(native_rows(compressed, plan, xy_l0))
    return (read_tile(slide, plan, x_l0, y_l0) for x_l0, y_l0 in xy_l0.tolist())


def batches(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows, `BATCH_TILES` at a time."""
    for first in range(0, len(rows), BATCH_TILES):
        yield rows[first : first + BATCH_TILES]


def _in_order(
    pool: Executor, function: Callable[[ItemT], ResultT], items: Iterable[ItemT]
) -> Iterator[ResultT]:
    """Results of a function in the order of its items, a few begun ahead."""
    begun: deque[Future[ResultT]] = deque()
    for item in items:
        begun.append(pool.submit(function, item))
        if len(begun) > _AHEAD:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()
