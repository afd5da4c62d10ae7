"""What happens to a slide on its way to the scanner: folds, places out of focus, dust.

Each tells how much it covers of any box; `scene` says what that does to the colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
import shapely
from shapely.affinity import translate
from shapely.geometry import LineString, Polygon

from wsi_tower.phantom.cover import Patch, Raster, seen_through
from wsi_tower.phantom.noise import fractal_noise
from wsi_tower.phantom.shapes import (
    largest,
    longest_um,
    point_inside,
    polygons_in,
    ragged_area_um,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.geometry import Level0Box
    from wsi_tower.phantom.settings import PhantomSettings
    from wsi_tower.slides import Rgb

__all__ = ["BlurPatch", "Damage", "Dust", "Fold", "drawn_damage"]

_FOLD_COUNTS = (1 / 3, 0.36, 0.2, 0.32 / 3)
"""How likely a slide has no fold, one, two, three."""
_BLURRED_SLIDES = 0.5
"""Share of slides with a place out of focus."""
_SHARE_OF_TISSUE = 0.6
"""How much of a piece's longest dimension damage takes at most."""
_SHORTEST_UM = 250.0
"""Shorter folds and smaller blurs are not drawn: nobody would call them that."""
_TRIES = 8

_FOLD_PITCH_UM = 3.0
_RIBBON_POINTS = 96
_SOFT_RIM = 0.3
"""Share of a fold's width over which its cover fades towards one rim."""
_STREAKS = 14
"""Streaks side by side in a fold."""

_BLUR_PITCH_UM = 15.0
_BLUR_RIM_CELLS = 2.0
"""Standard deviation of a blur's rim; with this pitch it goes from 2 to 98 % in 120 µm."""

_SPECKS_A_MM2, _FIBRES_A_MM2 = 1.0, 0.03
_MOTE_PITCH_UM = 0.75
_MOTE_RIM_CELLS = 1.3
_BUCKET_UM = 500.0
"""Side of the cells that motes are looked up by."""
_DUSTS = ((0.38, 0.36, 0.34), (0.42, 0.30, 0.20), (0.22, 0.26, 0.42), (0.12, 0.12, 0.13))
"""Share of red, green and blue light that grey, brown, blue and black dust lets through."""


@dataclass(frozen=True, slots=True)
class Fold(Patch):
    """A ribbon of tissue that lies twice: one rim sharp where it turns, the other softer."""

    @classmethod
    def drawn(cls, rng: np.random.Generator, piece_um: Polygon, mpp: float) -> Self | None:
        """A fold 60 to 140 µm wide and 0.8 to 3 mm long, shorter in a small piece of tissue.

        Returns:
            None where the piece has no room for one.
        """
        length_um = min(rng.uniform(800, 3_000), _SHARE_OF_TISSUE * longest_um(piece_um))
        width_um = min(rng.uniform(60, 140), 0.12 * length_um)
        tries = [_ribbon_um(rng, piece_um, length_um, width_um) for _ in range(_TRIES)]
        lying = [(rims, part) for rims in tries if (part := _on_tissue(_closed(*rims), piece_um))]
        if not lying:
            return None
        rims, part = max(lying, key=lambda one: one[1].area)
        area = _closed(*rims)
        raster = Raster.around(area, _FOLD_PITCH_UM)
        cover = _doubled(rng, raster, rims, width_um) * raster.painted(area) / 255
        return cls.made(raster, cover.astype(np.float32), part, mpp)


@dataclass(frozen=True, slots=True)
class BlurPatch(Patch):
    """A place that the scanner saw out of focus; the cover is the share of the blurred image."""

    @classmethod
    def drawn(cls, rng: np.random.Generator, piece_um: Polygon, mpp: float) -> Self | None:
        """A place of 0.4 to 1.5 mm, smaller in a small piece of tissue.

        Returns:
            None where the piece has no room for one.
        """
        length_um = min(rng.uniform(400, 1_500), _SHARE_OF_TISSUE * longest_um(piece_um))
        area = translate(ragged_area_um(rng, length_um), *point_inside(rng, piece_um))
        part = _on_tissue(area, piece_um)
        if part is None:
            return None
        raster = Raster.around(area, _BLUR_PITCH_UM)
        cover = cv2.GaussianBlur(raster.painted(area), (0, 0), _BLUR_RIM_CELLS) / 255
        return cls.made(raster, cover.astype(np.float32), part, mpp)


