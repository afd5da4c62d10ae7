"""What compressed tiles claim to decode to, checked before a decoder believes them.

tifffile hands a tile to a decoder that allocates whatever the stream's own header says: a few bytes
can ask for many gigabytes. Tiles are as large as their page says, so any other size is damage.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from wsi_tower.errors import UnreadableSlideError
from wsi_tower.jpeg import JpegError, read_head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsi_tower.geometry import LevelBox, LevelSize
    from wsi_tower.slides.tiff import TiffPage

__all__ = ["refuse_false_claims"]

_JPEG = 7
_JPEG_2000 = frozenset({33003, 33004, 33005, 34712})
# Start of codestream, then the SIZ segment (ITU T.800, annex A.5.1).
_SIZ = b"\xff\x4f\xff\x51"
_SIZE_FIELDS = struct.Struct(">HHIIII")
_HEAD_BYTES = 4096
"""Enough for the boxes that may stand before a JPEG 2000 codestream."""


def refuse_false_claims(page: TiffPage, box: LevelBox, name: str) -> None:
    """Check the header of every JPEG or JPEG 2000 tile that a box touches.

    Raises:
        UnreadableSlideError: a tile is damaged, or claims another size than its page.
    """
    if page.tile is None or page.compression not in (_JPEG, *_JPEG_2000):
        return
    for index, column, row in _touched(page.size, page.tile, box):
        claimed = _claimed(_head(page, index), page.compression)
        if claimed not in ((page.tile.width, page.tile.height), None):
            raise UnreadableSlideError(
                f"slide {name} is damaged at tile column {column}, row {row}: its stream claims "
                f"{claimed}, not {page.tile}; copy the file again from its source"
            )


def _touched(size: LevelSize, tile: LevelSize, box: LevelBox) -> Iterator[tuple[int, int, int]]:
    """Index, column and row of every tile that a box touches."""
    columns = -(-size.width // tile.width)
    for row in range(box.y // tile.height, -(-(box.y + box.height) // tile.height)):
        for column in range(box.x // tile.width, -(-(box.x + box.width) // tile.width)):
            yield row * columns + column, column, row


def _head(page: TiffPage, index: int) -> bytes:
    """What must be seen of a tile to know what it claims; nothing where it has no bytes."""
    offsets, byte_counts = page.segments()
    if index >= len(offsets):
        return b""
    count = int(byte_counts[index])
    file = page.page.parent.filehandle
    with file.lock:
        file.seek(int(offsets[index]))
        content: bytes = file.read(count if page.compression == _JPEG else min(count, _HEAD_BYTES))
    return content


def _claimed(stream: bytes, compression: int) -> tuple[int, int] | str | None:
    """Width and height that a stream claims, or why it claims none; None for no stream at all."""
    if not stream:
        return None
    if compression == _JPEG:
        try:
            head = read_head(stream)
        except JpegError as error:
            return str(error)
        return head.width, head.height
    start = stream.find(_SIZ)
    if start < 0 or len(stream) < start + 4 + _SIZE_FIELDS.size:
        return "no JPEG 2000 image"
    _, _, right, bottom, left, top = _SIZE_FIELDS.unpack_from(stream, start + 4)
    return right - left, bottom - top
