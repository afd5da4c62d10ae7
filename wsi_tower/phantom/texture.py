"""A slide's texture atlas: fibres, cell nuclei and holes that repeat after about a millimetre.

The scene samples it through smooth warps and thresholds that never repeat, so that no two places
look alike while no pixel has to be invented twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi_tower.phantom.noise import periodic_noise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsi_tower.phantom.noise import Field

__all__ = ["TextureAtlas"]

Channels: TypeAlias = NDArray[np.uint8]

_PERIOD_UM = 1024.0
_MAX_SIDE_PX = 2048
_COARSEST_MPP = 2.0
"""Nuclei are drawn no coarser than this, and averaged for coarser slides."""
_MIN_SIDE_PX = 16
_SUBPIXEL_BITS = 4
_SUBPIXEL = 1 << _SUBPIXEL_BITS


@dataclass(frozen=True, slots=True)
class TextureAtlas:
    """What tissue is made of, as 8-bit amounts: side × side × channels, periodic both ways."""

    stroma: Channels
    """Fibres along x; nests, where epithelium grows first; spindle nuclei; their ranks."""
    cells: Channels
    """Round nuclei; their ranks; what ``nests`` is at their centres."""
    holes: Channels
    """Fat cells; their ranks. A nucleus or hole exists where its rank is below the density."""

    @classmethod
    def drawn(cls, rng: np.random.Generator, mpp: float) -> Self:
        """An atlas for slides of a pixel size."""
        fine_mpp = min(mpp, _COARSEST_MPP)
        side_px = min(round(_PERIOD_UM / fine_mpp), _MAX_SIDE_PX)
        nests = _nests(rng, side_px, fine_mpp)
        spindles = _nuclei(rng, nests, fine_mpp, _SPINDLE)[:2]
        layers = (
            [_fibres(rng, side_px, fine_mpp), nests, *spindles],
            _nuclei(rng, nests, fine_mpp, _ROUND),
            _holes(rng, side_px, fine_mpp),
        )
        return cls(*(_coarsened(np.stack(layer, -1), mpp / fine_mpp) for layer in layers))


@dataclass(frozen=True, slots=True)
class _NucleusKind:
    spacing_um: float
    length_um: tuple[float, float]
    breadth_um: tuple[float, float]
    turn_deg: float
    """Standard deviation of the direction about the x axis."""


_ROUND = _NucleusKind(8.6, (6.5, 9.0), (5.0, 7.0), turn_deg=180)
_SPINDLE = _NucleusKind(13.0, (8.0, 15.0), (2.4, 4.2), turn_deg=14)
_HOLE_SPACING_UM = 62.0


def _fibres(rng: np.random.Generator, side_px: int, mpp: float) -> Channels:
    fine = periodic_noise(rng, side_px, (34 / mpp, 4.5 / mpp))
    bundles = periodic_noise(rng, side_px, (110 / mpp, 24 / mpp))
    speckle = periodic_noise(rng, side_px, (3 / mpp, 3 / mpp))
    straight = _as_bytes(0.5 + 0.12 * fine + 0.14 * bundles + 0.05 * speckle)
    # Collagen is wavy.
    bend = 7 / mpp * periodic_noise(rng, side_px, (70 / mpp, 90 / mpp))
    x, y = np.meshgrid(*2 * [np.arange(side_px, dtype=np.float32)])
    wavy = cv2.remap(straight, x, y + bend, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(wavy, np.uint8)


def _nests(rng: np.random.Generator, side_px: int, mpp: float) -> Channels:
    nests = periodic_noise(rng, side_px, (150 / mpp, 95 / mpp))
    nests += 0.18 * periodic_noise(rng, side_px, (18 / mpp, 18 / mpp))
    return _as_bytes(0.5 + 0.17 * nests)


def _nuclei(
    rng: np.random.Generator, nests: Channels, mpp: float, kind: _NucleusKind
) -> tuple[Channels, Channels, Channels]:
    """Amount of chromatin; the nucleus's rank; ``nests`` at its centre. Side × side each."""
    side_px = len(nests)
    points = rng.permutation(_scattered(rng, side_px, kind.spacing_um / mpp))
    count = len(points)
    radii = np.stack([rng.uniform(*side, count) for side in (kind.length_um, kind.breadth_um)], 1)
    turns = rng.normal(0, kind.turn_deg, count)
    column, row = points.astype(int).T
    # Lowest rank last: what is hidden takes no bite out of what is seen.
    ranks = np.sort(rng.integers(1, 255, count))[::-1]
    nuclei = _Nuclei(points, radii / (2 * mpp), turns, side_px)
    # What belongs to the whole nucleus reaches beyond its blurred rim, so that no rim is mixed.
    reach = 0.8 + 1.5 * _blur_px(mpp)
    amount = _softened(nuclei.painted(rng.integers(120, 250, count), 0, halo=reach), mpp)
    chromatin = 1 + 0.16 * periodic_noise(rng, side_px, (2.2 / mpp, 2.2 / mpp))
    return (
        _as_bytes(amount * chromatin / 255),
        nuclei.painted(ranks, 255, rim=reach),
        nuclei.painted(nests[row, column], 0, rim=reach),
    )


