"""One tile's pixels from the slide, by the plan; the same for every mode and reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsi_tower.geometry import LevelBox, LevelSize
from wsi_tower.slides import resampled

if TYPE_CHECKING:
    from wsi_tower.slides import Rgb, Slide
    from wsi_tower.tiles.plan import TilePlan

__all__ = ["read_scaled", "read_tile"]


def read_tile(slide: Slide, plan: TilePlan, x_l0: int, y_l0: int) -> Rgb:
    """A tile's pixels: tile_px × tile_px × 3.

    Raises:
        UnreadableSlideError: the slide is damaged there.
    """
    size_px = plan.tile_px
    if plan.is_resampled:
        size_px = max(1, round(plan.footprint_l0 / slide.info.levels[plan.level].downsample))
    return read_scaled(slide, plan.level, (x_l0, y_l0), size_px, plan.tile_px)


def read_scaled(slide: Slide, level: int, xy_l0: tuple[int, int], size_px: int, to_px: int) -> Rgb:
    """A square of ``size_px`` level pixels at a level-0 corner, brought to ``to_px``."""
    downsample = slide.info.levels[level].downsample
    x_px, y_px = (round(value / downsample) for value in xy_l0)
    region = slide.read_level_box(level, LevelBox(x_px, y_px, size_px, size_px))
    return resampled(region, LevelSize(to_px, to_px))
