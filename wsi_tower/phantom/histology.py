"""Amounts of stain in tissue, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from wsi_tower.phantom.landscape import Place
from wsi_tower.phantom.nests import VESSEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.geometry import Level0Box
    from wsi_tower.phantom.cells import CellMap
    from wsi_tower.phantom.landscape import Landscape
    from wsi_tower.phantom.nests import Nests
    from wsi_tower.phantom.noise import Field
    from wsi_tower.phantom.nuclei import Sprites
    from wsi_tower.phantom.recipe import Recipe

__all__ = ["Histology", "Stained"]


_CANVAS_MARGIN = 2
_FRINGE = 128
"""Grey of the rim of a hollow, where it is ragged."""


class Stained(NamedTuple):
    """Amounts of stain in a box, as optical densities: height × width each."""

    haematoxylin: Field
    eosin: Field
    fibres: Field
    """Thickness of collagen, 0 to 1, along which a piece's rim frays."""


class _Cavities(NamedTuple):
    """What nests paint: 0 to 1, height × width each."""

    epithelium: Field
    hollow: Field
    blood: Field


@dataclass(frozen=True, slots=True)
class Histology:
    """Tissue without end, as the recipe and the landscape have it."""

    land: Landscape
    """What lies where."""
    cells: CellMap
    """Nests and nuclei."""
    sprites: Sprites
    """What nuclei look like."""
    recipe: Recipe
    """Amounts of stain."""
    mpp: float
    """Micrometres per pixel."""

    def stained(self, box: Level0Box) -> Stained:
        """A box as if it were tissue all over."""
        place = Place.pixels(box, self.mpp)
        (fibres,) = self.land.atlases.fibres.at(*self.land.along_fibres(place))
        granules, borders = self.land.cytoplasm(place)
        haematoxylin, eosin = self._ground(box, place, fibres, granules, borders)
        nuclear, bare = self._nuclear(box)
        haematoxylin *= 0.25 + 0.75 * bare
        eosin *= 0.6 + 0.4 * bare
        haematoxylin += nuclear
        drift = self.land.drift
        haematoxylin *= np.clip(1 + 0.12 * place.of(drift.haematoxylin), 0.5, 1.5)
        eosin *= np.clip(1 + 0.15 * place.of(drift.eosin), 0.4, 1.6)
        return Stained(haematoxylin, eosin, fibres)

    def labels(self, box: Level0Box) -> NDArray[np.uint32]:
        """Labels of the nuclei in a box, 0 between them: height × width."""
        labels = np.zeros((box.height, box.width), np.uint32)
        self.sprites.label(self.cells.nuclei(box, self.mpp), box, labels)
        return labels

    def _ground(
        self, box: Level0Box, place: Place, fibres: Field, granules: Field, borders: Field
    ) -> tuple[Field, Field]:
        """Haematoxylin and eosin of everything but nuclei."""
        recipe = self.recipe
        cavities = self._cavities(box)
        sheet = self.land.sheet(place)
        fat = self.land.fat(place)
        collagen = np.clip(2.1 * fibres - 0.36, 0, 1.05) * (0.55 + 0.9 * granules)
        # Cells in sheets hang together loosely: light shows between them.
        loose = np.float32(0.15) + np.float32(1.5) * granules * np.sqrt(granules)
        plump = np.clip(1.5 * granules + 0.25, 0.2, 1.8) * (1 - 0.3 * borders)
        haematoxylin = recipe.stroma_h * (0.4 + 0.9 * collagen)
        eosin = recipe.stroma_e * collagen
        haematoxylin += sheet * (recipe.sheet_h * loose - haematoxylin)
        eosin += sheet * (recipe.sheet_e * loose - eosin)
        haematoxylin += cavities.epithelium * (recipe.cytoplasm_h * plump - haematoxylin)
        eosin += cavities.epithelium * (recipe.cytoplasm_e * plump - eosin)
        haematoxylin *= np.float32(self.land.basophilia)
        full = (1 - _ragged(cavities.hollow, granules)) * (1 - fat)
        haematoxylin *= full
        eosin *= full
        eosin += cavities.blood * recipe.blood_e * np.clip(2.2 * granules - 0.4, 0.1, 1.3)
        return haematoxylin, eosin

    def _nuclear(self, box: Level0Box) -> tuple[Field, Field]:
        """Chromatin, and how much of the ground shows between nuclei."""
        chromatin = np.zeros((box.height, box.width), np.float32)
        bare = np.ones((box.height, box.width), np.float32)
        self.sprites.lay(self.cells.nuclei(box, self.mpp), box, chromatin, bare)
        return chromatin, bare

    def _cavities(self, box: Level0Box) -> _Cavities:
        nests = self.cells.nests(box, self.mpp)
        # OpenCV smooths outlines badly at the rim of a canvas: that part is cut off.
        margin = _CANVAS_MARGIN
        canvas = np.zeros((3, box.height + 2 * margin, box.width + 2 * margin), np.uint8)
        epithelium, hollow, blood = canvas
        for nest in range(len(nests)):
            rim, lumen = nests.rim_um[nest], nests.lumen_um[nest]
            if nests.cleft_um[nest] > 0:
                self._fill(hollow, box, nests, nest, rim + nests.gap_um(nest), _FRINGE)
            self._fill(hollow, box, nests, nest, rim, 0)
            if nests.kind[nest] != VESSEL:
                self._fill(epithelium, box, nests, nest, rim, 255)
            if lumen.any():
                self._fill(hollow, box, nests, nest, lumen, _FRINGE)
                self._fill(hollow, box, nests, nest, np.maximum(lumen - 2.5, 0), 255)
            if lumen.any() and nests.bloody[nest]:
                self._fill(blood, box, nests, nest, lumen, 255)
        inner = canvas[:, margin:-margin, margin:-margin]
        return _Cavities(*(inner.astype(np.float32) * np.float32(1 / 255)))

    def _fill(
        self,
        canvas: NDArray[np.uint8],
        box: Level0Box,
        nests: Nests,
        nest: int,
        radii_um: NDArray[np.float64],
        grey: int,
    ) -> None:
        corner = (box.x - _CANVAS_MARGIN + 0.5, box.y - _CANVAS_MARGIN + 0.5)
        corners = nests.outline(nest, radii_um) / self.mpp - corner
        # Four bits of subpixel.
        cv2.fillPoly(canvas, [np.rint(corners * 16).astype(np.int32)], grey, cv2.LINE_AA, 4)


def _ragged(hollow: Field, granules: Field) -> Field:
    """Hollows whose rims, painted half, follow the granules of the cells around."""
    rim = np.clip(4 * (hollow + 1.2 * granules - 1.1) + 0.5, 0, 1)
    return np.asarray(np.where((hollow > 0.02) & (hollow < 0.95), rim, hollow), np.float32)