@dataclass(frozen=True, slots=True)
class _Nuclei:
    """Ellipses in an atlas: N × (x, y), N × (radius, radius), N turns in degrees."""

    points: NDArray[np.float64]
    radii: NDArray[np.float64]
    turns: NDArray[np.float64]
    side_px: int

    def painted(
        self, greys: NDArray[np.integer[Any]], ground: int, *, rim: float = 0, halo: float = 0
    ) -> Channels:
        """The ellipses, each in its own grey, later over earlier.

        Args:
            greys: one for each ellipse.
            ground: grey of what no ellipse covers.
            rim: pixels by which the ellipses are grown.
            halo: pixels around an ellipse that are cleared to ``ground`` before it is painted.
        """
        canvas = np.full((self.side_px, self.side_px), ground, np.uint8)
        layers = [(halo, np.full(len(greys), ground))] if halo else []
        layers.append((rim, greys))
        for nucleus, shift in self._with_copies():
            x, y = np.rint((self.points[nucleus] + shift) * _SUBPIXEL).astype(int).tolist()
            turn = float(self.turns[nucleus])
            for grown, shades in layers:
                axes = np.rint((self.radii[nucleus] + grown) * _SUBPIXEL).astype(int).tolist()
                shade = int(shades[nucleus])
                cv2.ellipse(
                    canvas, (x, y), axes, turn, 0, 360, shade, -1, cv2.LINE_AA, _SUBPIXEL_BITS
                )
        return canvas

    def _with_copies(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """Every ellipse, and again on the other side where it reaches over the rim."""
        margin = 2 * float(self.radii.max()) + 2
        for nucleus, (x, y) in enumerate(self.points.tolist()):
            for shift_x in _shifts(x, margin, self.side_px):
                for shift_y in _shifts(y, margin, self.side_px):
                    yield nucleus, (shift_x, shift_y)


def _shifts(position: float, margin: float, side_px: int) -> tuple[int, ...]:
    if position < margin:
        return (0, side_px)
    if position > side_px - margin:
        return (0, -side_px)
    return (0,)


def _holes(rng: np.random.Generator, side_px: int, mpp: float) -> tuple[Channels, Channels]:
    """Emptiness of fat cells, thin walls between them, and each cell's rank."""
    margin = math.ceil(2 * _HOLE_SPACING_UM / mpp)
    points = _scattered(rng, side_px, _HOLE_SPACING_UM / mpp).astype(int)
    seed_ranks = np.zeros((side_px, side_px), np.uint8)
    seed_ranks[points[:, 1], points[:, 0]] = rng.integers(1, 256, len(points))
    seed_ranks = np.pad(seed_ranks, margin, mode="wrap")
    _, owners = cv2.distanceTransformWithLabels(
        (seed_ranks == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # A cell and its copy across the wrap are two owners of one rank.
    rank_of_owner = np.zeros(int(owners.max()) + 1, np.uint8)
    rank_of_owner[owners[seed_ranks > 0]] = seed_ranks[seed_ranks > 0]
    walls = cv2.morphologyEx(owners.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    depth_um = cv2.distanceTransform((~walls).astype(np.uint8), cv2.DIST_L2, 5) * mpp
    # The blur rounds the corners, the steep cut brings the rim back.
    empty = cv2.GaussianBlur(np.clip(depth_um - 1, 0, 1), (0, 0), max(0.6, 7 / mpp))
    inner = slice(margin, margin + side_px)
    return _as_bytes(4.5 * (empty[inner, inner] - 0.62) + 0.5), rank_of_owner[owners[inner, inner]]


def _scattered(rng: np.random.Generator, side_px: int, spacing_px: float) -> NDArray[np.float64]:
    """Points on a jittered hexagonal lattice that fits the period: N × (x, y) in pixels."""
    columns = max(1, round(side_px / spacing_px))
    rows = 2 * max(1, round(side_px / (spacing_px * math.sqrt(3))))
    row, column = np.mgrid[:rows, :columns]
    x = (column + 0.5 * (row % 2)) * side_px / columns
    y = row * side_px / rows
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    return (points + rng.normal(0, 0.2 * spacing_px, points.shape)) % side_px


def _softened(amount: Channels, mpp: float) -> Field:
    """Slightly blurred, as every objective does; wraps round."""
    pad = 8
    padded = np.pad(amount, pad, mode="wrap").astype(np.float32)
    blurred = cv2.GaussianBlur(padded, (0, 0), _blur_px(mpp))
    return np.asarray(blurred[pad:-pad, pad:-pad], np.float32)


def _blur_px(mpp: float) -> float:
    return max(0.45, 0.35 / mpp)


def _coarsened(channels: Channels, factor: float) -> Channels:
    if factor == 1:
        return channels
    side_px = max(_MIN_SIDE_PX, round(len(channels) / factor))
    coarse = cv2.resize(channels, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(coarse, np.uint8)


def _as_bytes(share: NDArray[np.floating[Any]]) -> Channels:
    """Values of 0 to 1 as 0 to 255."""
    scaled: Channels = np.clip(share * 255 + 0.5, 0, 255).astype(np.uint8)
    return scaled
