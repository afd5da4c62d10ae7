"""One slide's scene: where tissue, glass and ink lie, and the colour of any box of it.

A box is rendered from its position alone, so that slides come out the same whatever the order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import cv2
import numpy as np
import shapely
from shapely.geometry import Polygon

from wsi_tower.phantom.ink import PenStroke
from wsi_tower.phantom.noise import SmoothField
from wsi_tower.phantom.shapes import pen_stroke_um, tissue_pieces_um
from wsi_tower.phantom.stains import Staining
from wsi_tower.phantom.texture import TextureAtlas

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.geometry import Level0Box
    from wsi_tower.phantom.noise import Field
    from wsi_tower.phantom.settings import PhantomSettings
    from wsi_tower.slides import Rgb

__all__ = ["Scene"]

_OUTLINES, _STAINS, _FIELDS, _ATLAS, _PEN = range(5)
"""Streams of randomness of a slide: a change in one leaves the others as they were."""

_EDGE_UM = 4.0
"""Softness of a piece's rim."""
_GRAIN = 1.1
"""Standard deviation of the camera's noise in grey levels."""


@dataclass(frozen=True, slots=True)
class _Drift:
    """What changes smoothly over millimetres; each field has mean 0 and deviation 1."""

    warp_x: SmoothField
    warp_y: SmoothField
    cellularity: SmoothField
    epithelium: SmoothField
    eosin: SmoothField
    fat: SmoothField

    @classmethod
    def drawn(cls, rng: np.random.Generator, settings: PhantomSettings) -> Self:
        tile = settings.tile_px
        extent = (settings.size.width + tile, settings.size.height + tile)
        spacings_um = (2_400.0, 2_400.0, 1_300.0, 1_700.0, 1_500.0, 1_100.0)
        return cls(*(SmoothField.over(rng, extent, um / settings.mpp) for um in spacings_um))


