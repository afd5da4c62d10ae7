"""Slide files that lie, are damaged, or are sound but extreme, each built in a moment.

Every builder writes one file to ``path`` and returns it. TIFFs are put together by hand, because no
library writes what these say. Unless a builder says otherwise its file claims to be an Aperio slide
of 0.5 µm/px, so that a reader meets the fault and not a missing pixel size.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

from wsi_tower import jpeg
from wsi_tower.geometry import Level0Box
from wsi_tower.phantom import PhantomSettings
from wsi_tower.phantom.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TILE_PX = 256
MPP = 0.5
WHITE = 244
"""Grey of bare glass in the sound slides."""

SPARSE_PX = 61_440
"""Side of `sparse` at level 0: 240 tiles."""
SPARSE_AREA_PX = 4096
"""Side of each tissue area of `sparse`: 16 × 16 tiles at level 0, one at level 2."""
SPARSE_AREAS = ((9, 10), (9, 11), (12, 2))
"""Row and column of each tissue area of `sparse`, in areas, all in the lower half."""


# Damaged files


def truncated(path: Path, good: Path, share: float = 0.6) -> Path:
    """The first part of a good slide, as an interrupted copy leaves it."""
    content = good.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def zero_bytes(path: Path) -> Path:
    """An empty file."""
    path.write_bytes(b"")
    return path


def text(path: Path) -> Path:
    """Plain text; give it a slide's name."""
    path.write_text("These are not the pixels you are looking for.\n" * 100)
    return path


def offsets_beyond_end(path: Path) -> Path:
    """A tiled slide of 2048 × 2048 px whose tiles all lie a gigabyte behind its end."""
    tiles = np.full(64, 1 << 30)
    return _write_tiff(path, [_jpeg_page((2048, 2048), tiles, np.full(64, 5000))])


def other_jpeg_size(path: Path, jpeg_px: int = 1024) -> Path:
    """A slide of 2 × 2 tiles of 256 px whose JPEG streams say they are ``jpeg_px`` square."""
    stream = _white_stream(jpeg_px)
    page = _jpeg_page((512, 512), np.full(4, _PAYLOAD), np.full(4, len(stream)))
    return _write_tiff(path, [page], stream)


# Files that lie about their size


def huge_dimensions(path: Path) -> Path:
    """A slide of 2^30 × 2^30 px that has one small tile."""
    stream = _white_stream(TILE_PX)
    page = _jpeg_page((1 << 30, 1 << 30), np.array([_PAYLOAD]), np.array([len(stream)]))
    return _write_tiff(path, [page], stream)


def deflate_bomb(path: Path, side_px: int = 40_000) -> Path:
    """A TIFF of one strip that decodes to 3 · ``side_px``² zeros: 4.8 GB from 5 MB."""
    stream = _deflated_zeros(3 * side_px * side_px)
    layout = [_long(273, _PAYLOAD), _long(278, side_px), _long(279, len(stream))]
    return _write_tiff(path, [_page((side_px, side_px), _DEFLATE, layout)], stream)


def huge_tile(path: Path, side_px: int = 32_768) -> Path:
    """A TIFF of one tile that decodes to 3 · ``side_px``² zeros: 3.2 GB from 3 MB."""
    stream = _deflated_zeros(3 * side_px * side_px)
    layout = _tile_tags(side_px, np.array([_PAYLOAD]), np.array([len(stream)]))
    return _write_tiff(path, [_page((side_px, side_px), _DEFLATE, layout)], stream)


def huge_jpeg_tile(path: Path, side_px: int = 32_768) -> Path:
    """A slide of one JPEG tile whose stream, of 1 kB, says that it is 32 768 px square."""
    stream = bytearray(_white_stream(TILE_PX))
    # The frame header: marker, length, precision, then height and width.
    size_at = stream.index(b"\xff\xc0") + 5
    stream[size_at : size_at + 4] = struct.pack(">HH", side_px, side_px)
    spans = np.array([_PAYLOAD]), np.array([len(stream)])
    page = _jpeg_page((side_px, side_px), *spans, tile_px=side_px)
    return _write_tiff(path, [page], bytes(stream))


