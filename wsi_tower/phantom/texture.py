"""A slide's texture atlases: collagen, cytoplasm and fat, periodic both ways.

The scene reads them through smooth warps. What the eye takes for a pattern, nuclei and glands, is
not in them; so no repetition shows although no pixel has to be invented twice.
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
    from wsi_tower.phantom.noise import Field

__all__ = ["FAT_DEPTHS_UM", "Atlas", "TextureAtlases"]

Channels: TypeAlias = NDArray[np.uint8]

_MAX_SIDE_PX = 2048
_FIBRE_PERIOD_UM = 1024.0
_FAT_PERIOD_UM = 1536.0
_COARSEST_MPP = 2.0
"""Textures are drawn no coarser than this, and averaged for coarser slides."""
_MIN_SIDE_PX = 16
_FAT_CELL_UM = 66.0
_FAT_CORNER_UM = 15.0
_FAT_WALL_UM = 1.1
FAT_DEPTHS_UM = (-8.0, 32.0)
"""Depths that 0 and 1 stand for in the fat atlas; positive inside a cell."""


@dataclass(frozen=True, slots=True)
class Atlas:
    """One periodic picture with several channels."""

    channels: Channels
    """8-bit amounts: side × side × channels."""
    pixel_um: float
    """Micrometres per pixel."""

    @property
    def period_um(self) -> float:
        """After how many micrometres it repeats."""
        return len(self.channels) * self.pixel_um

    def at(self, x_um: Field, y_um: Field) -> Field:
        """Its channels at positions, 0 to 1: channels × height × width."""
        x, y = (self._wrapped(along_um) for along_um in (x_um, y_um))
        sampled = cv2.remap(self.channels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        sampled = sampled.reshape(*sampled.shape[:2], -1)
        return np.moveaxis(sampled, -1, 0).astype(np.float32) * np.float32(1 / 255)

    def _wrapped(self, along_um: Field) -> Field:
        """Positions in pixels, brought near the first period: OpenCV counts to 32767 only."""
        periods = math.floor(float(along_um.min()) / self.period_um)
        near_um = along_um - np.float32(periods * self.period_um)
        # Pixel centres lie at halves in our frame and at whole numbers in OpenCV's.
        return np.asarray(near_um * np.float32(1 / self.pixel_um) - np.float32(0.5), np.float32)


@dataclass(frozen=True, slots=True)
class TextureAtlases:
    """What lies between nuclei."""

    fibres: Atlas
    """Thickness of collagen that runs along x."""
    cytoplasm: Atlas
    """Granules; borders between cells."""
    fat: Atlas
    """Depth in fat cells, see `FAT_DEPTHS_UM`; their ranks: the lowest come first."""

    @classmethod
    def drawn(cls, rng: np.random.Generator, mpp: float) -> Self:
        """Atlases for slides of a pixel size."""
        mpp_fine = min(mpp, _COARSEST_MPP)
        side_px = min(round(_FIBRE_PERIOD_UM / mpp_fine), _MAX_SIDE_PX)
        granules = 0.5 + 0.17 * periodic_noise(rng, side_px, (5 / mpp_fine, 5 / mpp_fine))
        granules += 0.14 * periodic_noise(rng, side_px, (1.6 / mpp_fine, 1.6 / mpp_fine))
        fibres = (_fibres(rng, side_px, mpp_fine),)
        cytoplasm = (_as_bytes(granules), _borders(rng, side_px, mpp_fine))
        fat_mpp = max(mpp_fine, 0.75)
        fat = _fat(rng, round(_FAT_PERIOD_UM / fat_mpp), fat_mpp)
        return cls(
            _atlas(fibres, mpp_fine, mpp),
            _atlas(cytoplasm, mpp_fine, mpp),
            _atlas(fat, fat_mpp, max(mpp, fat_mpp)),
        )


def _atlas(layers: tuple[Channels, ...], mpp_fine: float, mpp: float) -> Atlas:
    channels = np.stack(layers, -1)
    side_px = max(_MIN_SIDE_PX, round(len(channels) * mpp_fine / mpp))
    if side_px < len(channels):
        period_um = len(channels) * mpp_fine
        coarse = cv2.resize(channels, (side_px, side_px), interpolation=cv2.INTER_AREA)
        return Atlas(np.asarray(coarse, np.uint8), period_um / side_px)
    return Atlas(channels, mpp_fine)


def _fibres(rng: np.random.Generator, side_px: int, mpp: float) -> Channels:
    """Wavy bundles with gaps between them, mostly along x."""
    fine = periodic_noise(rng, side_px, (34 / mpp, 3.6 / mpp))
    hairs = periodic_noise(rng, side_px, (9 / mpp, 1.3 / mpp))
    bundles = periodic_noise(rng, side_px, (130 / mpp, 20 / mpp))
    # Where a smooth landscape crosses zero lies a cleft: long, thin, and rarely closed.
    cleft = np.abs(periodic_noise(rng, side_px, (90 / mpp, 16 / mpp)))
    thickness = (
        0.58 + 0.10 * fine + 0.11 * bundles + 0.06 * hairs - 0.5 * np.exp(-((cleft / 0.09) ** 2))
    )
    bend = 9 / mpp * periodic_noise(rng, side_px, (80 / mpp, 100 / mpp))
    bend += 2.2 / mpp * periodic_noise(rng, side_px, (26 / mpp, 40 / mpp))
    x, y = np.meshgrid(*2 * [np.arange(side_px, dtype=np.float32)])
    wavy = cv2.remap(
        _as_bytes(thickness), x, y + bend, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return np.asarray(wavy, np.uint8)


def _borders(rng: np.random.Generator, side_px: int, mpp: float) -> Channels:
    """Thin borders between cells about 11 µm wide."""
    _, depth_um = _cells(rng, side_px, mpp, 11.0)
    return _as_bytes(np.exp(-((depth_um / 0.9) ** 2)))


def _fat(rng: np.random.Generator, side_px: int, mpp: float) -> tuple[Channels, Channels]:
    """Depth in fat cells with thin walls and round corners, and each cell's rank."""
    owners, depth_um = _cells(rng, side_px, mpp, _FAT_CELL_UM)
    ranks = rng.integers(1, 256, int(owners.max()) + 1).astype(np.uint8)
    # What a ball that fits the cell can reach: as in morphological opening, corners stay out.
    margin = 64
    core = np.pad(depth_um > _FAT_CORNER_UM, margin, mode="wrap")
    away_um = mpp * cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 5)
    inner = (slice(margin, -margin),) * 2
    rounded_um = np.where(core[inner], depth_um, _FAT_CORNER_UM - away_um[inner])
    low_um, high_um = FAT_DEPTHS_UM
    return _as_bytes((rounded_um - _FAT_WALL_UM - low_um) / (high_um - low_um)), ranks[owners]


