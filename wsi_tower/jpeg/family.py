"""Streams of one file or store, which mostly begin with the very same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsi_tower.jpeg.coding import Reduction, decode, decode_reduced
from wsi_tower.jpeg.stream import JpegColour, JpegError, JpegHead, complete, read_head

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["StreamFamily"]

_EOI = b"\xff\xd9"


@dataclass(frozen=True, slots=True)
class _Known:
    """A head that was parsed, and what it becomes when completed."""

    content: bytes
    head: JpegHead
    completed: bytes


class StreamFamily:
    """Streams that share tables and colour; a head like that of the stream before is not parsed.

    Safe to share between threads.
    """

    def __init__(self, tables: bytes, colour: JpegColour) -> None:
        """See `complete` for both."""
        self.tables = tables
        self.colour = colour
        self._known: _Known | None = None

    def head(self, stream: bytes) -> JpegHead:
        """What the stream's head says.

        Raises:
            JpegError: as `read_head`.
        """
        return self._of(stream).head

    @property
    def known_head(self) -> bytes:
        """The head parsed last: a stream's bytes up to its entropy-coded part; empty at first."""
        return self._known.content if self._known else b""

    def forget(self) -> None:
        """Parse the next head whatever it is."""
        self._known = None

    def complete(self, stream: bytes) -> bytes:
        """The stream with the shared tables and its colour; see `complete`."""
        known = self._of(stream)
        return known.completed + stream[len(known.content) :]

    def decode(
        self, stream: bytes, *, fast: bool = False, into: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Pixels of a stream as it is stored; see `decode`."""
        return decode(self.complete(stream), fast=fast, into=into)

    def decode_reduced(self, stream: bytes, reduction: Reduction) -> NDArray[np.uint8]:
        """Reduced pixels of a stream as it is stored; see `decode_reduced`."""
        return decode_reduced(self.complete(stream), self.head(stream), reduction)

    def _of(self, stream: bytes) -> _Known:
        known = self._known
        if known is None or not stream.startswith(known.content):
            head = read_head(stream)
            content = stream[: head.byte_count]
            completed = complete(content, self.tables, self.colour)
            # One assignment, so that threads see the old one or the new one.
            self._known = known = _Known(content, head, completed)
        elif stream.rfind(_EOI) < len(known.content):
            raise JpegError("the JPEG stream is cut off: it has no end marker")
        return known
