"""One tile's pixels from the slide, by the plan; the same for every mode and reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsi_tower.geometry import LevelBox, LevelSize
from wsi_tower.slides import resampled

if TYPE_CHECKING:
    from wsi_tower.slides import CompressedLevel, Rgb, Slide
    from wsi_tower.tiles.plan import TilePlan

__all__ = ["native_level", "read_scaled", "read_tile", "why_not_native"]


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


def native_level(slide: Slide, plan: TilePlan) -> CompressedLevel | None:
    """The file's own tiles, where the grid is theirs; else None."""
    return slide.compressed_level(plan.level) if why_not_native(slide, plan) is None else None


def why_not_native(slide: Slide, plan: TilePlan) -> str | None:
    """Why the file's own tiles cannot be copied, or None where they can."""
    if plan.is_resampled:
        return f"no level has {plan.target_mpp:g} µm/px, so tiles are resampled"
    compressed = slide.compressed_level(plan.level)
    if compressed is None:
        return f"level {plan.level} holds no JPEG tiles of 8-bit colour that can be copied"
    if (compressed.tile.width, compressed.tile.height) != (plan.tile_px, plan.tile_px):
        return f"the file's tiles are {compressed.tile}, not {plan.tile_px} px"
    downsample = slide.info.levels[plan.level].downsample
    if plan.pitch_l0 != plan.tile_px * downsample:
        return f"the grid's pitch of {plan.pitch_l0} level-0 px is not that of the file's tiles"
    return None
