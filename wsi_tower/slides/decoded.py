"""A bounded memory of decoded tiles, shared by the threads that read a slide."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from wsi_tower.slides.info import Rgb

__all__ = ["DecodedTiles"]

Key: TypeAlias = tuple[int, int]
"""Number of a tile, and how far it was reduced."""


class DecodedTiles:
    """The tiles decoded last, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._tiles: OrderedDict[Key, Rgb] = OrderedDict()
        self._changing = threading.Lock()

    def get(self, key: Key) -> Rgb | None:
        """A tile's pixels, to be read only; None where they are not held."""
        with self._changing:
            pixels = self._tiles.get(key)
            if pixels is not None:
                self._tiles.move_to_end(key)
            return pixels

    def keep(self, key: Key, pixels: Rgb) -> None:
        """Hold a tile's pixels, and let go of those not asked for longest."""
        with self._changing:
            if key in self._tiles:
                return
            self._tiles[key] = pixels
            self.held_bytes += pixels.nbytes
            while self.held_bytes > self.max_bytes:
                self.held_bytes -= self._tiles.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Let go of all."""
        with self._changing:
            self._tiles.clear()
            self.held_bytes = 0