def _cells(
    rng: np.random.Generator, side_px: int, mpp: float, spacing_um: float
) -> tuple[NDArray[np.int64], Field]:
    """Cells that fill the plane: which one each pixel is in, and its distance from the border."""
    margin = math.ceil(2 * spacing_um / mpp)
    points = scattered(rng, side_px, spacing_um / mpp).astype(int)
    numbers = np.zeros((side_px, side_px), np.int64)
    numbers[points[:, 1], points[:, 0]] = np.arange(1, len(points) + 1)
    numbers = np.pad(numbers, margin, mode="wrap")
    _, owners = cv2.distanceTransformWithLabels(
        (numbers == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # A cell and its copy across the wrap are two owners of one number.
    number_of_owner = np.zeros(int(owners.max()) + 1, np.int64)
    number_of_owner[owners[numbers > 0]] = numbers[numbers > 0]
    walls = cv2.morphologyEx(owners.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    depth_um = cv2.distanceTransform((~walls).astype(np.uint8), cv2.DIST_L2, 5) * mpp
    inner = (slice(margin, margin + side_px),) * 2
    return number_of_owner[owners[inner]], np.asarray(depth_um[inner], np.float32)


def scattered(rng: np.random.Generator, side_px: int, spacing_px: float) -> NDArray[np.float64]:
    """Points on a jittered hexagonal lattice that fits the period: N × (x, y) in pixels."""
    columns = max(1, round(side_px / spacing_px))
    rows = 2 * max(1, round(side_px / (spacing_px * math.sqrt(3))))
    row, column = np.mgrid[:rows, :columns]
    x = (column + 0.5 * (row % 2)) * side_px / columns
    y = row * side_px / rows
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    return (points + rng.normal(0, 0.2 * spacing_px, points.shape)) % side_px


def _as_bytes(share: NDArray[np.floating[Any]]) -> Channels:
    """Values of 0 to 1 as 0 to 255."""
    scaled: Channels = np.clip(share * 255 + 0.5, 0, 255).astype(np.uint8)
    return scaled
