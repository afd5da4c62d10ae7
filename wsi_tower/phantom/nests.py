"""Glands, nests of tumour cells and small vessels: star-shaped outlines on an endless lattice.

A block of the slide has its own stream of randomness, so that every block is the same whichever
tile asks for it first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_tower.phantom.landscape import Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.phantom.landscape import Landscape
    from wsi_tower.phantom.recipe import Recipe

__all__ = ["BLOCK_UM", "GLAND", "NEST", "VESSEL", "Nests", "Sites", "nests_within", "sites"]

BLOCK_UM = 256.0
"""Side of a block."""
GLAND, NEST, VESSEL = range(3)
_SITES_A_SIDE = 4
_MOST_UM = 144.0
"""No outline reaches farther from its centre."""
_DIRECTIONS = 48
ANGLES = np.arange(_DIRECTIONS) * (2 * math.pi / _DIRECTIONS)
"""Directions in which an outline's radius is known."""


@dataclass(frozen=True, slots=True)
class Sites:
    """Places of a block that hold a gland, a nest or a vessel, one row each."""

    x_um: NDArray[np.float64]
    y_um: NDArray[np.float64]
    kind: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: list[Sites]) -> Sites:
        """All of them, in order."""
        return cls(
            np.concatenate([part.x_um for part in parts]),
            np.concatenate([part.y_um for part in parts]),
            np.concatenate([part.kind for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Nests:
    """Outlines, one row each."""

    x_um: NDArray[np.float64]
    """Centres: N."""
    y_um: NDArray[np.float64]
    """Likewise."""
    kind: NDArray[np.int64]
    """`GLAND`, `NEST` or `VESSEL`: N."""
    rim_um: NDArray[np.float64]
    """Radius of the outline in each direction of `ANGLES`: N × directions."""
    lumen_um: NDArray[np.float64]
    """Radius of the hollow inside, 0 where there is none: N × directions."""
    bloody: NDArray[np.bool_]
    """Whether the hollow holds blood: N."""
    cleft_um: NDArray[np.float64]
    """Width of the gap that shrinkage left around it, 0 for none: N."""

    def __len__(self) -> int:
        return len(self.x_um)

    @classmethod
    def joined(cls, parts: list[Nests]) -> Nests:
        """All of them, in order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))

    def near(self, left_um: float, top_um: float, right_um: float, bottom_um: float) -> Nests:
        """Those that may reach into a rectangle."""
        reach_um = self.rim_um.max(axis=1, initial=0) + self.cleft_um
        near = (self.x_um + reach_um > left_um) & (self.x_um - reach_um < right_um)
        near &= (self.y_um + reach_um > top_um) & (self.y_um - reach_um < bottom_um)
        return self.chosen(near)

    def chosen(self, which: NDArray[Any]) -> Nests:
        """Those that a mask or an index names."""
        return Nests(*(getattr(self, name)[which] for name in _COLUMNS))

    def gap_um(self, nest: int) -> NDArray[np.float64]:
        """Width of the gap around one of them in each direction: open on one side only."""
        open_side = np.cos(ANGLES - 40 * self.x_um[nest])
        gap_um: NDArray[np.float64] = np.clip(self.cleft_um[nest] * (0.35 + open_side), -1, None)
        return gap_um

    def outline(self, nest: int, radii_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corners of an outline of one of them in micrometres: directions × (x, y)."""
        x_um = self.x_um[nest] + radii_um * np.cos(ANGLES)
        y_um = self.y_um[nest] + radii_um * np.sin(ANGLES)
        return np.stack([x_um, y_um], axis=1)

    def hold(self, x_um: NDArray[Any], y_um: NDArray[Any], margin_um: float) -> NDArray[np.bool_]:
        """Which points lie in one of them, or no farther than a margin from it."""
        dx, dy = x_um[:, None] - self.x_um, y_um[:, None] - self.y_um
        direction = np.rint(np.arctan2(dy, dx) / (2 * math.pi / _DIRECTIONS)).astype(int)
        rim_um = self.rim_um[np.arange(len(self)), direction % _DIRECTIONS]
        held: NDArray[np.bool_] = (np.hypot(dx, dy) < rim_um + margin_um).any(axis=1)
        return held


_COLUMNS = tuple(column.name for column in fields(Nests))


def sites(
    rng: np.random.Generator, block: tuple[int, int], land: Landscape, recipe: Recipe
) -> Sites:
    """The sites of one block."""
    pitch_um = BLOCK_UM / _SITES_A_SIDE
    row, column = (grid.ravel() for grid in np.mgrid[:_SITES_A_SIDE, :_SITES_A_SIDE])
    shift = rng.uniform(-0.34, 0.34, (2, len(row)))
    x_um = block[0] * BLOCK_UM + (column + 0.5 + shift[0]) * pitch_um
    y_um = block[1] * BLOCK_UM + (row + 0.5 + shift[1]) * pitch_um
    place = Place.points(x_um, y_um)
    share = np.clip(0.36 + 0.20 * place.of(land.drift.glandular), 0.05, 0.92)
    lot = rng.uniform(0, 1, len(row))
    kept = (lot < share) & (land.sheet(place) == 0) & (land.tissue.at(place) > 0)
    kept &= land.fat(place) < 0.5
    kind = np.where(land.tumour.at(place) > 0.5, NEST, GLAND)
    kind[rng.uniform(0, 1, len(row)) < recipe.vessels] = VESSEL
    return Sites(x_um[kept], y_um[kept], kind[kept])


def nests_within(
    rng: np.random.Generator, own: Sites, around: Sites, land: Landscape, recipe: Recipe
) -> Nests:
    """The outlines at a block's own sites, kept apart from all sites around.

    Args:
        rng: the block's randomness.
        own: the block's sites.
        around: these and those of the eight blocks around.
        land: the slide.
        recipe: sizes and distances.
    """
    count = len(own.x_um)
    place = Place.points(own.x_um, own.y_um)
    radius_um = _radii(rng, own.kind, place, land, recipe)
    shape = _star(rng, count, own.kind) * _stretched(rng, own, land)
    room_um = _room(own, around, recipe.septum_um * rng.uniform(0.6, 1.5, (count, 1)))
    rim_um = _both_bounds(radius_um[:, None] * shape, room_um)
    height_um = recipe.epithelium_um * np.exp(0.15 * place.of(land.drift.size))
    return Nests(
        own.x_um,
        own.y_um,
        own.kind,
        rim_um,
        _lumens(rng, own.kind, rim_um, height_um),
        (own.kind == VESSEL) & (rng.uniform(0, 1, count) < 0.6),
        np.where(rng.uniform(0, 1, count) < 0.3, rng.uniform(1.5, 5, count), 0),
    )


def _radii(
    rng: np.random.Generator,
    kind: NDArray[np.int64],
    place: Place,
    land: Landscape,
    recipe: Recipe,
) -> NDArray[np.float64]:
    typical = np.array([recipe.gland_radius_um, recipe.nest_radius_um, 11.0])[kind]
    drifted = np.exp(0.2 * place.of(land.drift.glandular))
    radii: NDArray[np.float64] = (
        typical * drifted * np.exp(rng.normal(0, recipe.radius_spread, len(kind)))
    )
    return radii


def _star(rng: np.random.Generator, count: int, kind: NDArray[np.int64]) -> NDArray[np.float64]:
    """Wobbly circles of mean radius 1; nests of tumour wobble more: N × directions."""
    orders = np.arange(2, 9)
    strength = np.array([0.12, 0.26, 0.10])[kind][:, None] / (orders - 0.6)
    swing = rng.normal(0, strength)
    phase = rng.uniform(0, 2 * math.pi, (count, len(orders)))
    waves = np.cos(orders[:, None] * ANGLES + phase[..., None])
    star: NDArray[np.float64] = np.clip(1 + np.einsum("no,noa->na", swing, waves), 0.35, 2)
    return star


def _stretched(rng: np.random.Generator, own: Sites, land: Landscape) -> NDArray[np.float64]:
    """Ellipses of area π along the collagen, as radii: N × directions."""
    most = np.array([1.5, 2.4, 1.6])[own.kind]
    stretch = rng.uniform(1, most)[:, None]
    away = ANGLES - land.fibre_direction(own.x_um, own.y_um)[:, None]
    radii: NDArray[np.float64] = 1 / np.sqrt(
        np.cos(away) ** 2 / stretch + np.sin(away) ** 2 * stretch
    )
    return radii


def _room(own: Sites, around: Sites, septum_um: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each site may reach in each direction: to the middle between it and the next."""
    dx, dy = around.x_um - own.x_um[:, None], around.y_um - own.y_um[:, None]
    squared = dx**2 + dy**2
    towards = dx[..., None] * np.cos(ANGLES) + dy[..., None] * np.sin(ANGLES)
    ahead = (towards > 1e-6) & (squared > 0)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = np.where(ahead, squared[..., None] / (2 * towards), np.inf)
    room: NDArray[np.float64] = np.maximum(middle.min(axis=1, initial=_MOST_UM) - septum_um / 2, 4)
    return room


def _both_bounds(
    wanted_um: NDArray[np.float64], room_um: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The smaller of two radii, its corners rounded: N × directions."""
    smaller = (wanted_um**-4 + room_um**-4) ** -0.25
    rounded: NDArray[np.float64] = (
        np.roll(smaller, 1, axis=1) + 2 * smaller + np.roll(smaller, -1, axis=1)
    ) / 4
    return rounded


def _lumens(
    rng: np.random.Generator,
    kind: NDArray[np.int64],
    rim_um: NDArray[np.float64],
    height_um: NDArray[Any],
) -> NDArray[np.float64]:
    """Hollows: wide in glands and vessels, small and irregular in some nests: N × directions."""
    count = len(kind)
    height_um = height_um[:, None] * rng.uniform(0.8, 1.25, (count, 1))
    gland = rim_um - height_um * _star(rng, count, np.full(count, NEST)) ** 1.2
    vessel = rim_um - 2.5
    hollow = (rng.uniform(0, 1, count) < 0.8)[:, None]
    nest = hollow * (0.5 * rim_um - 6) * _star(rng, count, np.full(count, NEST))
    lumen = np.choose(kind[:, None], [gland, nest, vessel])
    # A slit narrower than this has closed.
    closed = np.median(lumen, axis=1) < 3
    hollow_um: NDArray[np.float64] = np.where(closed[:, None], 0, np.maximum(lumen, 0))
    return hollow_um
