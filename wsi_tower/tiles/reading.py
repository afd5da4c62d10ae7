"""One tile's pixels from the slide, by the plan; the same for every mode and reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsi_tower.geometry import LevelBox, LevelSize
from wsi_tower.slides import resampled

if TYPE_CHECKING:
    from wsi_tower.jpeg import Reduction
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
        downsample = slide.info.levels[plan.level].downsample * plan.reduction
        size_px = max(1, round(plan.footprint_l0 / downsample))
    return read_scaled(slide, plan.level, (x_l0, y_l0), size_px, plan.tile_px, plan.reduction)


def read_scaled(
    slide: Slide,
    level: int,
    xy_l0: tuple[int, int],
    size_px: int,
    to_px: int,
    reduction: Reduction = 1,
) -> Rgb:
    """A square of ``size_px`` pixels at a level-0 corner, brought to ``to_px``.

    Args:
        slide: to read from.
        level: to read from.
        xy_l0: the corner.
        size_px: side, in pixels of the level after reduction.
        to_px: side of the result.
        reduction: pixels of the level that become one, along each side.
    """
    downsample = slide.info.levels[level].downsample * reduction
    x_px, y_px = (round(value / downsample) for value in xy_l0)
    region = slide.read_level_box(level, LevelBox(x_px, y_px, size_px, size_px), reduction)
    return resampled(region, LevelSize(to_px, to_px))
