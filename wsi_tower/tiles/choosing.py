"""Which tiles of the grid are kept: quality columns from the mask, focus, and filters on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_tower.errors import EmptySlideError
from wsi_tower.tiles.reading import read_scaled
from wsi_tower.tissue import focus_measure, tile_quality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.slides import Slide
    from wsi_tower.tiles.plan import TilePlan
    from wsi_tower.tiles.settings import TileSettings
    from wsi_tower.tissue import TissueMask

__all__ = ["chosen_columns"]

_FOCUS_UM = 2.0
"""Micrometres per pixel at which focus is measured."""


def chosen_columns(
    slide: Slide, plan: TilePlan, mask: TissueMask, settings: TileSettings
) -> dict[str, NDArray[Any]]:
    """Positions of the grid that pass every filter, and what is known of each.

    Returns:
        Arrays of N rows by name: ``xy_l0``, ``centre_um``, and the quality columns.

    Raises:
        EmptySlideError: none passes; the message says what each filter left.
        UnreadableSlideError: the slide is damaged where focus is measured.
    """
    xy_l0 = plan.xy_l0()
    quality = tile_quality(mask, xy_l0, plan.footprint_l0)
    columns: dict[str, NDArray[Any]] = {
        "xy_l0": xy_l0,
        "tissue_fraction": quality.tissue_fraction,
        "pen_fraction": quality.pen_fraction,
        "optical_density": quality.mean_od,
    }
    kept = _filtered(slide, columns, [
        ("tissue_fraction", ">=", settings.min_tissue),
        ("pen_fraction", "<=", settings.max_pen),
        ("optical_density", ">=", settings.min_optical_density),
    ])  # fmt: skip
    if settings.focus:
        kept["focus"] = _focus(slide, plan, kept["xy_l0"])
        kept = _filtered(slide, kept, [("focus", ">=", settings.min_focus)])
    kept["centre_um"] = plan.centre_um(kept["xy_l0"], slide.mpp)
    return kept


def _filtered(
    slide: Slide, columns: dict[str, NDArray[Any]], filters: list[tuple[str, str, float]]
) -> dict[str, NDArray[Any]]:
    """The rows that pass every filter; a value that could not be measured passes.

    Raises:
        EmptySlideError: none does; the message says what each filter left.
    """
    kept = np.ones(len(columns["xy_l0"]), bool)
    told = []
    for name, relation, bound in filters:
        values = columns[name]
        beyond = values < bound if relation == ">=" else values > bound
        kept &= ~beyond
        if beyond.any():
            told.append(_told(name, relation, bound, values, beyond))
    if not kept.any():
        raise EmptySlideError(
            f"slide {slide.info.name}: of {len(kept)} tiles {', '.join(told)}; loosen the filters "
            f"(--min-tissue, --max-pen, …), or give its tissue with --tissue-mask"
        )
    return {name: values[kept] for name, values in columns.items()}


def _told(
    name: str, relation: str, bound: float, values: NDArray[Any], beyond: NDArray[np.bool_]
) -> str:
    """What a filter left, in numbers."""
    left = int((~beyond).sum())
    best = ("highest", np.nanmax) if relation == ">=" else ("lowest", np.nanmin)
    return f"{left} have {name} {relation} {bound:g} ({best[0]}: {best[1](values):.3g})"


def _focus(slide: Slide, plan: TilePlan, xy_l0: NDArray[np.int64]) -> NDArray[np.float32]:
    """Variance of the Laplacian of every tile at 2 µm/px; NaN where the slide is coarser."""
    ratio = _FOCUS_UM / slide.mpp.mean
    to_px = round(plan.footprint_l0 / ratio)
    if ratio < 1 or to_px < 3:
        return np.full(len(xy_l0), np.nan, np.float32)
    level = slide.level_for(ratio)
    size_px = round(plan.footprint_l0 / slide.info.levels[level].downsample)
    values = [
        focus_measure(read_scaled(slide, level, (int(x), int(y)), size_px, to_px)) for x, y in xy_l0
    ]
    return np.array(values, np.float32)
