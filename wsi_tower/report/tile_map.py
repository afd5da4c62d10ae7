"""One slide with its tiles painted by a number of each."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from wsi_tower.report.caption import INK, QUIET_INK, length_label, printable_text, round_length_um

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from wsi_tower.geometry import Mpp
    from wsi_tower.slides import Overview

__all__ = ["PaintedTiles", "TileScale", "tile_map", "tile_shades"]

_COLOURS = "viridis"
"""Even in lightness and told apart by every eye."""
_OPACITY = 0.72
_DPI = 110
_INCHES = 9.0
"""Longer side of the slide."""
_ASKED = "#d1006c"
_STRONG, _QUIET = ([channel / 255 for channel in ink] for ink in (INK, QUIET_INK))


@dataclass(frozen=True, slots=True)
class TileScale:
    """What the colours of tiles mean."""

    label: str
    """In words, beside the colours."""
    low: float
    """Number at the lower end."""
    high: float
    """Number at the upper end."""
    low_is_bright: bool = False
    """Whether small numbers are yellow."""


@dataclass(frozen=True, slots=True, eq=False)
class PaintedTiles:
    """The tiles of a slide, and what they are painted by."""

    boxes_l0: NDArray[np.int64]
    """Left, top, width and height of every tile in level-0 pixels: (N, 4)."""
    values: NDArray[np.float64]
    """A number a tile: (N,)."""
    asked: Sequence[int] = ()
    """Rows of tiles that were asked about, to be outlined."""


def tile_shades(count: int) -> list[tuple[int, int, int, int]]:
    """Colours of steps from dark to bright: red, green, blue and opacity, 0 to 255."""
    shades = mpl.colormaps[_COLOURS](np.linspace(0, 1, count), bytes=True)
    return [(int(red), int(green), int(blue), int(alpha)) for red, green, blue, alpha in shades]


def tile_map(
    title: str,
    overview: Overview,
    mpp: Mpp,
    tiles: PaintedTiles,
    scale: TileScale,
) -> bytes:
    """The slide with its tiles in the colour of their number.

    Args:
        title: what is shown, in words.
        overview: the whole slide.
        mpp: pixel size of level 0.
        tiles: where they are, and their numbers.
        scale: what the colours mean.

    Returns:
        A PNG file.
    """
    height, width = overview.rgb.shape[:2]
    extent_l0 = np.array([width, height]) * overview.pitch_l0
    size = extent_l0 / extent_l0.max() * _INCHES
    figure = Figure(figsize=(size[0] + 1.6, size[1] + 0.9), dpi=_DPI, facecolor="white")
    figure.set_layout_engine("constrained")
    slide = figure.add_subplot(anchor="NW")
    slide.set_axis_off()
    slide.imshow(overview.rgb, extent=(0, extent_l0[0], extent_l0[1], 0), interpolation="lanczos")
    colours = f"{_COLOURS}_r" if scale.low_is_bright else _COLOURS
    shades = mpl.cm.ScalarMappable(mpl.colors.Normalize(scale.low, scale.high), colours)
    painted = _painted(overview, tiles.boxes_l0, shades.to_rgba(tiles.values, alpha=_OPACITY))
    slide.imshow(painted, extent=(0, extent_l0[0], extent_l0[1], 0), interpolation="nearest")
    for row in tiles.asked:
        left, top, wide, high = tiles.boxes_l0[row].tolist()
        slide.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor=_ASKED, lw=2))
    _write_scale(slide, extent_l0, mpp)
    bar = figure.colorbar(shades, ax=slide, shrink=0.6, aspect=28, pad=0.02)
    bar.set_label(scale.label, color=_QUIET, parse_math=False)
    if scale.low_is_bright:
        bar.ax.invert_yaxis()
    bar.ax.tick_params(colors=_QUIET)
    bar.outline.set_visible(False)
    figure.suptitle(
        printable_text(title), x=0.01, ha="left", color=_STRONG, fontweight="bold", parse_math=False
    )
    encoded = io.BytesIO()
    with warnings.catch_warnings():
        # Names in alphabets that the font lacks get boxes, as in the other pictures.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(encoded, format="png")
    return encoded.getvalue()


def _painted(
    overview: Overview, boxes_l0: NDArray[np.int64], shades: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The tiles as an image over the overview; clear where there is none."""
    height, width = overview.rgb.shape[:2]
    painted = np.zeros((height, width, 4))
    starts = np.rint(boxes_l0[:, :2] / overview.pitch_l0).astype(np.int64)
    ends = np.rint((boxes_l0[:, :2] + boxes_l0[:, 2:]) / overview.pitch_l0).astype(np.int64)
    ends = np.maximum(ends, starts + 1)
    for (left, top), (right, bottom), shade in zip(
        starts.tolist(), ends.tolist(), shades, strict=True
    ):
        painted[top:bottom, left:right] = shade
    return painted


def _write_scale(slide: Axes, extent_l0: NDArray[np.float64], mpp: Mpp) -> None:
    """A scale bar below the slide, so that it hides no tissue."""
    length_um = round_length_um(float(extent_l0[0]) * mpp.x / 5)
    end, y = length_um / mpp.x, extent_l0[1] + 0.02 * extent_l0.max()
    slide.plot([0, end], [y, y], color=_STRONG, linewidth=4, solid_capstyle="butt", clip_on=False)
    label = length_label(length_um)
    slide.text(end + 0.01 * extent_l0.max(), y, label, color=_STRONG, va="center", fontsize=11)