def png_bomb(path: Path, side_px: int = 60_000) -> Path:
    """A PNG of two colours, 60 000 px square: 440 kB that become 3.6 gigapixels. No pixel size."""
    # Each row is a filter byte and one bit a pixel.
    stream = _deflated_zeros(side_px * (1 + side_px // 8))
    head = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    chunks = [_png_chunk(b"IHDR", head), _png_chunk(b"IDAT", stream), _png_chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


# Files that lie about their structure


def cyclic_pages(path: Path) -> Path:
    """Two sound pages, the second of which names the first as the next."""
    stream = _white_stream(TILE_PX)
    page = _jpeg_page((512, 512), np.full(4, _PAYLOAD), np.full(4, len(stream)))
    return _write_tiff(path, [page, page], stream, cyclic=True)


def endless_tag(path: Path, code: int = 324) -> Path:
    """A sound slide but for one tag that says it has 2^32 - 1 values: tile offsets by default."""
    stream = _white_stream(TILE_PX)
    page = _jpeg_page((512, 512), np.full(4, _PAYLOAD), np.full(4, len(stream)))
    kind = next(tag.kind for tag in page if tag.code == code)
    page = [tag for tag in page if tag.code != code]
    page.append(_Tag(code, kind, np.array([_PAYLOAD]), count=(1 << 32) - 1))
    return _write_tiff(path, [page], stream)


# Sound slides at the edge of what there is


def all_white(path: Path) -> Path:
    """A sound slide of 2048 × 1536 px at 0.5 µm/px that shows nothing but glass."""
    stream = _white_stream(TILE_PX)
    tiles = 8 * 6
    page = _jpeg_page((2048, 1536), np.full(tiles, _PAYLOAD), np.full(tiles, len(stream)))
    return _write_tiff(path, [page], stream)


def smaller_than_a_tile(path: Path) -> Path:
    """A sound slide of 100 × 80 px of tissue at 0.5 µm/px, in one tile of 256 px."""
    stream = jpeg.encode(_tissue(TILE_PX), quality=85, subsampling="420")
    page = _jpeg_page((100, 80), np.array([_PAYLOAD]), np.array([len(stream)]))
    return _write_tiff(path, [page], stream)


def sparse(path: Path, *, is_half_scanned: bool = False) -> Path:
    """A sound slide of 61 440 px square at 0.5 µm/px, 1 MB on disk, with levels of 1, 4 and 16.

    All of it is one shared tile of glass, but for `SPARSE_AREAS`, whose tissue repeats every
    1024 px.

    ``is_half_scanned`` takes the bytes of the upper half's level-0 tiles away. OpenSlide then
    distrusts the coarser levels too and renders them from level 0: minutes for an overview.
    """
    texture = _tissue(4 * TILE_PX)
    payload = _Payload()
    white = payload.add(_white_stream(TILE_PX))
    pages = []
    for step in (1, 4, 16):
        spans = _sparse_spans(step, white, _tile_streams(_averaged(texture, step), payload))
        if step == 1 and is_half_scanned:
            spans[: len(spans) // 2] = 0
        side = SPARSE_PX // step
        pages.append(_jpeg_page((side, side), spans[..., 0].ravel(), spans[..., 1].ravel()))
    pages.insert(1, _thumbnail_page(white))
    return _write_tiff(path, pages, payload.content())


def _averaged(texture: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """A texture at a coarser level, repeated until it fills a tile."""
    side = len(texture) // step
    small = cv2.resize(texture, (side, side), interpolation=cv2.INTER_AREA)
    repeats = max(1, TILE_PX // side)
    return np.tile(np.asarray(small, np.uint8), (repeats, repeats, 1))


def _sparse_spans(
    step: int, white: tuple[int, int], tissue: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Offset and byte count of each tile of a level, scanned all over: tiles × tiles × 2."""
    tiles, area = SPARSE_PX // step // TILE_PX, SPARSE_AREA_PX // step // TILE_PX
    spans = np.zeros((tiles, tiles, 2), np.int64)
    spans[:] = white
    repeated = np.tile(tissue, (area // len(tissue), area // len(tissue), 1))
    for row, column in SPARSE_AREAS:
        spans[row * area : (row + 1) * area, column * area : (column + 1) * area] = repeated
    return spans


def _thumbnail_page(span: tuple[int, int]) -> _Page:
    """The page of one strip that Aperio writes second; readers skip it by its place."""
    offset, byte_count = span
    layout = [_long(273, offset), _long(278, TILE_PX), _long(279, byte_count), _short(530, 2, 2)]
    return _page((TILE_PX, TILE_PX), _JPEG, layout)


def _tile_streams(image: NDArray[np.uint8], payload: _Payload) -> NDArray[np.int64]:
    """Where the tiles of an image went: rows × columns × (offset, byte count)."""
    tiles = len(image) // TILE_PX
    spans = np.zeros((tiles, tiles, 2), np.int64)
    for row in range(tiles):
        for column in range(tiles):
            top, left = row * TILE_PX, column * TILE_PX
            tile = image[top : top + TILE_PX, left : left + TILE_PX]
            spans[row, column] = payload.add(jpeg.encode(tile, quality=85, subsampling="420"))
    return spans


def _tissue(side_px: int) -> NDArray[np.uint8]:
    """Phantom tissue, side × side × 3; at twice the claimed pixel size, which is sooner made."""
    settings = PhantomSettings(width_um=6000, height_um=6000, mpp=2 * MPP, tile_px=1024)
    scene = Scene.drawn(settings, 0)
    centre = max(scene.tissue_l0, key=lambda piece: piece.area).representative_point()
    corner = int(centre.x) - side_px // 2, int(centre.y) - side_px // 2
    tissue = scene.tile(Level0Box(*corner, side_px, side_px))
    assert tissue is not None
    return tissue


# TIFF, put together by hand

_SHORT, _LONG, _ASCII = 3, 4, 2
_JPEG, _DEFLATE = 7, 8
_PAYLOAD = 8
"""Where pixels start: right behind the header."""
_NONE, _BEHIND = 0, -1
_FORMATS = {_SHORT: "<u2", _LONG: "<u4", _ASCII: "u1"}


@dataclass(frozen=True)
class _Tag:
    code: int
    kind: int
    values: NDArray[np.int64]
    count: int | None = None
    """What the tag says of its number of values; None for the truth."""


_Page: TypeAlias = "list[_Tag]"


class _Payload:
    """Streams in a row behind the header."""

    def __init__(self) -> None:
        self._streams: list[bytes] = []
        self._end = _PAYLOAD

    def add(self, stream: bytes) -> tuple[int, int]:
        """Offset and byte count of a stream, now in the payload."""
        offset = self._end
        self._streams.append(stream)
        self._end += len(stream)
        return offset, len(stream)

    def content(self) -> bytes:
        return b"".join(self._streams)


def _short(code: int, *values: int) -> _Tag:
    return _Tag(code, _SHORT, np.array(values))


def _long(code: int, *values: int) -> _Tag:
    return _Tag(code, _LONG, np.array(values))


def _tile_tags(
    tile_px: int, offsets: NDArray[np.int64], byte_counts: NDArray[np.int64]
) -> list[_Tag]:
    spans = [_Tag(324, _LONG, offsets), _Tag(325, _LONG, byte_counts)]
    return [_long(322, tile_px), _long(323, tile_px), *spans]


def _jpeg_page(
    size: tuple[int, int],
    offsets: NDArray[np.int64],
    byte_counts: NDArray[np.int64],
    tile_px: int = TILE_PX,
) -> _Page:
    """A page of JPEG tiles, width × height, in YCbCr with halved chroma."""
    layout = [*_tile_tags(tile_px, offsets, byte_counts), _short(530, 2, 2)]
    return _page(size, _JPEG, layout)


def _page(size: tuple[int, int], compression: int, layout: list[_Tag]) -> _Page:
    width, height = size
    description = f"Aperio Image Library v12\r\n{width}x{height}|AppMag = 20|MPP = {MPP}\0"
    text_values = np.frombuffer(description.encode(), np.uint8).astype(np.int64)
    return [
        *(_long(256, width), _long(257, height), _short(258, 8, 8, 8), _short(259, compression)),
        *(_short(262, 6 if compression == _JPEG else 2), _Tag(270, _ASCII, text_values)),
        *(_short(277, 3), _short(284, 1)),
        *layout,
    ]


def _write_tiff(
    path: Path, pages: Sequence[_Page], payload: bytes = b"", *, cyclic: bool = False
) -> Path:
    """Little-endian TIFF: header, payload, pages; ``cyclic`` lets the last name the first."""
    start = _even(_PAYLOAD + len(payload))
    header = struct.pack("<2sHI", b"II", 42, start)
    content = [(header + payload).ljust(start, b"\0")]
    position = start
    for number, page in enumerate(pages):
        is_last = number == len(pages) - 1
        following = _BEHIND if not is_last else start if cyclic else _NONE
        content.append(_directory(page, position, following))
        position += len(content[-1])
    path.write_bytes(b"".join(content))
    return path


def _directory(page: _Page, position: int, following: int) -> bytes:
    """A page's tags, then the values that do not fit into them.

    Args:
        page: its tags.
        position: where the directory will lie.
        following: offset of the next page, or `_NONE`, or `_BEHIND` for right behind this one.
    """
    tags = sorted(page, key=lambda tag: tag.code)
    outside = position + 2 + 12 * len(tags) + 4
    entries, values = [], []
    for tag in tags:
        raw = tag.values.astype(_FORMATS[tag.kind]).tobytes()
        count = len(tag.values) if tag.count is None else tag.count
        if len(raw) > 4:
            field = struct.pack("<I", outside)
            values.append(raw.ljust(_even(len(raw)), b"\0"))
            outside += len(values[-1])
        else:
            field = raw.ljust(4, b"\0")
        entries.append(struct.pack("<HHI", tag.code, tag.kind, count) + field)
    link = outside if following == _BEHIND else following
    head = struct.pack("<H", len(tags))
    return b"".join([head, *entries, struct.pack("<I", link), *values])


def _even(position: int) -> int:
    return position + position % 2


# Streams


def _white_stream(side_px: int) -> bytes:
    white = np.full((side_px, side_px, 3), WHITE, np.uint8)
    return jpeg.encode(white, quality=85, subsampling="420")


def _deflated_zeros(count: int) -> bytes:
    """A zlib stream of so many zeros, made without making them."""
    piece = 1 << 24
    # After a full flush the compressor starts anew, so equal pieces have equal bytes.
    compressor = zlib.compressobj(9, wbits=-15)
    whole = compressor.compress(bytes(piece)) + compressor.flush(zlib.Z_FULL_FLUSH)
    rest = zlib.compressobj(9, wbits=-15)
    last = rest.compress(bytes(count % piece)) + rest.flush()
    # Adler-32 of n zeros: the first sum stays 1, the second counts them.
    checksum = struct.pack(">HH", count % 65_521, 1)
    return b"\x78\xda" + whole * (count // piece) + last + checksum


def _png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum
