"""Cell nuclei: what kinds there are, what each looks like, and how they are laid on a tile."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from wsi_tower.geometry import Level0Box
    from wsi_tower.phantom.noise import Field
    from wsi_tower.phantom.recipe import NucleusKind, Recipe

__all__ = ["Nuclei", "Sprites"]

_FINEST_UM = 0.5
"""Sprites are drawn on a grid no coarser than this and averaged to the slide's pixels."""


@dataclass(frozen=True, slots=True)
class Nuclei:
    """Nuclei of one place, one row each."""

    x_um: NDArray[np.float64]
    """Centres in micrometres from the slide's corner: N."""
    y_um: NDArray[np.float64]
    """Likewise."""
    kind: NDArray[np.int64]
    """Index into `KINDS`: N."""
    size: NDArray[np.float64]
    """Size rank in its kind, 0 smallest to 1 largest: N."""
    turn: NDArray[np.float64]
    """Direction of the long axis in radians, from x towards y: N."""
    look: NDArray[np.float64]
    """0 to 1: which of the looks of its size: N."""
    label: NDArray[np.uint32]
    """Number of the nucleus on its slide, not 0: N."""

    def __len__(self) -> int:
        return len(self.x_um)

    @classmethod
    def joined(cls, parts: list[Nuclei]) -> Nuclei:
        """All of them, in order."""
        if not parts:
            nothing = np.zeros(0)
            ints = nothing.astype(np.int64)
            return cls(nothing, nothing, ints, nothing, nothing, nothing, ints.astype(np.uint32))
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))

    def chosen(self, which: NDArray[Any]) -> Nuclei:
        """Those that a mask or an index names."""
        return Nuclei(*(getattr(self, name)[which] for name in _COLUMNS))


_COLUMNS = tuple(column.name for column in fields(Nuclei))


@dataclass(frozen=True, slots=True)
class Sprites:
    """Pictures of nuclei: kind → sizes × looks × turns, each a small square of chromatin."""

    chromatin: tuple[Field, ...]
    """Haematoxylin times cover, by kind: pictures × side × side."""
    thinning: tuple[Field, ...]
    """What is left of the ground, 1 minus cover, by kind: pictures × side × side."""
    mpp: float
    """Micrometres per pixel."""
    shape: tuple[int, int, int]
    """How many sizes, looks and turns each kind has."""

    @classmethod
    def drawn(cls, rng: np.random.Generator, recipe: Recipe, mpp: float) -> Self:
        """A slide's own set."""
        shape = (recipe.sprite_sizes, recipe.sprite_looks, recipe.sprite_turns)
        pictures = [_pictures(rng, kind, shape, mpp) for kind in recipe.nuclei]
        covers = [np.ascontiguousarray(1 - cover) for _, cover in pictures]
        return cls(tuple(chromatin for chromatin, _ in pictures), tuple(covers), mpp, shape)

    def lay(self, nuclei: Nuclei, box: Level0Box, haematoxylin: Field, ground: Field) -> None:
        """Lay nuclei over a box.

        Args:
            nuclei: some may lie outside.
            box: the place.
            haematoxylin: 0 where there is none; gets the nuclei's own: height × width.
            ground: 1 where there is none; gets what shows between nuclei: height × width.
        """
        for _, kind, picture, target, source in self._placed(nuclei, box):
            thinning = self.thinning[kind][picture][source]
            ground[target] *= thinning
            patch = haematoxylin[target]
            patch *= thinning
            patch += self.chromatin[kind][picture][source]

    def label(self, nuclei: Nuclei, box: Level0Box, labels: NDArray[np.uint32]) -> None:
        """Write the label of each nucleus where it covers half a pixel or more."""
        for row, kind, picture, target, source in self._placed(nuclei, box):
            labels[target][self.thinning[kind][picture][source] <= 0.5] = nuclei.label[row]

    def _placed(self, nuclei: Nuclei, box: Level0Box) -> Iterator[_Placed]:
        """The nuclei whose pictures reach into a box, in order."""
        left, top, side = self._corners(nuclei, box)
        within = (left < box.width) & (top < box.height) & (left + side > 0) & (top + side > 0)
        rows = np.flatnonzero(within)
        columns = (nuclei.kind, self._picture(nuclei), left, top, side)
        places = zip(*(column[rows].tolist() for column in columns), strict=True)
        for row, (kind, picture, *place) in zip(rows.tolist(), places, strict=True):
            yield row, kind, picture, *_overlap(place[0], place[1], place[2], box)

    def _corners(
        self, nuclei: Nuclei, box: Level0Box
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Left, top and side of each nucleus's picture in pixels of the box."""
        side = np.array([picture.shape[-1] for picture in self.chromatin])[nuclei.kind]
        left = np.rint(nuclei.x_um / self.mpp - side / 2).astype(np.int64) - box.x
        top = np.rint(nuclei.y_um / self.mpp - side / 2).astype(np.int64) - box.y
        return left, top, side

    def _picture(self, nuclei: Nuclei) -> NDArray[np.int64]:
        sizes, looks, turns = self.shape
        size = np.clip(nuclei.size * sizes, 0, sizes - 1).astype(np.int64)
        look = np.clip(nuclei.look * looks, 0, looks - 1).astype(np.int64)
        turn = np.rint(nuclei.turn / math.pi * turns).astype(np.int64) % turns
        picture: NDArray[np.int64] = (size * looks + look) * turns + turn
        return picture


_Window = tuple[slice, slice]
_Placed = tuple[int, int, int, _Window, _Window]
"""Row, kind and picture of a nucleus, where it lands in the box, and which part of it does."""


def _overlap(left: int, top: int, side: int, box: Level0Box) -> tuple[_Window, _Window]:
    """The part of a box that a picture covers, and that part of the picture."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, box.width), min(top + side, box.height)
    source = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    return (slice(y0, y1), slice(x0, x1)), source


def _pictures(
    rng: np.random.Generator, kind: NucleusKind, shape: tuple[int, int, int], mpp: float
) -> tuple[Field, Field]:
    """Chromatin and cover of every size, look and turn: pictures × side × side each."""
    sizes, looks, turns = shape
    fine = math.ceil(mpp / _FINEST_UM)
    pixel_um = mpp / fine
    scales = np.exp(kind.size_spread * np.linspace(-1.6, 1.6, sizes))
    reach_um = kind.length_um / 2 * float(scales[-1]) * (1 + 2.5 * kind.wobble) + 1
    side = 2 * math.ceil(reach_um / mpp) + 1
    drawn = [
        _picture(rng, kind, scale, math.pi * turn / turns, side * fine, pixel_um)
        for scale in scales
        for _ in range(looks)
        for turn in range(turns)
    ]
    chromatin, cover = (
        np.stack(planes).reshape(-1, side, fine, side, fine).mean(axis=(2, 4))
        for planes in zip(*drawn, strict=True)
    )
    return chromatin.astype(np.float32), cover.astype(np.float32)


def _picture(
    rng: np.random.Generator,
    kind: NucleusKind,
    scale: float,
    turn: float,
    side: int,
    pixel_um: float,
) -> tuple[Field, Field]:
    """Chromatin and cover of one nucleus: side × side each."""
    length, breadth = kind.length_um * scale, kind.breadth_um * scale
    # Lengths and breadths vary against each other, so that the area keeps to the scale.
    stretch = math.exp(rng.normal(0, kind.shape_spread))
    along, across = _own_axes(side, pixel_um, turn)
    bend = kind.bend * rng.normal() * (along / length) ** 2 * breadth
    u, v = 2 * along / (length * stretch), 2 * (across + bend) * stretch / breadth
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    rim = 1 + sum(
        rng.normal(0, kind.wobble / order) * np.cos(order * angle + rng.uniform(0, 6.28))
        for order in (2, 3, 4, 5)
    )
    # Distance from the rim in micrometres, positive inside.
    depth_um = ((rim - radius) * math.sqrt(length * breadth) / 2).astype(np.float32)
    cover = np.clip(depth_um / kind.softness_um + 0.5, 0, 1)
    chromatin = kind.chromatin * rng.uniform(1 - kind.chromatin_spread, 1 + kind.chromatin_spread)
    amount = chromatin * _chromatin(rng, kind, depth_um, pixel_um)
    return (amount * cover).astype(np.float32), cover.astype(np.float32)


def _own_axes(side: int, pixel_um: float, turn: float) -> tuple[Field, Field]:
    """Micrometres along and across the long axis: side × side each."""
    steps = (np.arange(side, dtype=np.float32) - (side - 1) / 2) * pixel_um
    x, y = np.meshgrid(steps, steps)
    cos, sin = math.cos(turn), math.sin(turn)
    return cos * x + sin * y, cos * y - sin * x


def _chromatin(
    rng: np.random.Generator, kind: NucleusKind, depth_um: Field, pixel_um: float
) -> Field:
    """Relative darkness inside a nucleus: clumps, a membrane, nucleoli; mean near 1."""
    white = rng.standard_normal(depth_um.shape).astype(np.float32)
    clumps = cv2.GaussianBlur(white, (0, 0), max(0.4, kind.clump_um / pixel_um))
    clumps = clumps * np.float32(kind.clumping / max(float(clumps.std()), 1e-6))
    membrane = kind.membrane * np.exp(-((depth_um - 0.5) ** 2) / 0.4)
    amount = 1 - 0.3 * kind.membrane + membrane + clumps
    for _ in range(rng.poisson(kind.nucleoli)):
        amount += _nucleolus(rng, kind, depth_um, pixel_um)
    return np.asarray(np.clip(amount, 0.15, 2.2), np.float32)


def _nucleolus(
    rng: np.random.Generator, kind: NucleusKind, depth_um: Field, pixel_um: float
) -> Field:
    inside = np.argwhere(depth_um > 0.35 * depth_um.max())
    row, column = inside[rng.integers(len(inside))]
    rows, columns = np.indices(depth_um.shape)
    distance_um = np.hypot(rows - row, columns - column) * pixel_um
    radius_um = kind.nucleolus_um / 2 * rng.uniform(0.7, 1.2)
    return np.asarray(0.9 * np.clip((radius_um - distance_um) / 0.5 + 0.5, 0, 1), np.float32)
