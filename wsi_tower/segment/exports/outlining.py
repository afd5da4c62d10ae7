"""Outlines of a slide's objects, each given out as soon as no later band can add to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import shapely
from numcodecs.zstd import Zstd

from wsi_tower.tissue import many_outlines, mask_outlines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from shapely.geometry import MultiPolygon

__all__ = ["BandOutliner"]

_LARGEST_PX = 1 << 26
"""Pixels of an object's box up to which it is outlined as it is; a larger one, no nucleus, is
outlined on every second, third, … pixel."""


_SMALL_PX = 1 << 14
_AT_ONCE = 512
"""Objects, each with a box of at most so many pixels, that are outlined at once."""


class _Piece(NamedTuple):
    """An object's part in one band."""

    top: int
    left: int
    pixels: NDArray[np.bool_]


class _Kept(NamedTuple):
    """A piece put aside: its bits, compressed, so that a region as large as a slide can wait."""

    top: int
    left: int
    shape: tuple[int, ...]
    packed: bytes

    @classmethod
    def of(cls, piece: _Piece) -> _Kept:
        packed = Zstd(level=1).encode(np.packbits(piece.pixels))
        return cls(piece.top, piece.left, piece.pixels.shape, packed)

    def piece(self) -> _Piece:
        bits = np.unpackbits(np.frombuffer(Zstd().decode(self.packed), np.uint8))
        pixels = bits[: self.shape[0] * self.shape[1]].reshape(self.shape).view(np.bool_)
        return _Piece(self.top, self.left, pixels)


@dataclass
class BandOutliner:
    """Takes bands of object ids from the top down."""

    simplify_px: float
    """How far simplifying may move an outline."""
    _open: dict[int, list[_Kept]] = field(default_factory=dict)

    def take(self, top: int, ids: NDArray[np.uint32]) -> Iterator[tuple[int, MultiPolygon]]:
        """Objects that end in this band: id, and outline in pixels of the picture.

        Args:
            top: number of the band's first row.
            ids: of the band's pixels, 0 for none: (rows, width).
        """
        begins, goes_on = (set(np.unique(row).tolist()) for row in (ids[0], ids[-1]))
        for number in [one for one in self._open if one not in begins]:
            yield number, self._outlined(number, None)
        whole: list[tuple[int, _Piece]] = []
        for number, piece in _pieces(top, ids):
            if number in goes_on:
                self._open.setdefault(number, []).append(_Kept.of(piece))
            elif number in self._open or piece.pixels.size > _SMALL_PX:
                yield number, self._outlined(number, piece)
            else:
                whole.append((number, piece))
                if len(whole) == _AT_ONCE:
                    yield from _outlines(whole, self.simplify_px)
                    whole.clear()
        yield from _outlines(whole, self.simplify_px)

    def finish(self) -> Iterator[tuple[int, MultiPolygon]]:
        """The objects that the picture's lower rim ends."""
        for number in list(self._open):
            yield number, self._outlined(number, None)

    def _outlined(self, number: int, last: _Piece | None) -> MultiPolygon:
        pieces = [kept.piece() for kept in self._open.pop(number, [])]
        return _outline(pieces if last is None else [*pieces, last], self.simplify_px)


def _pieces(top: int, ids: NDArray[np.uint32]) -> Iterator[tuple[int, _Piece]]:
    """Every object's pixels in a band, cut to their box."""
    places = np.flatnonzero(ids)
    if not places.size:
        return
    found = ids.ravel()[places]
    order = np.argsort(found, kind="stable")
    rows, columns = np.divmod(places[order], ids.shape[1])
    numbers, starts = np.unique(found[order], return_index=True)
    boxes = zip(
        numbers.tolist(),
        starts.tolist(),
        [*starts[1:].tolist(), len(places)],
        np.minimum.reduceat(columns, starts).tolist(),
        np.maximum.reduceat(columns, starts).tolist(),
        strict=True,
    )
    for number, start, stop, left, right in boxes:
        # Flat places come row by row, and sorting kept their order.
        first, last = int(rows[start]), int(rows[stop - 1])
        pixels = np.zeros((last - first + 1, right - left + 1), np.bool_)
        pixels[rows[start:stop] - first, columns[start:stop] - left] = True
        yield number, _Piece(top + first, left, pixels)


def _outlines(
    whole: list[tuple[int, _Piece]], simplify_px: float
) -> Iterator[tuple[int, MultiPolygon]]:
    """Outlines of many small objects, each in one piece."""
    if not whole:
        return
    outlines = many_outlines([piece.pixels for _, piece in whole], simplify_px)
    corners = np.array([(piece.left, piece.top) for _, piece in whole])
    points, owners = shapely.get_coordinates(outlines, return_index=True)
    moved = shapely.set_coordinates(np.array(outlines, object), points + corners[owners])
    yield from zip((number for number, _ in whole), moved.tolist(), strict=True)


def _outline(pieces: list[_Piece], simplify_px: float) -> MultiPolygon:
    """One outline of an object's pieces, in pixels of the picture."""
    top, left = min(one.top for one in pieces), min(one.left for one in pieces)
    bottom = max(one.top + one.pixels.shape[0] for one in pieces)
    right = max(one.left + one.pixels.shape[1] for one in pieces)
    step = 1
    while (bottom - top) * (right - left) > _LARGEST_PX * step**2:
        step += 1
    canvas = np.zeros((-(-(bottom - top) // step), -(-(right - left) // step)), np.bool_)
    for piece in pieces:
        first, from_left = -(piece.top - top) % step, -(piece.left - left) % step
        part = piece.pixels[first::step, from_left::step]
        y, x = (piece.top - top + first) // step, (piece.left - left + from_left) // step
        canvas[y : y + part.shape[0], x : x + part.shape[1]] |= part
    outline = mask_outlines(canvas, simplify_px / step)
    moved: MultiPolygon = shapely.transform(outline, lambda points: points * step + (left, top))
    return moved