@dataclass(frozen=True, slots=True)
class Mote:
    """A speck or a fibre."""

    patch: Patch
    """Where it lies."""
    transmission: tuple[float, float, float]
    """Share of red, green and blue light that passes its thickest place."""


@dataclass(frozen=True, slots=True)
class Dust:
    """Specks and fibres on the cover glass."""

    motes: tuple[Mote, ...]
    """All of them."""
    _buckets: dict[tuple[int, int], tuple[Mote, ...]]
    _bucket_l0: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, width_um: float, height_um: float, mpp: float) -> Self:
        """Dust all over a slide: about one speck a square millimetre, and few fibres."""
        area_mm2 = width_um * height_um / 1e6
        shapes = [_speck_um(rng) for _ in range(rng.poisson(_SPECKS_A_MM2 * area_mm2))]
        shapes += [_fibre_um(rng) for _ in range(rng.poisson(_FIBRES_A_MM2 * area_mm2))]
        motes = [
            _mote(rng, translate(shape, rng.uniform(0, width_um), rng.uniform(0, height_um)), mpp)
            for shape in shapes
        ]
        bucket_l0 = _BUCKET_UM / mpp
        return cls(tuple(motes), _sorted_into_buckets(motes, bucket_l0), bucket_l0)

    def touches(self, box: Level0Box) -> bool:
        """Whether any of it reaches into a box."""
        return bool(self._near(box))

    def over(self, rgb: Rgb, box: Level0Box) -> Rgb:
        """The colours of a box, height × width × 3, seen through the dust."""
        for mote in self._near(box):
            rgb = seen_through(rgb, mote.patch.cover(box), mote.transmission)
        return rgb

    def _near(self, box: Level0Box) -> list[Mote]:
        """The motes that reach into a box, each once, in a fixed order."""
        right, lower = box.x + box.width, box.y + box.height
        cells = _cells((box.x, box.y, right, lower), self._bucket_l0)
        found = {id(mote): mote for cell in cells for mote in self._buckets.get(cell, ())}
        return [mote for mote in found.values() if mote.patch.touches(box)]


@dataclass(frozen=True, slots=True)
class Damage:
    """All that is wrong with a slide."""

    folds: tuple[Fold, ...]
    """Tissue lying twice."""
    blurs: tuple[BlurPatch, ...]
    """Places out of focus."""
    dust: Dust
    """What lies on the cover glass."""


def drawn_damage(
    rng: np.random.Generator, pieces_um: list[Polygon], settings: PhantomSettings
) -> Damage:
    """Damage of one slide: up to three folds, on every second slide a blur, and dust."""
    # Streams of their own: that a slide has one fold more leaves its dust where it was.
    folding, blurring, dusting = rng.spawn(3)
    folds = [
        Fold.drawn(folding, _any_of(folding, pieces_um), settings.mpp)
        for _ in range(folding.choice(len(_FOLD_COUNTS), p=_FOLD_COUNTS) if pieces_um else 0)
    ]
    blurs = [
        BlurPatch.drawn(blurring, _any_of(blurring, pieces_um), settings.mpp)
        for _ in range(int(bool(pieces_um) and blurring.random() < _BLURRED_SLIDES))
    ]
    return Damage(
        tuple(fold for fold in folds if fold is not None),
        tuple(blur for blur in blurs if blur is not None),
        Dust.drawn(dusting, settings.width_um, settings.height_um, settings.mpp),
    )


def _any_of(rng: np.random.Generator, pieces_um: list[Polygon]) -> Polygon:
    """A piece of tissue, a larger one more likely."""
    areas = np.array([piece.area for piece in pieces_um])
    return pieces_um[rng.choice(len(pieces_um), p=areas / areas.sum())]


def _on_tissue(area_um: Polygon, piece_um: Polygon) -> Polygon | None:
    """The largest part of an area on a piece, or None where that is too small to be seen."""
    parts = polygons_in(shapely.intersection(area_um, piece_um))
    part = largest(parts) if parts else None
    return part if part is not None and longest_um(part) >= _SHORTEST_UM else None


