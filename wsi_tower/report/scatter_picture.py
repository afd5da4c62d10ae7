"""Tiles as points, laid out by what an encoder says of them: by label, and by slide."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wsi_tower.report.wording import counted, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["EmbeddedTiles", "scatter_picture"]

INK, QUIET_INK = "#1d2028", "#5c616e"
# Orange over grey: told apart by every eye, and the rare class is the loud one.
NORMAL, EDGE, TUMOUR = "#9aa3b2", "#e8b86d", "#c1440e"
_DPI = 110
_SIZE_INCHES = (13.0, 6.4)
_MOST_NAMES = 12
"""Slides that the legend names; the others are counted."""
_FEW, _MANY = 400, 20_000
_DOT_FEW, _DOT_MANY = 26.0, 3.0
"""Area of a dot in square points, for few tiles and for many."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedTiles:
    """What is drawn."""

    points: NDArray[np.float64]
    """Where each tile lies in the plane: (N, 2)."""
    axes: tuple[str, str]
    """What each axis is."""
    tumour_fraction: NDArray[np.float64]
    """Fraction of each tile within annotated tumour: (N,)."""
    slides: NDArray[np.int64]
    """Number of each tile's slide: (N,)."""
    slide_ids: Sequence[str]
    """Names of the slides, by number."""


def scatter_picture(tiles: EmbeddedTiles, title: str) -> bytes:
    """The same points twice: coloured by label on the left, by slide on the right.

    Slides that lie apart on the right are a warning: the encoder tells scanners and stains.

    Args:
        tiles: what to draw.
        title: of the encoder.

    Returns:
        A PNG file.
    """
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained", dpi=_DPI, facecolor="white")
    by_label, by_slide = figure.subplots(1, 2, sharex=True, sharey=True)
    size = _dot_size(len(tiles.points))
    _draw_labels(by_label, tiles, size)
    _draw_slides(by_slide, tiles, size)
    for axes in (by_label, by_slide):
        _tidy(axes, tiles.axes)
    figure.suptitle(
        title, x=0.01, ha="left", color=INK, fontsize=14, fontweight="bold", parse_math=False
    )
    encoded = io.BytesIO()
    with warnings.catch_warnings():
        # Names in alphabets that the font lacks get boxes, as in the other pictures.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(encoded, format="png")
    return encoded.getvalue()


def _draw_labels(axes: Axes, tiles: EmbeddedTiles, size: float) -> None:
    """Tumour over the edge of tumour over normal tissue: the rarer, the higher."""
    fractions = tiles.tumour_fraction
    classes = (
        ("normal", NORMAL, fractions <= 0),
        ("edge of tumour", EDGE, (fractions > 0) & (fractions < 1)),
        ("wholly tumour", TUMOUR, fractions >= 1),
    )
    marks = []
    for name, colour, members in classes:
        x, y = tiles.points[members].T
        axes.scatter(x, y, size, color=colour, linewidths=0, alpha=0.75, rasterized=True)
        marks.append(_mark(f"{name}, {number(int(members.sum()))}", colour))
    axes.set_title("by label", loc="left", color=INK, fontsize=11)
    _legend(axes, marks)


def _draw_slides(axes: Axes, tiles: EmbeddedTiles, size: float) -> None:
    present = np.unique(tiles.slides)
    palette = _palette(len(present))
    colours = palette[np.searchsorted(present, tiles.slides)]
    # Mixed, so that no slide lies over all others; the order is the same each time.
    order = np.random.default_rng(0).permutation(len(tiles.points))
    x, y = tiles.points[order].T
    axes.scatter(x, y, size, color=colours[order], linewidths=0, alpha=0.75, rasterized=True)
    named = [
        _mark(tiles.slide_ids[slide], to_hex(colour))
        for slide, colour in zip(present[:_MOST_NAMES], palette, strict=False)
    ]
    if len(present) > _MOST_NAMES:
        named.append(_mark(f"and {counted(len(present) - _MOST_NAMES, 'other')}", "none"))
    axes.set_title(
        f"by slide: {counted(len(tiles.points), 'tile')} of {counted(len(present), 'slide')}",
        loc="left",
        color=INK,
        fontsize=11,
    )
    _legend(axes, named)


def _palette(count: int) -> NDArray[np.float64]:
    """A colour a slide: hand-picked ones while they last, else steps of a rainbow: (count, 4)."""
    if count <= 10:
        return np.asarray(colormaps["tab10"](np.arange(count)), np.float64)
    return np.asarray(colormaps["turbo"](np.linspace(0.04, 0.96, count)), np.float64)


def _mark(name: str, colour: str) -> Line2D:
    return Line2D([], [], marker="o", linestyle="", markersize=7, color=colour, label=name)


def _legend(axes: Axes, marks: list[Line2D]) -> None:
    """Below the points, so that it hides none."""
    legend = axes.legend(
        handles=marks,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=QUIET_INK,
        handletextpad=0.3,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _tidy(axes: Axes, names: tuple[str, str]) -> None:
    axes.set_xlabel(names[0], color=QUIET_INK)
    axes.set_ylabel(names[1], color=QUIET_INK)
    axes.yaxis.set_tick_params(labelleft=True)
    axes.tick_params(colors=QUIET_INK)
    axes.spines[["top", "right"]].set_visible(False)


def _dot_size(tiles: int) -> float:
    share = np.log(max(tiles, 1) / _FEW) / np.log(_MANY / _FEW)
    return float(_DOT_FEW * (_DOT_MANY / _DOT_FEW) ** np.clip(share, 0, 1))
