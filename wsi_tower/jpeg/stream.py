"""JPEG streams as TIFF slides hold them: what their heads say, and what they leave to the file.

A tile of a TIFF file may be an *abbreviated* stream: its quantisation and Huffman tables stand
once in the file (tag JPEGTables, TIFF Technical Note 2), and its colour space is what the
photometric tag says, whatever the stream's own markers claim. A decoder that knows no TIFF must be
handed tables and colour: `complete` does it without touching the entropy-coded bytes.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "JpegColour",
    "JpegError",
    "JpegHead",
    "complete",
    "read_head",
]

JpegColour: TypeAlias = Literal["ycbcr", "rgb"]
"""What the three components of a stream mean."""

_SOI = b"\xff\xd8"
_EOI = b"\xff\xd9"
_SOS, _END = 0xDA, 0xD9
# JFIF and Adobe, which claim a colour space.
_COLOUR = frozenset({0xE0, 0xEE})
# Any number of FF may stand before a marker's code (T.81, B.1.1.2).
_MARKER = re.compile(rb"\xff+([\x01-\xfe])", re.DOTALL)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# The Adobe marker's last byte says how components are to be read: 0 as RGB, 1 as YCbCr.
_ADOBE: dict[JpegColour, bytes] = {
    "rgb": b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00",
    "ycbcr": b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01",
}


# Horizontal and vertical sampling factors of the first component, the others having one each.
_SUBSAMPLINGS = {0x11: "444", 0x21: "422", 0x22: "420"}


class JpegError(ValueError):
    """A stream is not a sound JPEG image; callers name the file and tile it came from."""


@dataclass(frozen=True, slots=True)
class JpegHead:
    """What a stream's frame header says."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    components: int
    """1 for grey, 3 for colour."""
    subsampling: str = field(default="444", compare=False)
    """How chroma is stored: ``444`` whole, ``422`` and ``420`` halved, else ``other``."""
    byte_count: int = field(default=0, compare=False)
    """Bytes of the stream up to its entropy-coded part."""


def complete(stream: bytes, tables: bytes, colour: JpegColour) -> bytes:
    """A stream that any decoder reads rightly: with its tables and one marker for its colour.

    A JFIF marker would overrule the colour, so it and older Adobe markers are left out.

    Args:
        stream: the tile as the file holds it.
        tables: the file's JPEGTables stream, or nothing where tiles carry their own.
        colour: what the photometric tag says.

    Raises:
        JpegError: the stream or its tables are no JPEG.
    """
    parts = [_SOI, _ADOBE[colour]]
    for header in (tables, stream) if tables else (stream,):
        *segments, last = _segments(header)
        parts += [header[start:end] for marker, start, end in segments if marker not in _COLOUR]
    parts.append(stream[last[1] :])
    return b"".join(parts)


def read_head(stream: bytes) -> JpegHead:
    """Size and components of a stream, abbreviated or not, after a check of both its ends.

    Raises:
        JpegError: not a JPEG, cut off, or without a frame header.
    """
    head = None
    for marker, start, end in _segments(stream):
        if marker in _FRAMES:
            head = _frame(stream[start + 4 : end])
    if marker == _SOS and stream.rfind(_EOI) < end:
        raise JpegError("the JPEG stream is cut off: it has no end marker")
    if marker != _SOS or head is None:
        raise JpegError("the JPEG stream holds no image")
    return replace(head, byte_count=end)


def _frame(content: bytes) -> JpegHead:
    """What a frame header says: precision, height, width, components (T.81, B.2.2)."""
    if len(content) < 6:
        raise JpegError("the JPEG stream has a frame header that is too short")
    precision, height, width, components = struct.unpack_from(">BHHB", content)
    if precision != 8:
        raise JpegError(f"the JPEG stream has {precision} bits a channel, not 8")
    sampling = content[7] if len(content) > 7 and components == 3 else 0x11
    return JpegHead(width, height, components, _SUBSAMPLINGS.get(sampling, "other"))


def _segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of every segment; the start of scan or end of image is the last."""
    if stream[:2] != _SOI:
        raise JpegError("not a JPEG stream: it does not start with FF D8")
    end, marker = len(_SOI), 0
    while marker not in (_SOS, _END):
        start = end
        found = _MARKER.match(stream, start)
        if found is None:
            raise JpegError(f"the JPEG stream has no marker at byte {start}")
        marker, end = found[1][0], found.end()
        if marker != _END:
            end += int.from_bytes(stream[end : end + 2])
        if end > len(stream) or (marker != _END and end < found.end() + 2):
            raise JpegError("the JPEG stream is cut off in its header")
        yield marker, start, end