@dataclass(frozen=True, slots=True)
class _Amounts:
    """The atlas's channels at a box, 0 to 1: channels × height × width each."""

    stroma: Field
    cells: Field
    holes: Field


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that one phantom shows, and the truth about it."""

    tissue_l0: list[Polygon]
    """Pieces of tissue, with their holes, in level-0 pixels."""
    pen: PenStroke | None
    """The pen stroke, where the slide has one."""
    staining: Staining
    """The slide's colours."""
    mpp: float
    """Micrometres per level-0 pixel."""
    _atlas: TextureAtlas
    _drift: _Drift
    _grain: Field
    _turn: float

    @classmethod
    def drawn(cls, settings: PhantomSettings, index: int) -> Self:
        """The scene of the slide with this 0-based index."""
        outlines, stains, fields, atlas, pen = (
            np.random.default_rng([settings.seed, index, stream])
            for stream in (_OUTLINES, _STAINS, _FIELDS, _ATLAS, _PEN)
        )
        pieces_um = tissue_pieces_um(outlines, settings.width_um, settings.height_um)
        tissue_l0 = [shapely.transform(piece, lambda xy: xy / settings.mpp) for piece in pieces_um]
        shapely.prepare(tissue_l0)
        colour = settings.pen_colour(index)
        stroke = None
        if colour is not None:
            stroke_um = pen_stroke_um(pen, pieces_um, settings.width_um, settings.height_um)
            stroke = PenStroke.drawn(pen, stroke_um, colour, settings.mpp)
        return cls(
            tissue_l0,
            stroke,
            Staining.drawn(stains),
            settings.mpp,
            TextureAtlas.drawn(atlas, settings.mpp),
            _Drift.drawn(fields, settings),
            fields.normal(0, _GRAIN, (2 * settings.tile_px,) * 2).astype(np.float32),
            float(fields.uniform(0, math.pi)),
        )

    def tile(self, box: Level0Box) -> Rgb | None:
        """The colours of one of the file's tiles, or None where all of it is bare glass."""
        rgb = self._tissue(box)
        if self.pen is None or not self.pen.touches(box):
            return rgb
        if rgb is None:
            rgb = np.full((box.height, box.width, 3), self.staining.glass, np.uint8)
        return self.pen.over(rgb, box)

    def _tissue(self, box: Level0Box) -> Rgb | None:
        margin = 3 * self._edge_px
        frame = shapely.box(
            box.x - margin, box.y - margin, box.x + box.width + margin, box.y + box.height + margin
        )
        near = [piece for piece in self.tissue_l0 if piece.intersects(frame)]
        if not near:
            return None
        haematoxylin, eosin, fibres = self._stained(box)
        if not any(piece.contains(frame) for piece in near):
            present = self._presence(near, frame, box, fibres)
            haematoxylin *= present
            eosin *= present
        left, top = box.x * 7919 % box.width, box.y * 7919 % box.height
        grain = self._grain[top : top + box.height, left : left + box.width]
        return self.staining.rgb(haematoxylin, eosin, grain)

    def _stained(self, box: Level0Box) -> tuple[Field, Field, Field]:
        """Haematoxylin, eosin and fibres of a box as if it were tissue all over."""
        drift, amounts = self._drift, self._sampled(box)
        fibres, nests, spindles, spindle_ranks = amounts.stroma
        rounds, round_ranks, round_nests = amounts.cells
        holes, hole_ranks = amounts.holes
        cellularity = drift.cellularity(box)
        shore = 0.57 - 0.14 * drift.epithelium(box)
        epithelium = np.clip(12 * (nests - shore) + 0.5, 0, 1)
        # Inside nests round cells crowd; outside there are strays, many where it is inflamed.
        in_nest = round_nests > shore
        crowding = np.where(in_nest, 0.72 + 0.16 * cellularity, 0.22 * cellularity - 0.18)
        nuclei = rounds * (round_ranks < np.clip(crowding, 0.02, 0.99))
        spindles *= (1 - epithelium) * (
            spindle_ranks < np.clip(0.4 + 0.18 * cellularity, 0.1, 0.99)
        )
        np.maximum(nuclei, spindles, out=nuclei)
        fat = drift.fat(box)
        fat = np.clip(np.maximum(0.6 * (fat - 1.4), 0.008 * fat), 0, 0.8)
        clefts = np.clip(9 * (0.2 - fibres), 0, 1) * (1 - epithelium)
        solid = (1 - holes * (hole_ranks < fat)) * (1 - clefts)
        haematoxylin = (0.03 + 0.09 * epithelium + 0.75 * nuclei) * solid
        eosin = 0.05 + (0.5 - 0.2 * epithelium) * fibres
        eosin *= solid * (1 - 0.35 * nuclei) * np.clip(1 + 0.2 * drift.eosin(box), 0.4, 1.6)
        return haematoxylin, eosin, fibres

    def _sampled(self, box: Level0Box) -> _Amounts:
        """The atlas at a box: fibres and cells strongly warped, holes a little and upright."""
        warp_x, warp_y = self._drift.warp_x(box), self._drift.warp_y(box)
        reach = np.float32(700 / self.mpp)
        x = np.arange(box.width, dtype=np.float32)[None, :]
        y = np.arange(box.height, dtype=np.float32)[:, None]
        cos, sin = math.cos(self._turn), math.sin(self._turn)
        side_px = len(self._atlas.stroma)
        # The corner is wrapped in double precision: single would blur far from the origin.
        along = (cos * box.x + sin * box.y) % side_px + cos * x + sin * y + reach * warp_x
        across = (cos * box.y - sin * box.x) % side_px + cos * y - sin * x + reach * warp_y
        slight = np.float32(0.25) * reach
        right, down = box.x % side_px + x + slight * warp_x, box.y % side_px + y + slight * warp_y
        return _Amounts(
            _wrapped(self._atlas.stroma, along, across),
            _wrapped(self._atlas.cells, along, across),
            _wrapped(self._atlas.holes, right, down),
        )

    @property
    def _edge_px(self) -> float:
        return max(0.7, _EDGE_UM / self.mpp)

    def _presence(
        self, pieces: list[Polygon], frame: Polygon, box: Level0Box, fibres: Field
    ) -> Field:
        """How much of each pixel is tissue, its rim frayed along the fibres: 0 to 1."""
        margin = math.ceil(3 * self._edge_px)
        canvas = np.zeros((box.height + 2 * margin, box.width + 2 * margin), np.uint8)
        for piece in pieces:
            _fill(
                canvas, shapely.clip_by_rect(piece, *frame.bounds), box.x - margin, box.y - margin
            )
        soft = cv2.GaussianBlur(canvas, (0, 0), self._edge_px)[margin:-margin, margin:-margin]
        present: Field = np.clip(3 * (soft / np.float32(255) - 0.8 + 0.6 * fibres) + 0.5, 0, 1)
        return present


def _wrapped(atlas: NDArray[np.uint8], x: Field, y: Field) -> Field:
    """An atlas read at fractional positions, 0 to 1: channels × height × width."""
    sampled = cv2.remap(atlas, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.moveaxis(sampled, -1, 0).astype(np.float32) / np.float32(255)


def _fill(canvas: NDArray[np.uint8], area: shapely.Geometry, left: float, top: float) -> None:
    """Paint the polygons of an area, given in level-0 pixels, on a canvas with this corner."""
    for part in shapely.get_parts(area):
        if not isinstance(part, Polygon):
            continue
        # Pixel centres lie at halves in our frame and at whole numbers in OpenCV's.
        rings = [
            np.rint((np.asarray(ring.coords) - (left + 0.5, top + 0.5)) * 16).astype(np.int32)
            for ring in (part.exterior, *part.interiors)
        ]
        cv2.fillPoly(canvas, rings, 255, cv2.LINE_AA, 4)
