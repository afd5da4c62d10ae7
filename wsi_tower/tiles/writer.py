"""Writes a tile store into a folder: columns, tissue, thumbnail and pixels.

The caller owns the folder and puts it in place; here nothing knows of workspaces, locks or names.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numcodecs.zstd import Zstd
from zarr.codecs import BytesCodec, ZstdCodec

from wsi_tower.annotations import write_geojson
from wsi_tower.jpeg import encode
from wsi_tower.jpeg.codec import JpegCodec
from wsi_tower.ngff import write_label_image
from wsi_tower.records import digest
from wsi_tower.tiles.columns import FLAT_KEYS, column_digest, write_columns
from wsi_tower.tiles.native import native_level, native_rows
from wsi_tower.tiles.reading import read_tile
from wsi_tower.tiles.shards import CHUNKS_PER_SHARD, ShardWriter
from wsi_tower.tissue import tissue_outlines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.records import Header
    from wsi_tower.slides import CompressedLevel, Slide
    from wsi_tower.tiles.plan import TilePlan
    from wsi_tower.tiles.settings import PixelMode
    from wsi_tower.tissue import TissueMask

__all__ = ["TISSUE_CLASSES", "StoreContents", "write_store"]

_ZSTD_LEVEL = 1
"""Level 3 is three times slower on stained tissue and saves one byte in a hundred."""
_THUMBNAIL_PX = 1024
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


def write_store(
    folder: Path, slide: Slide, contents: StoreContents, progress: Callable[[int, int], None]
) -> None:
    """Write a store into an empty folder.

    Args:
        folder: where.
        slide: the open slide that pixels come from.
        contents: what to write.
        progress: called with tiles written and tiles in all.

    Raises:
        UnreadableSlideError: the slide is damaged at one of its tiles.
        OSError: the disk refused.
    """
    root = zarr.create_group(store=folder, zarr_format=3)
    digests = {name: column_digest(values) for name, values in contents.columns.items()}
    digests["tissue"] = _write_tissue(folder, slide, contents)
    _write_thumbnail(root, slide)
    tiles = root.create_group("tiles")
    write_columns(tiles, contents.columns)
    stored_bytes = 0
    if contents.pixels != "none":
        compressed = native_level(slide, contents.plan) if contents.pixels == "native" else None
        _create_pixels(tiles, contents, compressed)
        chunks = _copied(compressed, contents) if compressed else _encoded(slide, contents)
        writer = _write_chunks(
            folder / "tiles" / "pixels", chunks, lambda done: progress(done, contents.tiles)
        )
        digests["pixels"], stored_bytes = writer.digest, writer.stored_bytes
    root.attrs["wsi_tower"] = {
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


def _write_thumbnail(root: zarr.Group, slide: Slide) -> None:
    overview = slide.thumbnail(_THUMBNAIL_PX)
    array = root.create_array(
        "thumbnail",
        shape=overview.rgb.shape,
        dtype="uint8",
        chunks=overview.rgb.shape,
        serializer=JpegCodec(quality=90, subsampling="444"),
        compressors=None,
        filters=None,
        attributes={"pitch_l0": overview.pitch_l0},
        chunk_key_encoding=FLAT_KEYS,
    )
    array[...] = overview.rgb


def _create_pixels(
    tiles: zarr.Group, contents: StoreContents, compressed: CompressedLevel | None
) -> None:
    """Make the array of pixels; its chunks are written beside zarr."""
    side = contents.plan.tile_px
    tiles.create_array(
        "pixels",
        shape=(contents.tiles, side, side, 3),
        dtype="uint8",
        chunks=(1, side, side, 3),
        shards=(CHUNKS_PER_SHARD, side, side, 3),
        fill_value=255,
        filters=None,
        dimension_names=("tile", "y", "x", "channel"),
        chunk_key_encoding=FLAT_KEYS,
        **_codecs(contents, compressed),
    )


def _write_chunks(
    array: Path, chunks: Iterator[bytes], progress: Callable[[int], None]
) -> ShardWriter:
    """Write encoded chunks into the shards of an array; the closed writer tells what it wrote."""
    writer = ShardWriter(array)
    try:
        for chunk in chunks:
            writer.append(chunk)
            progress(writer.chunks)
        writer.close()
    finally:
        writer.discard()
    return writer


def _codecs(contents: StoreContents, compressed: CompressedLevel | None) -> dict[str, Any]:
    if contents.pixels == "lossless":
        return {"serializer": BytesCodec(endian=None), "compressors": ZstdCodec(level=_ZSTD_LEVEL)}
    codec = JpegCodec(quality=contents.jpeg_quality, subsampling=contents.subsampling)
    if compressed is not None:
        codec = dataclasses.replace(codec, colour=compressed.colour, tables=compressed.tables)
    return {"serializer": codec, "compressors": None}


def _encoder(contents: StoreContents) -> Callable[[NDArray[np.uint8]], bytes]:
    if contents.pixels == "lossless":
        zstd = Zstd(level=_ZSTD_LEVEL)
        return lambda pixels: bytes(zstd.encode(np.ascontiguousarray(pixels)))
    return lambda pixels: encode(
        pixels, quality=contents.jpeg_quality, subsampling=contents.subsampling
    )


def _encoded(slide: Slide, contents: StoreContents) -> Iterator[bytes]:
    """The chosen tiles read from the slide and encoded anew."""
    encoder = _encoder(contents)
    for x_l0, y_l0 in contents.columns["xy_l0"]:
        yield encoder(read_tile(slide, contents.plan, int(x_l0), int(y_l0)))


def _copied(compressed: CompressedLevel, contents: StoreContents) -> Iterator[bytes]:
    """The file's own streams of the chosen tiles."""
    for index in native_rows(compressed, contents.plan, contents.columns["xy_l0"]):
        yield compressed.read(int(index))