def _ribbon_um(
    rng: np.random.Generator, piece_um: Polygon, length_um: float, width_um: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both rims of a winding ribbon across a place of tissue, each N × 2, from end to end."""
    along = np.linspace(0, 1, _RIBBON_POINTS)
    turns = rng.normal(0, (0.7, 0.35, 0.12))[:, None]
    phases = rng.uniform(0, 2 * math.pi, (3, 1))
    bends = turns * np.sin(np.array([[2.5], [6.0], [17.0]]) * along + phases)
    heading = rng.uniform(0, 2 * math.pi) + bends.sum(axis=0)
    course = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    middle = np.cumsum(course, axis=0) * length_um / _RIBBON_POINTS
    middle += np.array(point_inside(rng, piece_um)) - middle[_RIBBON_POINTS // 2]
    swelling = 1 + 0.18 * np.sin(9 * along + rng.uniform(0, 6))
    taper = np.clip(np.minimum(along, 1 - along) / 0.12, 0.02, 1) ** 0.7
    aside = (width_um / 2 * swelling * taper)[:, None] * np.stack(
        [-course[:, 1], course[:, 0]], axis=1
    )
    return middle + aside, middle - aside


def _closed(one_rim: NDArray[np.float64], other_rim: NDArray[np.float64]) -> Polygon:
    """The area between two rims."""
    ring = np.concatenate([one_rim, other_rim[::-1]])
    return largest(polygons_in(Polygon(ring).buffer(0)))


def _doubled(
    rng: np.random.Generator,
    raster: Raster,
    rims: tuple[NDArray[np.float64], NDArray[np.float64]],
    width_um: float,
) -> NDArray[np.float32]:
    """Cover across a fold: full at the sharp rim, fading to the soft one, streaked along."""
    from_sharp, from_soft = (raster.distance_um(rim) for rim in rims)
    across = from_sharp / np.maximum(from_sharp + from_soft, raster.pitch_um)
    # Streaks follow the rims but come and go along them.
    side = max(raster.columns, raster.rows)
    drift = fractal_noise(rng, side, 10, 3)[: raster.rows, : raster.columns]
    levels = rng.uniform(0.62, 1, _STREAKS)
    streaks = np.interp(across + 0.05 * drift, np.linspace(0, 1, _STREAKS), levels)
    fading = np.clip(from_soft / (_SOFT_RIM * width_um), 0, 1)
    return np.asarray(streaks * fading * fading * (3 - 2 * fading), np.float32)


def _mote(rng: np.random.Generator, area_um: Polygon, mpp: float) -> Mote:
    raster = Raster.around(area_um, max(_MOTE_PITCH_UM, mpp / 2))
    soft = cv2.GaussianBlur(raster.painted(area_um), (0, 0), _MOTE_RIM_CELLS) / 255
    cover = (soft * rng.uniform(0.5, 1)).astype(np.float32)
    patch = Patch.made(raster, cover, area_um, mpp)
    return Mote(patch, _DUSTS[rng.choice(len(_DUSTS), p=(0.4, 0.25, 0.1, 0.25))])


def _speck_um(rng: np.random.Generator) -> Polygon:
    """A crumb of 3 to 20 µm around the origin, small ones more often."""
    angle = np.sort(rng.uniform(0, 2 * math.pi, 11))
    reach = rng.uniform(0.6, 1, 11)[:, None]
    crumb = Polygon(reach * np.stack([np.cos(angle), rng.uniform(0.5, 1) * np.sin(angle)], axis=1))
    crumb = largest(polygons_in(crumb.buffer(0)))
    size_um = 3 * (20 / 3) ** rng.random()
    return Polygon(np.asarray(crumb.exterior.coords) * size_um / longest_um(crumb))


def _fibre_um(rng: np.random.Generator) -> Polygon:
    """A curled thread of textile 100 to 400 µm long and 2 to 4 µm wide, from the origin."""
    along = np.linspace(0, 1, 60)
    curl = rng.normal(0, (2.0, 0.9))
    heading = rng.uniform(0, 2 * math.pi) + curl[0] * along + curl[1] * np.sin(7 * along)
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    course = np.cumsum(steps, axis=0) * rng.uniform(100, 400) / 60
    return largest(polygons_in(LineString(course).buffer(rng.uniform(1, 2))))


def _sorted_into_buckets(
    motes: list[Mote], bucket_l0: float
) -> dict[tuple[int, int], tuple[Mote, ...]]:
    buckets: dict[tuple[int, int], tuple[Mote, ...]] = {}
    for mote in motes:
        for cell in _cells(mote.patch.bounds_l0, bucket_l0):
            buckets[cell] = (*buckets.get(cell, ()), mote)
    return buckets


def _cells(bounds_l0: tuple[float, float, float, float], side_l0: float) -> list[tuple[int, int]]:
    """Column and row of every cell that these bounds reach into."""
    left, top, right, lower = (math.floor(bound / side_l0) for bound in bounds_l0)
    return [(x, y) for y in range(top, lower + 1) for x in range(left, right + 1)]
