"""Copying the slide's own JPEG tiles: whether the grid is theirs, and which mode follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsi_tower.errors import NativeTilesError
from wsi_tower.tiles.plan import source_for_target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wsi_tower.slides import CompressedLevel, Slide
    from wsi_tower.tiles.plan import TilePlan
    from wsi_tower.tiles.settings import PixelMode, TileSettings

__all__ = [
    "chosen_pixel_mode",
    "chosen_subsampling",
    "is_file_grid",
    "native_level",
    "native_rows",
    "tile_side_px",
]


def tile_side_px(slide: Slide, settings: TileSettings) -> int:
    """Side of a tile in its own pixels, taken from the file where ``native`` was asked for.

    Raises:
        NativeTilesError: the file has no square JPEG tiles at the target resolution.
        ResolutionError: the target is finer than the slide.
    """
    if settings.tile_px != "native":
        return settings.tile_px
    source = source_for_target(slide.info, slide.mpp, settings)
    is_its_own = source.reduction == 1 and not source.is_resampled
    compressed = slide.compressed_level(source.level) if is_its_own else None
    if compressed is None or compressed.tile.width != compressed.tile.height:
        raise NativeTilesError(
            f"slide {slide.info.name} has no square JPEG tiles of its own at {settings.mpp:g} "
            f"µm/px; give their side with --tile-px 256"
        )
    return compressed.tile.width


def chosen_pixel_mode(
    slide: Slide, plan: TilePlan, settings: TileSettings, xy_l0: NDArray[np.int64]
) -> tuple[PixelMode, str]:
    """The mode to store with, ``auto`` resolved, and why it is not native where it is not.

    Raises:
        NativeTilesError: ``native`` was asked for and is not possible.
    """
    if settings.pixels not in ("auto", "native"):
        return settings.pixels, ""
    why = _why_other_grid(slide, plan) or _why_missing(slide, plan, xy_l0)
    if why is None:
        return "native", ""
    if settings.pixels == "native":
        raise NativeTilesError(
            f"the tiles of slide {slide.info.name} cannot be copied as they are: {why}; store them "
            f"with --pixels auto, or take the file's grid with --tile-px native"
        )
    return "jpeg", why


def is_file_grid(slide: Slide, plan: TilePlan) -> bool:
    """Whether the plan's grid is that of JPEG tiles that the file holds."""
    return _why_other_grid(slide, plan) is None


def chosen_subsampling(slide: Slide, plan: TilePlan) -> str:
    """Chroma subsampling for tiles that are encoded anew: no more than their source has lost.

    Halving chroma that the file holds whole triples the error; holding whole what the file has
    halved gains nothing. Resampled tiles have whole chroma, whatever they came from.
    """
    compressed = slide.compressed_level(plan.level)
    if plan.reduction > 1 or plan.is_resampled or compressed is None:
        return "444"
    found = compressed.subsampling
    return found if found in ("422", "420") else "444"


def native_level(slide: Slide, plan: TilePlan) -> CompressedLevel:
    """The file's own tiles, on whose grid the plan's tiles lie."""
    compressed = slide.compressed_level(plan.level)
    assert compressed is not None, "asked only where the grid is theirs"
    return compressed


def native_rows(
    compressed: CompressedLevel, plan: TilePlan, xy_l0: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Numbers of the file's tiles at the chosen positions: (N,)."""
    column, row = (xy_l0 // plan.pitch_l0).T
    numbers: NDArray[np.int64] = row * compressed.columns + column
    return numbers


def _why_other_grid(slide: Slide, plan: TilePlan) -> str | None:
    """Why the grid is not that of the file's tiles, or None where it is."""
    if plan.reduction > 1 or plan.is_resampled:
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


def _why_missing(slide: Slide, plan: TilePlan, xy_l0: NDArray[np.int64]) -> str | None:
    compressed = native_level(slide, plan)
    counts = compressed.byte_counts[native_rows(compressed, plan, xy_l0)]
    missing = int((counts == 0).sum())
    return f"{missing} of the chosen tiles were never scanned" if missing else None
