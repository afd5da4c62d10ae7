"""One slide's scene: where tissue, glass and ink lie, and the colour of any box of it.

A box is rendered from its position alone, so that slides come out the same whatever the order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

import cv2
import numpy as np
import shapely

from wsi_tower.geometry import Level0Box
from wsi_tower.phantom.cells import CellMap
from wsi_tower.phantom.damage import drawn_damage
from wsi_tower.phantom.histology import Histology
from wsi_tower.phantom.ink import PenStroke
from wsi_tower.phantom.landscape import AreaRaster, Drift, Landscape, filled
from wsi_tower.phantom.nuclei import Sprites
from wsi_tower.phantom.recipe import RECIPE
from wsi_tower.phantom.shapes import pen_stroke_um, tissue_pieces_um
from wsi_tower.phantom.stains import Staining
from wsi_tower.phantom.texture import TextureAtlases
from wsi_tower.phantom.tumour import tumour_areas_um

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry import Polygon

    from wsi_tower.phantom.damage import Damage
    from wsi_tower.phantom.histology import Stained
    from wsi_tower.phantom.noise import Field
    from wsi_tower.phantom.settings import PhantomSettings
    from wsi_tower.slides import Rgb

__all__ = ["Scene"]

_OUTLINES, _STAINS, _FIELDS, _ATLAS, _PEN, _NUCLEI, _CELLS, _TUMOUR, _DAMAGE, _GRAINS = range(10)
"""Streams of randomness of a slide: a change in one leaves the others as they were."""

_EDGE_UM = 4.0
"""Softness of a piece's rim."""
_GRAIN = 1.1
"""Standard deviation of the camera's noise in grey levels."""
_GRAIN_PX = 509
_BLUR_UM = 3.0
"""Standard deviation of the blur where the scanner was out of focus."""
_ROWS_KEPT = 8
"""Rows of tiles whose cells are kept: several threads do not work on the same one."""


