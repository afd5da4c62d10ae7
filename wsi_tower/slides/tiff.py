"""The structure of a TIFF slide: its pages, and whether it is safe to decode.

Pixels are read elsewhere. What is looked at here are sizes, tiles, pixel size tags and offsets, so
that a damaged or hostile file is refused before a library allocates what it claims to need.
"""

from __future__ import annotations

import logging
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from wsi_tower.errors import UnreadableSlideError
from wsi_tower.geometry import LevelSize
from wsi_tower.slides.info import MAX_SIDE_PX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.jpeg import JpegColour

__all__ = [
    "TIFF_DAMAGE",
    "TiffPage",
    "is_tiff",
    "pages_of",
    "pages_of_levels",
    "read_tiff_pages",
    "refused_when_damaged",
]

TIFF_DAMAGE: tuple[type[Exception], ...] = (
    tifffile.TiffFileError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    NotImplementedError,
    ArithmeticError,
    RecursionError,
    EOFError,
    struct.error,
)
"""What tifffile and TiffSlide raise on files that are damaged or of no known layout."""

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_JPEG = 7
_JPEG_FAMILY = frozenset({6, 7, 34712, 33004, 33005})
"""Compressions whose decoders turn YCbCr into RGB."""
_APERIO_YCBCR = 33003
"""JPEG 2000 of YCbCr, whatever the photometric tag says; only OpenSlide turns it into RGB."""
_YCBCR = 6
_CHANNELS = frozenset({1, 3, 4})
_PLAIN = frozenset({1, 2})
"""Photometric values (TIFF 6.0, section 8): black is zero, RGB."""
_PHOTOMETRIC_COLOUR: dict[int, JpegColour] = {2: "rgb", 6: "ycbcr"}
_MAX_PAGES = 4096
_MAX_SEGMENT_BYTES = 1 << 28
"""Decoded bytes of one tile or strip: a tile of 9 450² px; whoever claims more is refused."""


def is_tiff(path: Path) -> bool:
    """Whether the file starts as classic TIFF or BigTIFF do (TIFF 6.0, section 2)."""
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


