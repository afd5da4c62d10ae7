"""What changes over a slide: where tissue and tumour lie, and the fields that drift over it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import cv2
import numpy as np

from wsi_tower.phantom.noise import SmoothField
from wsi_tower.phantom.texture import FAT_DEPTHS_UM

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from shapely.geometry import Polygon

    from wsi_tower.geometry import Level0Box
    from wsi_tower.phantom.noise import Field, Weights
    from wsi_tower.phantom.texture import Atlas, TextureAtlases

__all__ = ["AreaRaster", "Drift", "Landscape", "Place", "filled"]

_PITCH_UM = 8.0
_FULL = 255
_MAX_CELLS = 6000
"""Longest side of a raster of areas."""
_REACH_UM = 520.0
_SWIRL_UM = 60.0
_FRONTIER_UM = 500.0


Share: TypeAlias = Literal["none", "some", "all"]


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere to ask for values: the pixels of a box, or loose points."""

    x_um: Field
    """Micrometres from the slide's left edge; broadcasts with ``y_um``."""
    y_um: Field
    """Micrometres from its upper edge."""
    box: Level0Box | None = None
    """The box, where it is one."""
    mpp: float = 1.0
    """Micrometres per pixel of the box."""
    _weights: dict[float, Weights] = field(default_factory=dict)
    """Weights of fields by their spacing: several fields share one."""

    @classmethod
    def pixels(cls, box: Level0Box, mpp: float) -> Self:
        """The pixel centres of a box."""
        x_um = ((box.x + np.arange(box.width) + 0.5) * mpp).astype(np.float32)
        y_um = ((box.y + np.arange(box.height) + 0.5) * mpp).astype(np.float32)
        return cls(x_um[None, :], y_um[:, None], box, mpp)

    @classmethod
    def points(cls, x_um: NDArray[Any], y_um: NDArray[Any]) -> Self:
        """Loose points."""
        return cls(np.asarray(x_um, np.float32), np.asarray(y_um, np.float32))

    def of(self, smooth: SmoothField) -> Field:
        """A field's values here: height × width, or one a point."""
        if self.box is not None:
            return smooth.over_box(self.box, self.mpp)
        weights = self._weights.get(smooth.spacing_um)
        if weights is None:
            weights = self._weights[smooth.spacing_um] = smooth.weights(self.x_um, self.y_um)
        return smooth.weighted(weights)