class _Piece(NamedTuple):
    """Tissue in a box."""

    stained: Stained
    present: Field
    """How much of each pixel is tissue, 0 to 1: height × width."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that one phantom shows, and the truth about it."""

    tissue_l0: list[Polygon]
    """Pieces of tissue, with their holes, in level-0 pixels."""
    tumour_l0: list[Polygon]
    """Tumour in tissue, in level-0 pixels."""
    damage: Damage
    """Folds, places out of focus, dust."""
    pen: PenStroke | None
    """The pen stroke, where the slide has one."""
    staining: Staining
    """The slide's colours."""
    mpp: float
    """Micrometres per level-0 pixel."""
    _histology: Histology
    _grain: NDArray[np.int16]

    @classmethod
    def drawn(cls, settings: PhantomSettings, index: int) -> Self:
        """The scene of the slide with this 0-based index.

        Raises:
            AnnotationError: the file of tumour outlines cannot be read.
            SettingsError: it has no usable outline.
        """
        outlines, stains, pen, tumour, damage, grain = (
            np.random.default_rng([settings.seed, index, stream])
            for stream in (_OUTLINES, _STAINS, _PEN, _TUMOUR, _DAMAGE, _GRAINS)
        )
        pieces_um = tissue_pieces_um(outlines, settings.width_um, settings.height_um)
        tumour_um = tumour_areas_um(settings, index, tumour, pieces_um)
        return cls(
            _in_pixels(pieces_um, settings.mpp),
            _in_pixels(tumour_um, settings.mpp),
            drawn_damage(damage, pieces_um, settings),
            _pen(pen, settings, index, pieces_um),
            Staining.drawn(stains),
            settings.mpp,
            _histology(settings, index, pieces_um, tumour_um),
            grain.normal(0, _GRAIN, (_GRAIN_PX, _GRAIN_PX, 1)).round().astype(np.int16),
        )

    def tile(self, box: Level0Box) -> Rgb | None:
        """The colours of one of the file's tiles, or None where all of it is bare glass."""
        if box.x == 0:
            self._histology.cells.forget_above((box.y - _ROWS_KEPT * box.height) * self.mpp)
        rgb = self._focused(box)
        if rgb is not None:
            rgb = self._grainy(rgb, box)
        for cover in (self.damage.dust, self.pen):
            if cover is not None and cover.touches(box):
                if rgb is None:
                    rgb = np.full((box.height, box.width, 3), self.staining.glass, np.uint8)
                rgb = cover.over(rgb, box)
        return rgb

    def nuclei(self, box: Level0Box) -> NDArray[np.uint32] | None:
        """Labels of the nuclei in a box, or None where there is no tissue: height × width."""
        piece = self._tissue(box)
        if piece is None:
            return None
        labels = self._histology.labels(box)
        labels[piece.present < 0.5] = 0
        return labels

    def _focused(self, box: Level0Box) -> Rgb | None:
        """Tissue as the scanner sees it, blurred where it was out of focus."""
        blurs = [blur for blur in self.damage.blurs if blur.touches(box)]
        if not blurs:
            return self._coloured(box)
        sigma_px = max(0.5, _BLUR_UM / self.mpp)
        margin = math.ceil(3 * sigma_px)
        wide = Level0Box(
            box.x - margin, box.y - margin, box.width + 2 * margin, box.height + 2 * margin
        )
        sharp = self._coloured(wide)
        if sharp is None:
            return None
        share = np.maximum.reduce([blur.cover(box) for blur in blurs])[..., None]
        inner = (slice(margin, -margin),) * 2
        blurred = cv2.GaussianBlur(sharp, (0, 0), sigma_px)[inner]
        mixed: Rgb = (sharp[inner] * (1 - share) + blurred * share + 0.5).astype(np.uint8)
        return mixed

    def _coloured(self, box: Level0Box) -> Rgb | None:
        piece = self._tissue(box)
        if piece is None:
            return None
        thickness = piece.present
        for fold in self.damage.folds:
            if fold.touches(box):
                thickness = thickness * (1 + fold.cover(box))
        stained = piece.stained
        return self.staining.rgb(stained.haematoxylin * thickness, stained.eosin * thickness)

    def _grainy(self, rgb: Rgb, box: Level0Box) -> Rgb:
        """With the camera's noise."""
        # A prime side, so that the pattern meets no grid of tiles.
        rows, columns = (
            (start + np.arange(count)) % len(self._grain)
            for start, count in ((box.y, box.height), (box.x, box.width))
        )
        grain = self._grain[rows[:, None], columns]
        noisy: Rgb = np.clip(rgb + grain, 0, 255).astype(np.uint8)
        return noisy

    def _tissue(self, box: Level0Box) -> _Piece | None:
        """What a box holds of tissue, or None where there is none near."""
        margin = 3 * self._edge_px
        right, bottom = box.x + box.width + margin, box.y + box.height + margin
        frame = (box.x - margin, box.y - margin, right, bottom)
        # Several threads ask at once, which prepared geometries do not survive: rasters do.
        share = self._histology.land.tissue.share(*(end * self.mpp for end in frame))
        if share == "none":
            return None
        stained = self._histology.stained(box)
        if share == "all":
            return _Piece(stained, np.ones((box.height, box.width), np.float32))
        return _Piece(stained, self._presence(frame, box, stained.fibres))

    @property
    def _edge_px(self) -> float:
        return max(0.7, _EDGE_UM / self.mpp)

    def _presence(
        self, frame: tuple[float, float, float, float], box: Level0Box, fibres: Field
    ) -> Field:
        """How much of each pixel is tissue, its rim frayed along the fibres: 0 to 1."""
        margin = math.ceil(3 * self._edge_px)
        canvas = np.zeros((box.height + 2 * margin, box.width + 2 * margin), np.uint8)
        for piece in self.tissue_l0:
            for part in shapely.get_parts(shapely.clip_by_rect(piece, *frame)):
                if part.geom_type == "Polygon":
                    filled(canvas, part, corner=(box.x - margin, box.y - margin))
        soft = cv2.GaussianBlur(canvas, (0, 0), self._edge_px)[margin:-margin, margin:-margin]
        present: Field = np.clip(3 * (soft / np.float32(255) - 0.8 + 0.6 * fibres) + 0.5, 0, 1)
        return present


def _in_pixels(areas_um: list[Polygon], mpp: float) -> list[Polygon]:
    return [shapely.transform(area, lambda xy: xy / mpp) for area in areas_um]


def _pen(
    rng: np.random.Generator, settings: PhantomSettings, index: int, pieces_um: list[Polygon]
) -> PenStroke | None:
    colour = settings.pen_colour(index)
    if colour is None:
        return None
    stroke_um = pen_stroke_um(rng, pieces_um, settings.width_um, settings.height_um)
    return PenStroke.drawn(rng, stroke_um, colour, settings.mpp)


def _histology(
    settings: PhantomSettings, index: int, pieces_um: list[Polygon], tumour_um: list[Polygon]
) -> Histology:
    fields, atlas, nuclei = (
        np.random.default_rng([settings.seed, index, stream])
        for stream in (_FIELDS, _ATLAS, _NUCLEI)
    )
    extent_um = (settings.width_um, settings.height_um)
    land = Landscape(
        tissue=AreaRaster.of(pieces_um, extent_um),
        tumour=AreaRaster.of(tumour_um, extent_um),
        drift=Drift.drawn(fields, extent_um),
        turn=float(fields.uniform(0, math.pi)),
        lymphoid_rich=float(fields.normal(0, 0.4)),
        fat_rich=float(fields.normal(0, 0.4)),
        basophilia=float(np.exp(fields.normal(0, 0.35))),
        atlases=TextureAtlases.drawn(atlas, settings.mpp),
    )
    cells = CellMap(land, RECIPE, (settings.seed, index, _CELLS), extent_um)
    sprites = Sprites.drawn(nuclei, RECIPE, settings.mpp)
    return Histology(land, cells, sprites, RECIPE, settings.mpp)