@dataclass(frozen=True)
class TiffPage:
    """One image of a TIFF file."""

    size: LevelSize
    """Width and height in pixels."""
    tile: LevelSize | None
    """Size of its tiles, or None where it is stored in strips."""
    segment_bytes: int
    """Decoded bytes of its largest tile or strip."""
    bits: int
    """Bits of its deepest channel."""
    compression: int
    """How its segments are compressed, as the Compression tag says."""
    has_plain_colour: bool
    """Whether decoding its segments gives grey, RGB or RGBA of 8 bits: no palette, CMYK, inverted
    grey or YCbCr that the decoder leaves as it is, nor more channels."""
    jpeg_colour: JpegColour | None
    """What components of its JPEG segments mean; None where it holds anything else."""
    jpeg_tables: bytes
    """Tables that its JPEG segments share."""
    description: str
    """Its ImageDescription."""
    resolution: tuple[str, float, float] | None
    """Unit (``inch`` or ``centimeter``) and pixels per unit along x and y; None without a unit."""
    is_reduced: bool
    """Whether it hangs below another page as a smaller copy (SubIFD)."""
    page: Any
    """The page as tifffile reads it."""

    @property
    def kind(self) -> str:
        """What its pixels are stored in: ``tile`` or ``strip``."""
        return "tile" if self.tile else "strip"

    def segments(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Byte offsets and byte counts of its tiles or strips."""
        offsets = np.asarray(self.page.dataoffsets, np.int64)
        return offsets, np.asarray(self.page.databytecounts, np.int64)


def read_tiff_pages(path: Path) -> list[TiffPage]:
    """The pages of a TIFF file, SubIFDs after the page they belong to.

    Raises:
        UnreadableSlideError: damaged, or with a size or segment that no slide has.
    """
    with (
        refused_when_damaged(path.name),
        _refused_when_cut_off(),
        tifffile.TiffFile(path) as file,
    ):
        return pages_of(file, path.name)


def pages_of(file: tifffile.TiffFile, name: str) -> list[TiffPage]:
    """The pages of an open TIFF file; see `read_tiff_pages`."""
    pages = [_described(page, reduced) for page, reduced in _all_pages(file)]
    for page in pages:
        _refuse_impossible(page, name, may_be_one_strip=file.is_ndpi)
    return pages


def pages_of_levels(pages: list[TiffPage], sizes: Iterable[LevelSize]) -> dict[int, TiffPage]:
    """The tiled page that holds each level, by the level's number: the first of its size."""
    tiled: dict[LevelSize, TiffPage] = {}
    for page in pages:
        if page.tile:
            tiled.setdefault(page.size, page)
    return {number: tiled[size] for number, size in enumerate(sizes) if size in tiled}


@contextmanager
def refused_when_damaged(name: str) -> Iterator[None]:
    """Turn what tifffile raises on damaged files into `UnreadableSlideError`."""
    try:
        yield
    except TIFF_DAMAGE as error:
        raise UnreadableSlideError(
            f"slide {name} is no sound TIFF file ({error}); copy it again from its source"
        ) from error


@contextmanager
def _refused_when_cut_off() -> Iterator[None]:
    """Raise where tifffile finds that the next page lies beyond the file's end.

    It logs that and goes on with the pages it has, so that the first part of a slide would pass for
    a whole one.
    """
    heard: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("tifffile")
    log.addHandler(listener)
    try:
        yield
    finally:
        log.removeHandler(listener)
    if any("invalid page offset" in message for message in heard):
        raise tifffile.TiffFileError("it is cut off: its next page lies beyond the file's end")


def _all_pages(file: tifffile.TiffFile) -> Iterator[tuple[Any, bool]]:
    seen: set[int] = set()
    for number in range(_MAX_PAGES):
        try:
            page = file.pages[number]
        except IndexError:
            return
        if page.offset in seen:
            # tifffile would follow the circle for ever.
            raise tifffile.TiffFileError(f"page {number} leads back to an earlier one")
        seen.add(page.offset)
        yield page, False
        if page.subifds:
            for reduced in page.pages or ():
                yield reduced, True


def _described(page: Any, is_reduced: bool) -> TiffPage:
    # A damaged tag may hold many values; as an int it fails here, as a tuple it would multiply.
    size = LevelSize(int(page.imagewidth), int(page.imagelength))
    tile = LevelSize(int(page.tilewidth), int(page.tilelength)) if page.is_tiled else None
    segment = tile or LevelSize(size.width, min(int(page.rowsperstrip), size.height))
    channels = int(page.samplesperpixel)
    bits = page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)
    photometric, is_jpeg = int(page.photometric), page.compression in _JPEG_FAMILY
    is_colour_jpeg = page.compression == _JPEG and channels == 3 and bits == 8
    colour = _PHOTOMETRIC_COLOUR.get(photometric) if is_colour_jpeg else None
    return TiffPage(
        size=size,
        tile=tile,
        segment_bytes=segment.width * segment.height * channels * max(1, bits // 8),
        bits=bits,
        compression=int(page.compression),
        has_plain_colour=bits == 8
        and channels in _CHANNELS
        and page.compression != _APERIO_YCBCR
        and (photometric in _PLAIN or (photometric == _YCBCR and is_jpeg)),
        jpeg_colour=colour if page.planarconfig == 1 else None,
        jpeg_tables=page.jpegtables or b"",
        description=page.description,
        resolution=_resolution(page),
        is_reduced=is_reduced,
        page=page,
    )


def _resolution(page: Any) -> tuple[str, float, float] | None:
    """Pixels per unit, where the unit is a length (TIFF 6.0: 2 is inch, 3 is centimetre)."""
    tags = page.tags
    unit = {2: "inch", 3: "centimeter"}.get(int(tags.valueof("ResolutionUnit", default=2)))
    x, y = tags.valueof("XResolution"), tags.valueof("YResolution")
    if unit is None or not x or not y or 0 in (*x, *y):
        return None
    return unit, x[0] / x[1], y[0] / y[1]


def _refuse_impossible(page: TiffPage, name: str, *, may_be_one_strip: bool) -> None:
    sides = [page.size.width, page.size.height]
    if page.tile:
        sides += [page.tile.width, page.tile.height]
    if not (min(sides) >= 1 and max(sides) <= MAX_SIDE_PX and page.segment_bytes):
        raise UnreadableSlideError(
            f"slide {name} claims an image of {page.size} in {page.kind}s of {page.segment_bytes} "
            f"bytes; no slide has that (1 to {MAX_SIDE_PX} px a side), so the file is damaged or "
            f"not a slide"
        )
    # NDPI holds a level as one JPEG strip with restart markers, which OpenSlide reads in parts.
    if page.segment_bytes > _MAX_SEGMENT_BYTES and not may_be_one_strip:
        raise UnreadableSlideError(
            f"slide {name} claims a {page.kind} that decodes to {page.segment_bytes / 1e9:.1f} GB; "
            f"store it with tiles of 256 or 512 px (for example `vips tiffsave IN OUT --tile "
            f"--pyramid --compression jpeg`)"
        )
