"""Writes a tile store into a folder: columns, tissue, thumbnail and pixels.

The caller owns the folder and puts it in place; here nothing knows of workspaces, locks or names.
"""

from __future__ import annotations

import dataclasses
import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wsi_tower.annotations import write_geojson
from wsi_tower.arrays import ArrayLayout, create_array, create_group, zstd_codecs
from wsi_tower.jpeg import encode
from wsi_tower.jpeg.codec import JpegCodec
from wsi_tower.ngff import write_label_image
from wsi_tower.records import digest
from wsi_tower.slides import shrunk
from wsi_tower.tiles.columns import column_digest, write_columns
from wsi_tower.tiles.encoding import BATCH_TILES, ZSTD_LEVEL, batches, encoded_tiles, tile_encoder
from wsi_tower.tiles.native import native_level, native_rows
from wsi_tower.tiles.shards import CHUNKS_PER_SHARD, ShardFile, joined_digest
from wsi_tower.tissue import tissue_outlines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Executor, Future
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.records import Header
    from wsi_tower.slides import Overview, Slide
    from wsi_tower.tiles.plan import TilePlan
    from wsi_tower.tiles.settings import PixelMode
    from wsi_tower.tissue import TissueMask

__all__ = ["TISSUE_CLASSES", "StoreContents", "write_store"]

_THUMBNAIL_PX = 1024
_BESIDE = 2
"""Threads beside those that copy or encode, for what mostly waits for the disk. More of them only
take the cores from those."""
TISSUE_CLASSES = {1: ("tissue", (0, 158, 115, 128)), 2: ("pen", (213, 94, 0, 128))}
"""Values of the tissue label image, their names and colours."""


@dataclass(frozen=True)
class StoreContents:
    """Everything that goes into a store."""

    header: Header
    """Kind, settings and parents."""
    slide: dict[str, Any]
    """What the slide says of itself, as plain values."""
    plan: TilePlan
    """The grid."""
    overview: Overview
    """The slide as its tissue was found on."""
    mask: TissueMask
    """Tissue and pen of the whole slide."""
    columns: Mapping[str, NDArray[Any]]
    """Arrays with a row a tile; ``xy_l0`` among them."""
    pixels: PixelMode
    """How pixels are stored; never ``auto``."""
    pixels_reason: str
    """Why ``auto`` is not native; empty otherwise."""
    jpeg_quality: int
    """Quality of ``jpeg`` pixels."""
    subsampling: str
    """Chroma subsampling of ``jpeg`` pixels: ``444``, ``422`` or ``420``."""

    @property
    def tiles(self) -> int:
        """How many tiles."""
        return len(self.columns["xy_l0"])


class _Pools(NamedTuple):
    """Who does what while a store is written."""

    work: Executor
    """Threads that read and encode pixels."""
    beside: Executor
    """Threads for the rest, and for waiting until shards are on the disk."""


def write_store(
    folder: Path,
    slide: Slide,
    contents: StoreContents,
    progress: Callable[[int, int], None],
    *,
    threads: int = 1,
) -> None:
    """Write a store into an empty folder.

    Args:
        folder: where.
        slide: the open slide that pixels come from.
        contents: what to write.
        progress: called with tiles written and tiles in all.
        threads: that read and encode.

    Raises:
        UnreadableSlideError: the slide is damaged at one of its tiles.
        OSError: the disk refused.
    """
    create_group(folder / "tiles")
    digests = {name: column_digest(values) for name, values in contents.columns.items()}
    stored_bytes = 0
    with _pool(threads) as pool, _pool(_BESIDE) as beside:
        pools = _Pools(pool, beside)
        tissue = beside.submit(_write_tissue, folder, slide, contents)
        columns = beside.submit(write_columns, folder / "tiles", contents.columns)
        thumbnail = beside.submit(_write_thumbnail, folder, slide, contents.overview)
        if contents.pixels != "none":
            shards = _write_pixels(pools, folder / "tiles" / "pixels", slide, contents, progress)
            digests["pixels"] = joined_digest(shard.digest for shard in shards)
            stored_bytes = sum(shard.stored_bytes for shard in shards)
        columns.result()
        thumbnail.result()
        digests["tissue"] = tissue.result()
    record = {
        **contents.header.completed(digest(digests)).to_json(),
        "array_digests": digests,
        "slide": contents.slide,
        "plan": dataclasses.asdict(contents.plan),
        "pixels": {
            "mode": contents.pixels,
            "reason": contents.pixels_reason,
            "bytes": stored_bytes,
        },
    }
    create_group(folder, {"wsi_tower": record})


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that leave what was not begun when something fails."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="wsi-tower-tiles")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _write_tissue(folder: Path, slide: Slide, contents: StoreContents) -> str:
    mask = contents.mask
    labels = np.where(mask.tissue, np.uint8(1), np.where(mask.pen, np.uint8(2), np.uint8(0)))
    write_label_image(
        folder / "tissue",
        labels,
        pixel_um=(mask.pitch_l0 * mask.mpp.x, mask.pitch_l0 * mask.mpp.y),
        name="tissue",
        classes=TISSUE_CLASSES,
    )
    write_geojson(
        folder / "tissue" / "outline.geojson",
        tissue_outlines(mask, slide.info.size),
        classification="Tissue",
        color=TISSUE_CLASSES[1][1][:3],
        bounds=slide.info.bounds,
    )
    return column_digest(labels)


def _write_thumbnail(folder: Path, slide: Slide, overview: Overview) -> None:
    is_fine = max(overview.rgb.shape) >= _THUMBNAIL_PX
    overview = shrunk(overview, _THUMBNAIL_PX) if is_fine else slide.thumbnail(_THUMBNAIL_PX)
    codec = JpegCodec(quality=90, subsampling="444")
    layout = ArrayLayout(
        overview.rgb.shape,
        overview.rgb.dtype,
        chunk=overview.rgb.shape,
        codecs=[codec.to_dict()],
        attributes={"pitch_l0": overview.pitch_l0},
    )
    create_array(folder / "thumbnail", layout)
    stream = encode(overview.rgb, quality=codec.quality, subsampling=codec.subsampling)
    layout.file(folder / "thumbnail", (0, 0, 0)).write_bytes(stream)


def _write_pixels(
    pools: _Pools,
    folder: Path,
    slide: Slide,
    contents: StoreContents,
    progress: Callable[[int, int], None],
) -> list[ShardFile]:
    """Write the array of pixels; the closed shards tell what was written."""
    _create_pixels(folder, slide, contents)
    write = _copied if contents.pixels == "native" else _encoded
    with ExitStack() as files:
        shards: list[ShardFile] = []
        for shard in write(pools, folder, slide, contents, progress):
            files.callback(shard.close)  # where a later one fails
            shards.append(shard)
        return shards


def _copied(
    pools: _Pools,
    folder: Path,
    slide: Slide,
    contents: StoreContents,
    progress: Callable[[int, int], None],
) -> Iterator[ShardFile]:
    """Shards of the slide's own streams, each copied by one thread.

    Two threads that write to one file would wait for each other in the kernel.
    """
    level = native_level(slide, contents.plan)
    rows = native_rows(level, contents.plan, contents.columns["xy_l0"])

    def copied(number: int) -> tuple[ShardFile, Future[None]]:
        shard = ShardFile(folder, number)
        with ExitStack() as on_failure:
            on_failure.callback(shard.close)
            first = number * CHUNKS_PER_SHARD
            for batch in batches(rows[first : first + CHUNKS_PER_SHARD]):
                shard.append(level.read_many(batch))
            shard.finish()
            on_failure.pop_all()
        return shard, pools.beside.submit(shard.settle)

    done = 0
    settled: list[Future[None]] = []
    for shard, one in pools.work.map(copied, range(_shards(contents))):
        done += shard.chunks
        progress(done, contents.tiles)
        settled.append(one)
        yield shard
    for one in settled:
        one.result()


def _encoded(
    pools: _Pools,
    folder: Path,
    slide: Slide,
    contents: StoreContents,
    progress: Callable[[int, int], None],
) -> Iterator[ShardFile]:
    """Shards of tiles that are encoded anew: by all threads, batch after batch."""
    encoder = tile_encoder(contents.pixels, contents.jpeg_quality, contents.subsampling)
    streams = encoded_tiles(pools.work, slide, contents.plan, contents.columns["xy_l0"], encoder)
    settled: list[Future[None]] = []
    for number in range(_shards(contents)):
        shard = ShardFile(folder, number)
        yield shard
        for batch in itertools.islice(streams, CHUNKS_PER_SHARD // BATCH_TILES):
            shard.append(batch)
            progress(number * CHUNKS_PER_SHARD + shard.chunks, contents.tiles)
        shard.finish()
        settled.append(pools.beside.submit(shard.settle))
    for one in settled:
        one.result()


def _shards(contents: StoreContents) -> int:
    return -(-contents.tiles // CHUNKS_PER_SHARD)


def _create_pixels(folder: Path, slide: Slide, contents: StoreContents) -> None:
    """Make the array of pixels, still without any."""
    side = contents.plan.tile_px
    layout = ArrayLayout(
        (contents.tiles, side, side, 3),
        np.dtype(np.uint8),
        chunk=(1, side, side, 3),
        shard=(CHUNKS_PER_SHARD, side, side, 3),
        codecs=_codecs(slide, contents),
        fill_value=255,
        dimension_names=("tile", "y", "x", "channel"),
    )
    create_array(folder, layout)


def _codecs(slide: Slide, contents: StoreContents) -> list[dict[str, Any]]:
    if contents.pixels == "lossless":
        return zstd_codecs(np.dtype(np.uint8), ZSTD_LEVEL)
    codec = JpegCodec(quality=contents.jpeg_quality, subsampling=contents.subsampling)
    if contents.pixels == "native":
        family = native_level(slide, contents.plan).family
        codec = dataclasses.replace(codec, colour=family.colour, tables=family.tables)
    return [codec.to_dict()]
