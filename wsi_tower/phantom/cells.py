"""Where nuclei lie: along glands, inside nests, in sheets, and between collagen."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from wsi_tower.phantom.landscape import Place
from wsi_tower.phantom.nests import (
    ANGLES,
    BLOCK_UM,
    GLAND,
    NEST,
    Nests,
    Sites,
    nests_within,
    sites,
)
from wsi_tower.phantom.nuclei import Nuclei
from wsi_tower.phantom.recipe import (
    ENDOTHELIUM,
    EPITHELIUM,
    LYMPHOCYTE,
    STROMA,
    TUMOUR,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from wsi_tower.geometry import Level0Box
    from wsi_tower.phantom.landscape import Landscape
    from wsi_tower.phantom.recipe import Recipe

__all__ = ["CellMap"]

Block = tuple[int, int]
"""Column and row of a block."""

_REACH_UM = 150.0
"""No nest reaches farther from its centre."""
_NUCLEUS_UM = 16.0
"""No nucleus does."""
_NUMBERS_A_BLOCK = 4096
_SITES, _NESTS, _NUCLEI = range(3)


@dataclass(slots=True)
class CellMap:
    """Nests and nuclei of a slide, made block by block when they are first asked for."""

    land: Landscape
    """The slide."""
    recipe: Recipe
    """Sizes and distances."""
    key: tuple[int, ...]
    """What the slide's randomness starts from."""
    extent_um: tuple[float, float]
    """Width and height of the slide."""
    _sites: dict[Block, Sites] = field(default_factory=dict)
    _nests: dict[Block, Nests] = field(default_factory=dict)
    _nuclei: dict[Block, Nuclei] = field(default_factory=dict)

    def nests(self, box: Level0Box, mpp: float) -> Nests:
        """Nests that reach into a box."""
        frame = _frame_um(box, mpp)
        blocks = self._blocks(frame, _REACH_UM)
        found = [self._nests_of(block) for block in blocks]
        return Nests.joined(found).near(*frame)

    def nuclei(self, box: Level0Box, mpp: float) -> Nuclei:
        """Nuclei that reach into a box, in an order that does not depend on the box."""
        left, top, right, bottom = frame = _frame_um(box, mpp)
        # A block's nests reach beyond it, and their nuclei with them.
        blocks = self._blocks(frame, _REACH_UM + _NUCLEUS_UM)
        found = Nuclei.joined([self._nuclei_of(block) for block in blocks])
        near = (found.x_um > left - _NUCLEUS_UM) & (found.x_um < right + _NUCLEUS_UM)
        near &= (found.y_um > top - _NUCLEUS_UM) & (found.y_um < bottom + _NUCLEUS_UM)
        return found.chosen(near)

    @property
    def is_remembered(self) -> bool:
        """Whether any block is held."""
        return bool(self._sites or self._nests or self._nuclei)

    def forget_above(self, top_um: float) -> None:
        """Let go of blocks that lie wholly above a line; they are made again if asked for."""
        row = int((top_um - 2 * _REACH_UM) // BLOCK_UM) - 1
        for kept in (self._sites, self._nests, self._nuclei):
            for block in [block for block in list(kept) if block[1] < row]:
                kept.pop(block, None)

    def _blocks(
        self, frame: tuple[float, float, float, float], margin_um: float
    ) -> Iterator[Block]:
        left, top, right, bottom = frame
        for row in range(
            int((top - margin_um) // BLOCK_UM), int((bottom + margin_um) // BLOCK_UM) + 1
        ):
            for column in range(
                int((left - margin_um) // BLOCK_UM), int((right + margin_um) // BLOCK_UM) + 1
            ):
                yield column, row

    def _rng(self, block: Block, stream: int) -> np.random.Generator:
        # Blocks left of and above the slide have negative places; seeds may not.
        return np.random.default_rng([*self.key, stream, block[0] + 8, block[1] + 8])

    def _sites_of(self, block: Block) -> Sites:
        return _remembered(
            self._sites,
            block,
            lambda: sites(self._rng(block, _SITES), block, self.land, self.recipe),
        )

    def _nests_of(self, block: Block) -> Nests:
        def made() -> Nests:
            around = Sites.joined([self._sites_of(near) for near in _around(block)])
            own = self._sites_of(block)
            return nests_within(self._rng(block, _NESTS), own, around, self.land, self.recipe)

        return _remembered(self._nests, block, made)

    def _nuclei_of(self, block: Block) -> Nuclei:
        def made() -> Nuclei:
            around = Nests.joined([self._nests_of(near) for near in _around(block)])
            own = self._nests_of(block)
            planting = _Planting(self._rng(block, _NUCLEI), block, self.land, self.recipe)
            number = self._number(block)
            return planting.nuclei(own, around, number)

        return _remembered(self._nuclei, block, made)

    def _number(self, block: Block) -> int:
        columns = int(self.extent_um[0] // BLOCK_UM) + 3
        return ((block[1] + 1) * columns + block[0] + 1) * _NUMBERS_A_BLOCK


@dataclass(frozen=True, slots=True)
class _Planting:
    """Puts nuclei into one block."""

    rng: np.random.Generator
    block: Block
    land: Landscape
    recipe: Recipe

    def nuclei(self, own: Nests, around: Nests, number: int) -> Nuclei:
        """All nuclei of the block, numbered upwards."""
        parts = [self._lining(own, nest) for nest in np.flatnonzero(own.kind != NEST).tolist()]
        parts += [self._filling(own, nest) for nest in np.flatnonzero(own.kind == NEST).tolist()]
        parts += [self._sheet(around), self._between(around)]
        found = Nuclei.joined(parts)
        place = Place.points(found.x_um, found.y_um)
        found = found.chosen((self.land.tissue.at(place) > 0.5) & (self.land.fat(place) < 0.1))
        label = (number + np.arange(len(found))) * 8 + found.kind
        return Nuclei(
            found.x_um, found.y_um, found.kind, self._sized(found), found.turn, found.look,
            label.astype(np.uint32),
        )  # fmt: skip

    def _sized(self, found: Nuclei) -> NDArray[np.float64]:
        """Size ranks that drift; those of tumour vary the more, the higher its grade."""
        place = Place.points(found.x_um, found.y_um)
        drift, grade = place.of(self.land.drift.size), place.of(self.land.drift.grade)
        spread = np.where(found.kind == TUMOUR, np.clip(0.2 + 0.07 * grade, 0.08, 0.4), 0.15)
        rank = 0.5 + 0.13 * drift + spread * self.rng.standard_normal(len(found))
        return np.clip(rank, 0, 0.999)

    def _of_kind(
        self, kind: int | NDArray[Any], x_um: NDArray[Any], y_um: NDArray[Any], turn: NDArray[Any]
    ) -> Nuclei:
        count = len(x_um)
        kinds = np.broadcast_to(np.asarray(kind, np.int64), count)
        look = self.rng.uniform(0, 1, count)
        label = np.zeros(count, np.uint32)
        return Nuclei(x_um, y_um, kinds, np.zeros(count), turn, look, label)

    def _lining(self, own: Nests, nest: int) -> Nuclei:
        """Nuclei along the wall of a gland, in two rows, or of a vessel, in one."""
        is_gland = own.kind[nest] == GLAND
        rows = ((5.4, 1.0), (10.8, 0.62)) if is_gland else ((1.2, 1.0),)
        spacing_um = self.recipe.gland_spacing_um if is_gland else 16.0
        parts = [self._row(own, nest, depth, share, spacing_um) for depth, share in rows]
        x_um, y_um, angle = (np.concatenate(column) for column in zip(*parts, strict=True))
        turn = angle if is_gland else angle + math.pi / 2
        turn = turn + self.rng.normal(0, 0.25, len(turn))
        return self._of_kind(EPITHELIUM if is_gland else ENDOTHELIUM, x_um, y_um, turn)

    def _row(
        self, own: Nests, nest: int, depth_um: float, share: float, spacing_um: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Points and directions along the inside of an outline."""
        radii_um = own.rim_um[nest] - depth_um
        closed = np.append(radii_um, radii_um[0])
        angles = np.append(ANGLES, 2 * math.pi)
        corners = np.stack([closed * np.cos(angles), closed * np.sin(angles)])
        arc_um = np.append(0, np.cumsum(np.hypot(*np.diff(corners))))
        places = max(1, round(float(arc_um[-1]) / spacing_um))
        at_um = (np.arange(places) + self.rng.uniform(-0.28, 0.28, places)) * arc_um[-1] / places
        angle = np.interp(at_um, arc_um, angles)
        radius_um = np.interp(at_um, arc_um, closed) + self.rng.normal(0, 0.9, places)
        kept = (self.rng.uniform(0, 1, places) < share) & (radius_um > 3.5)
        hollow_um = np.interp(angle, ANGLES, own.lumen_um[nest], period=2 * math.pi)
        kept &= radius_um > hollow_um + (1.5 if own.kind[nest] == GLAND else -9)
        angle, radius_um = angle[kept], radius_um[kept]
        x_um = own.x_um[nest] + radius_um * np.cos(angle)
        return x_um, own.y_um[nest] + radius_um * np.sin(angle), angle

    def _filling(self, own: Nests, nest: int) -> Nuclei:
        """Nuclei all over a nest but its hollow."""
        centre = own.x_um[nest], own.y_um[nest]
        side_um = 2 * float(own.rim_um[nest].max())
        here = Place.points(own.x_um[[nest]], own.y_um[[nest]])
        drift = float(here.of(self.land.drift.size)[0])
        spacing_um = self.recipe.tumour_spacing_um * math.exp(0.10 * drift)
        x_um, y_um = self._lattice(spacing_um, side_um, centre)
        dx, dy = x_um - centre[0], y_um - centre[1]
        angle, radius_um = np.arctan2(dy, dx), np.hypot(dx, dy)
        rim_um = np.interp(angle, ANGLES, own.rim_um[nest], period=2 * math.pi)
        hollow_um = np.interp(angle, ANGLES, own.lumen_um[nest], period=2 * math.pi)
        kept = (radius_um < rim_um - 4.5) & (radius_um > hollow_um + 3.5 * (hollow_um > 0))
        return self._of_kind(TUMOUR, x_um[kept], y_um[kept], self._any_turn(int(kept.sum())))

    def _sheet(self, around: Nests) -> Nuclei:
        """Lymphocytes, or solid tumour, where cells lie in sheets."""
        parts = []
        for kind, spacing_um in (
            (LYMPHOCYTE, self.recipe.lymphocyte_spacing_um),
            (TUMOUR, self.recipe.tumour_spacing_um),
        ):
            x_um, y_um = self._lattice(spacing_um, BLOCK_UM, self._centre)
            place = Place.points(x_um, y_um)
            is_tumour = self.land.tumour.at(place) > 0.5
            kept = (is_tumour == (kind == TUMOUR)) & (
                self.rng.uniform(0, 0.94, len(x_um)) < self.land.sheet(place) - 0.03
            )
            x_um, y_um = x_um[kept], y_um[kept]
            free = ~around.hold(x_um, y_um, 1.0)
            turn = self._any_turn(int(free.sum()))
            parts.append(self._of_kind(kind, x_um[free], y_um[free], turn))
        return Nuclei.joined(parts)

    def _between(self, around: Nests) -> Nuclei:
        """Spindle nuclei along collagen, and stray lymphocytes, outside everything else."""
        x_um, y_um = self._lattice(self.recipe.stroma_spacing_um, BLOCK_UM, self._centre)
        place = Place.points(x_um, y_um)
        cellularity = place.of(self.land.drift.cellularity)
        inflamed = np.clip(0.10 + 0.12 * place.of(self.land.drift.lymphoid), 0.02, 0.6)
        lot = self.rng.uniform(0, 1, len(x_um))
        kept = lot < np.clip(0.55 + 0.22 * cellularity + inflamed, 0.1, 0.97)
        kept &= (self.land.sheet(place) < 0.5) & ~around.hold(x_um, y_um, 3.0)
        x_um, y_um, lot, inflamed = x_um[kept], y_um[kept], lot[kept], inflamed[kept]
        stray = lot < inflamed
        turn = self.land.fibre_direction(x_um, y_um) + self.rng.normal(0, 0.22, len(x_um))
        return self._of_kind(np.where(stray, LYMPHOCYTE, STROMA), x_um, y_um, turn)

    @property
    def _centre(self) -> tuple[float, float]:
        return (self.block[0] + 0.5) * BLOCK_UM, (self.block[1] + 0.5) * BLOCK_UM

    def _lattice(
        self, spacing_um: float, side_um: float, centre_um: tuple[float, float]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Jittered hexagonal lattice that fills a square without doubling its rims."""
        columns = max(1, round(side_um / spacing_um))
        rows = max(2, 2 * round(side_um / (spacing_um * math.sqrt(3))))
        row, column = (grid.ravel() for grid in np.mgrid[:rows, :columns])
        jitter = self.rng.normal(0, 0.2 * spacing_um, (2, len(row)))
        x_um = (column + 0.25 + 0.5 * (row % 2)) * side_um / columns
        y_um = (row + 0.5) * side_um / rows
        left, top = centre_um[0] - side_um / 2, centre_um[1] - side_um / 2
        return left + x_um + jitter[0], top + y_um + jitter[1]

    def _any_turn(self, count: int) -> NDArray[np.float64]:
        return self.rng.uniform(0, math.pi, count)


def _frame_um(box: Level0Box, mpp: float) -> tuple[float, float, float, float]:
    right, bottom = box.x + box.width, box.y + box.height
    return box.x * mpp, box.y * mpp, right * mpp, bottom * mpp


def _around(block: Block) -> Iterator[Block]:
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            yield block[0] + column, block[1] + row


_T = TypeVar("_T")


def _remembered(kept: dict[Block, _T], block: Block, made: Callable[[], _T]) -> _T:
    found = kept.get(block)
    if found is None:
        # Two threads may make the same block; they make it alike.
        found = kept[block] = made()
    return found
