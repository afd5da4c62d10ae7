"""The tile grid: pure integer arithmetic in level-0 pixels.

    pitch     = round((tile_px - overlap_px) × effective mpp / level-0 mpp)
    footprint = round(tile_px × effective mpp / level-0 mpp)

from the slide's origin, every tile wholly inside the slide. Pixels come from a level, or from a
level with blocks of 2, 4 or 8 pixels a side made one; where that lies within 5 % of the target it
is used as it is, and its mpp is the effective one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.errors import ResolutionError, SettingsError, TooSmallSlideError
from wsi_tower.jpeg import REDUCTIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.geometry import Level0Size, Mpp
    from wsi_tower.jpeg import Reduction
    from wsi_tower.slides import SlideInfo
    from wsi_tower.tiles.settings import TileSettings

__all__ = ["PixelSource", "TilePlan", "plan_tiles", "source_for_target"]

LEVEL_TOLERANCE = 0.05
"""Relative difference up to which a level serves a target resolution as it is."""
_MAX_POSITIONS = 50_000_000


@dataclass(frozen=True, slots=True)
class TilePlan:
    """The grid of one slide."""

    tile_px: int
    """Side of a tile in its own pixels."""
    overlap_px: int
    """Pixels that neighbouring tiles share."""
    target_mpp: float
    """Resolution that was asked for."""
    effective_mpp: float
    """Resolution that the tiles have: the level's own, or the target where they are resampled."""
    level: int
    """Level that pixels are read from."""
    reduction: Reduction
    """Pixels of the level that become one, along each side, before any resampling."""
    is_resampled: bool
    """Whether the pixels are then resampled to the target."""
    pitch_l0: int
    """Level-0 pixels from one tile to the next, along x and y."""
    footprint_l0: int
    """Side of a tile in level-0 pixels."""
    columns: int
    """Tiles in a row of the whole grid."""
    rows: int
    """Rows of the whole grid."""

    def xy_l0(self) -> NDArray[np.int64]:
        """Top-left corners of the whole grid, row by row: (rows × columns, 2)."""
        x_l0 = np.arange(self.columns, dtype=np.int64) * self.pitch_l0
        y_l0 = np.arange(self.rows, dtype=np.int64) * self.pitch_l0
        grid = np.stack(np.meshgrid(x_l0, y_l0), axis=-1)
        return grid.reshape(-1, 2)

    def centre_um(self, xy_l0: NDArray[np.int64], mpp: Mpp) -> NDArray[np.float64]:
        """Centres in micrometres of tiles at ``xy_l0`` (N, 2): float64 (N, 2)."""
        centre_um: NDArray[np.float64] = (xy_l0 + self.footprint_l0 / 2) * np.array([mpp.x, mpp.y])
        return centre_um


def plan_tiles(info: SlideInfo, mpp: Mpp, tile_px: int, settings: TileSettings) -> TilePlan:
    """The grid of a slide.

    Args:
        info: the slide.
        mpp: its level-0 pixel size.
        tile_px: side of a tile; `TileSettings.tile_px` with ``native`` resolved.
        settings: resolution and overlap.

    Raises:
        ResolutionError: the target is finer than the slide and upsampling is not allowed.
        TooSmallSlideError: not one tile fits.
        SettingsError: the overlap leaves no step, or the grid has more than 50 million tiles.
    """
    source = source_for_target(info, mpp, settings)
    effective = settings.mpp if source.is_resampled else source.mpp
    scale = effective / mpp.mean
    footprint_l0 = max(1, round(tile_px * scale))
    pitch_l0 = round((tile_px - settings.overlap_px) * scale)
    if pitch_l0 < 1:
        raise SettingsError(
            f"overlap of {settings.overlap_px} px leaves tiles of {tile_px} px no step on slide "
            f"{info.name}; make it smaller"
        )
    return TilePlan(
        tile_px=tile_px,
        overlap_px=settings.overlap_px,
        target_mpp=settings.mpp,
        effective_mpp=effective,
        level=source.level,
        reduction=source.reduction,
        is_resampled=source.is_resampled,
        pitch_l0=pitch_l0,
        footprint_l0=footprint_l0,
        **_counts(info.name, info.size, footprint_l0, pitch_l0),
    )


@dataclass(frozen=True, slots=True)
class PixelSource:
    """What pixels of a target resolution are made from."""

    level: int
    """Level to read."""
    reduction: Reduction
    """Pixels of it that become one, along each side."""
    mpp: float
    """Resolution after that."""
    is_resampled: bool
    """Whether it must still be resampled to the target."""


def source_for_target(info: SlideInfo, mpp: Mpp, settings: TileSettings) -> PixelSource:
    """What to read for the target resolution: nearest to it within 5 %, else finer than it.

    Raises:
        ResolutionError: the target is finer than the slide and upsampling is not allowed.
    """
    sources = [
        PixelSource(number, reduction, mpp.mean * level.downsample * reduction, is_resampled=False)
        for number, level in enumerate(info.levels)
        for reduction in REDUCTIONS
    ]
    near = [one for one in sources if _distance(one, settings.mpp) <= LEVEL_TOLERANCE]
    if near:
        # What the file holds ready comes before what is reduced: it is read with less work.
        return min(near, key=lambda one: (one.reduction, _distance(one, settings.mpp)))
    finer = [one for one in sources if one.mpp < settings.mpp]
    if finer:
        coarsest = max(finer, key=lambda one: (one.mpp, -one.reduction))
        return replace(coarsest, is_resampled=True)
    if not settings.allow_upsample:
        raise ResolutionError(
            f"slide {info.name} has {mpp.mean:.4g} µm/px at its finest, coarser than the "
            f"{settings.mpp:g} asked for; ask for --mpp {mpp.mean:.4g}, or allow interpolation "
            f"with --allow-upsample"
        )
    return PixelSource(0, 1, mpp.mean, is_resampled=True)


def _distance(source: PixelSource, target_mpp: float) -> float:
    """Relative difference from a target resolution."""
    return abs(source.mpp / target_mpp - 1)


def _counts(name: str, size: Level0Size, footprint_l0: int, pitch_l0: int) -> dict[str, int]:
    if min(size.width, size.height) < footprint_l0:
        raise TooSmallSlideError(
            f"slide {name} of {size} is smaller than one tile of {footprint_l0} level-0 px; make "
            f"tiles smaller with --tile-px, or finer with --mpp"
        )
    columns = (size.width - footprint_l0) // pitch_l0 + 1
    rows = (size.height - footprint_l0) // pitch_l0 + 1
    if columns * rows > _MAX_POSITIONS:
        raise SettingsError(
            f"a grid of {columns} × {rows} tiles on slide {name} is more than {_MAX_POSITIONS:,}; "
            f"make tiles larger with --tile-px, or coarser with --mpp"
        )
    return {"columns": columns, "rows": rows}