@dataclass(frozen=True, slots=True)
class AreaRaster:
    """Which parts of a slide belong to some areas, on a coarse grid."""

    inside: NDArray[np.uint8]
    """0 outside to 255 inside: rows × columns."""
    pitch_um: float
    """Side of its cells."""

    @classmethod
    def of(cls, areas_um: Iterable[Polygon], extent_um: tuple[float, float]) -> Self:
        """The raster of areas on a slide of width × height."""
        pitch_um = max(_PITCH_UM, max(extent_um) / _MAX_CELLS)
        width, height = (math.ceil(side / pitch_um) + 1 for side in extent_um)
        inside = np.zeros((height, width), np.uint8)
        for area in areas_um:
            filled(inside, area, scale=1 / pitch_um)
        return cls(inside, pitch_um)

    def share(self, left: float, top: float, right: float, bottom: float) -> Share:
        """How much of a rectangle in micrometres is inside; "some" where that is not certain."""
        column, row = (int(start / self.pitch_um) - 1 for start in (left, top))
        columns, rows = (int(end / self.pitch_um) + 2 for end in (right, bottom))
        cells = self.inside[max(row, 0) : max(rows, 0), max(column, 0) : max(columns, 0)]
        if not cells.any():
            return "none"
        reaches_out = min(row, column) < 0 or rows > len(self.inside)
        reaches_out |= columns > self.inside.shape[1]
        return "some" if reaches_out or cells.min() < _FULL else "all"

    def at(self, place: Place) -> Field:
        """How much of it is inside, 0 to 1: as many values as the place has."""
        x, y = np.broadcast_arrays(
            place.x_um / np.float32(self.pitch_um) - np.float32(0.5),
            place.y_um / np.float32(self.pitch_um) - np.float32(0.5),
        )
        sampled = cv2.remap(
            self.inside,
            np.ascontiguousarray(np.atleast_2d(x)),
            np.ascontiguousarray(np.atleast_2d(y)),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        return np.asarray(sampled.reshape(x.shape).astype(np.float32) / 255, np.float32)


@dataclass(frozen=True, slots=True)
class Drift:
    """Fields that change over millimetres, each of mean 0 and deviation near 1."""

    warp_x: SmoothField
    warp_y: SmoothField
    swirl_x: SmoothField
    swirl_y: SmoothField
    cellularity: SmoothField
    lymphoid: SmoothField
    lobules: SmoothField
    glandular: SmoothField
    fatness: SmoothField
    eosin: SmoothField
    haematoxylin: SmoothField
    size: SmoothField
    grade: SmoothField

    @classmethod
    def drawn(cls, rng: np.random.Generator, extent_um: tuple[float, float]) -> Self:
        """A slide's own fields."""
        spacings_um = dict.fromkeys((column.name for column in fields(cls)), 1_500.0)
        spacings_um |= {"warp_x": 2_400.0, "warp_y": 2_400.0, "swirl_x": 380.0, "swirl_y": 380.0}
        spacings_um |= {
            "lymphoid": 650.0,
            "lobules": 75.0,
            "fatness": 1_000.0,
            "glandular": 1_100.0,
        }
        drawn = {name: SmoothField.over(rng, extent_um, um) for name, um in spacings_um.items()}
        return cls(**drawn)


@dataclass(frozen=True, slots=True)
class Landscape:
    """The lay of one slide, for any pixel or point of it."""

    tissue: AreaRaster
    """Pieces of tissue."""
    tumour: AreaRaster
    """Tumour, within tissue."""
    drift: Drift
    """What changes smoothly."""
    turn: float
    """Main direction of collagen in radians."""
    lymphoid_rich: float
    """How much lymphoid tissue the slide has, as a shift of that field."""
    fat_rich: float
    """How much fat, likewise."""
    basophilia: float
    """Factor on haematoxylin outside nuclei."""
    atlases: TextureAtlases
    """The slide's textures."""

    def along_fibres(self, place: Place) -> tuple[Field, Field]:
        """Coordinates along and across collagen in micrometres."""
        drift = self.drift
        x = place.x_um + _REACH_UM * place.of(drift.warp_x) + _SWIRL_UM * place.of(drift.swirl_x)
        y = place.y_um + _REACH_UM * place.of(drift.warp_y) + _SWIRL_UM * place.of(drift.swirl_y)
        cos, sin = np.float32(math.cos(self.turn)), np.float32(math.sin(self.turn))
        return cos * x + sin * y, cos * y - sin * x

    def fibre_direction(self, x_um: NDArray[Any], y_um: NDArray[Any]) -> Field:
        """Direction of collagen at points in radians, from x towards y."""
        step_um = 8.0
        steps = np.array([(step_um, 0), (-step_um, 0), (0, step_um), (0, -step_um)])
        x, y = (
            (at + step[:, None]).ravel() for at, step in zip((x_um, y_um), steps.T, strict=True)
        )
        across = self.along_fibres(Place.points(x, y))[1].reshape(4, -1)
        # A fibre keeps its coordinate across: it runs at right angles to that one's gradient.
        return np.asarray(np.arctan2(across[1] - across[0], across[2] - across[3]), np.float32)

    def sheet(self, place: Place) -> Field:
        """How far a place is a sheet of cells rather than stroma: 0 to 1."""
        lymphoid = place.of(self.drift.lymphoid) + np.float32(self.lymphoid_rich)
        lymphoid -= np.float32(0.9)
        # Deep inside a sheet only the deepest valleys between lobules are stroma.
        ragged = lymphoid + np.clip(0.6 - 0.3 * lymphoid, 0.3, 0.6) * place.of(self.drift.lobules)
        return np.asarray(np.clip(7 * ragged + 0.5, 0, 1), np.float32)

    def cytoplasm(self, place: Place) -> Field:
        """Granules, and borders between cells, of the pixels of a place: 0 to 1 each."""
        return _sampled(self.atlases.cytoplasm, place.x_um, place.y_um)

    def fat(self, place: Place) -> Field:
        """How empty a place is for being in a fat cell: 0 to 1."""
        fatness = place.of(self.drift.fatness) + np.float32(self.fat_rich)
        amount = np.clip(np.maximum(0.9 * (fatness - 1.1), 0.006 * fatness), 0, 1.1)
        x_um = place.x_um + 0.1 * _REACH_UM * place.of(self.drift.warp_x)
        y_um = place.y_um + 0.1 * _REACH_UM * place.of(self.drift.warp_y)
        depth, rank = _sampled(self.atlases.fat, x_um, y_um)
        low_um, high_um = FAT_DEPTHS_UM
        depth_um = low_um + (high_um - low_um) * depth
        # At the frontier cells shrink before they vanish; none is cut through.
        depth_um -= _FRONTIER_UM * np.maximum(rank - amount + 0.1, 0)
        softness_um = max(1.0, place.mpp if place.box is not None else 0)
        return np.asarray(np.clip(depth_um / softness_um + 0.5, 0, 1), np.float32)


def _sampled(atlas: Atlas, x_um: Field, y_um: Field) -> Field:
    """An atlas at pixels or at points: channels × the place's shape."""
    x, y = np.broadcast_arrays(x_um, y_um)
    found = atlas.at(np.ascontiguousarray(np.atleast_2d(x)), np.ascontiguousarray(np.atleast_2d(y)))
    return found.reshape(-1, *x.shape)


def filled(
    canvas: NDArray[np.uint8],
    area: Polygon,
    *,
    scale: float = 1.0,
    corner: tuple[float, float] = (0.0, 0.0),
) -> None:
    """Paint an area in 255 on a canvas whose corner and scale against the area are given."""
    # Pixel centres lie at halves in our frame and at whole numbers in OpenCV's.
    rings = [
        np.rint(((np.asarray(ring.coords) - corner) * scale - 0.5) * 16).astype(np.int32)
        for ring in (area.exterior, *area.interiors)
    ]
    cv2.fillPoly(canvas, rings, 255, cv2.LINE_AA, 4)
