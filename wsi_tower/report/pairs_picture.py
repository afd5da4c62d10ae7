"""One picture a slide of the pairs that are drawn on it: where they lie, and how far apart."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from wsi_tower.report.caption import Caption, fitted_words, length_label, round_length_um
from wsi_tower.report.wording import counted, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from wsi_tower.geometry import Mpp
    from wsi_tower.pairs import PairKind, PairSettings
    from wsi_tower.slides import Overview

__all__ = ["PairsOfSlide", "pairs_picture"]

# Blue and orange are told apart by every eye, and neither is a common stain; the casing lifts each
# off pale and dark tissue alike.
COLOURS: dict[PairKind, str] = {"near": "#0057b7", "distant": "#f0a30a"}
CASINGS: dict[PairKind, str] = {"near": "#ffffff", "distant": "#2b2000"}
INK, QUIET_INK = "#1d2028", "#5c616e"
SHOWN: dict[PairKind, int] = {"near": 80, "distant": 20}
"""Pairs drawn as lines: more would hide the tissue."""
_DPI = 110
_SLIDE_INCHES = np.array([9.0, 8.0])
"""Room for the slide: width and height."""
_CHARTS_INCHES = 5.0
_LEAST_HEIGHT_INCHES = 5.5
"""Of the charts above each other."""
_MARGIN = 0.06
"""Glass shown around the pairs, as a part of their extent."""
_PAD_INCHES = 0.12
_LEAST_ASPECT, _MOST_ASPECT = 0.65, 2.5
"""Width to height of the part that is shown, so that words fit below it and charts beside it."""
_BINS = 40


@dataclass(frozen=True, slots=True)
class PairsOfSlide:
    """What was drawn for the anchors of one slide."""

    title: str
    """Name of the slide."""
    tiles: int
    """Its tiles."""
    left_out: int
    """Its tiles without a near or without a distant partner."""
    ends_um: dict[PairKind, NDArray[np.float64]]
    """Anchor and partner of the pairs on this slide, x and y in micrometres: (K, 2, 2) a kind."""
    elsewhere: int = 0
    """Distant partners that lie on other slides."""


def pairs_picture(
    overview: Overview, mpp: Mpp, pairs: PairsOfSlide, settings: PairSettings
) -> bytes:
    """The slide with some of its pairs as lines, and beside it the distances of all of them.

    Args:
        overview: the whole slide; the part with pairs is shown.
        mpp: pixel size of level 0.
        pairs: what was drawn; there may be none of a kind.
        settings: the limits that are marked among the distances.

    Returns:
        A PNG file.
    """
    height, width = overview.rgb.shape[:2]
    slide_mm = np.array([width * mpp.x, height * mpp.y]) * overview.pitch_l0 / 1000
    window_mm = _window_mm(pairs, slide_mm)
    figure, slide, charts = _panels(window_mm[1] - window_mm[0])
    slide.imshow(overview.rgb, extent=(0, slide_mm[0], slide_mm[1], 0), interpolation="lanczos")
    slide.set(xlim=window_mm[:, 0], ylim=window_mm[::-1, 1])
    for kind, ends_um in pairs.ends_um.items():
        _draw_lines(slide, ends_um[: SHOWN[kind]] / 1000, kind)
    _write_under_slide(slide, window_mm, pairs)
    for kind, chart in charts.items():
        _draw_distances(chart, pairs, kind, settings)
    slide.set_title(_facts(pairs), loc="left", color=QUIET_INK, fontsize=11)
    _write_title(figure, pairs.title)
    encoded = io.BytesIO()
    with warnings.catch_warnings():
        # Names in alphabets that the font lacks get boxes, as in the other pictures.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(encoded, format="png")
    return encoded.getvalue()


def _window_mm(pairs: PairsOfSlide, slide_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Left, top and right, bottom of what is shown: where pairs are, with some glass: (2, 2)."""
    ends_mm = np.concatenate([ends.reshape(-1, 2) for ends in pairs.ends_um.values()]) / 1000
    if not len(ends_mm):
        ends_mm = np.array([np.zeros(2), slide_mm])
    margin_mm = _MARGIN * max(float(np.ptp(ends_mm, axis=0).max()), 1.0)
    window_mm = np.array([ends_mm.min(axis=0) - margin_mm, ends_mm.max(axis=0) + margin_mm])
    window_mm = np.clip(window_mm, 0, slide_mm)
    width, height = window_mm[1] - window_mm[0]
    missing = np.maximum([height * _LEAST_ASPECT - width, width / _MOST_ASPECT - height], 0)
    widened: NDArray[np.float64] = window_mm + np.outer([-0.5, 0.5], missing)
    return widened


def _panels(size_mm: NDArray[np.float64]) -> tuple[Figure, Axes, dict[PairKind, Axes]]:
    """A figure with room for the slide and, right of it, a chart of each kind."""
    width, height = size_mm * _inches_per_mm(size_mm)
    total = (width + _CHARTS_INCHES, max(height, _LEAST_HEIGHT_INCHES) + 0.9)
    figure = Figure(figsize=total, dpi=_DPI, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=_PAD_INCHES, h_pad=_PAD_INCHES)
    grid = figure.add_gridspec(2, 2, width_ratios=(width, _CHARTS_INCHES))
    slide = figure.add_subplot(grid[:, 0], anchor="N")
    slide.set_axis_off()
    kinds: tuple[PairKind, ...] = ("near", "distant")
    return figure, slide, {kind: figure.add_subplot(grid[row, 1]) for row, kind in enumerate(kinds)}


def _inches_per_mm(size_mm: NDArray[np.float64]) -> float:
    return float((_SLIDE_INCHES / size_mm).min())


def _draw_lines(slide: Axes, ends_mm: NDArray[np.float64], kind: PairKind) -> None:
    """A line a pair, with a dot at its anchor."""
    for colour, casing in ((CASINGS[kind], 1.6), (COLOURS[kind], 0.0)):
        lines = LineCollection(
            list(ends_mm), colors=colour, linewidths=1.5 + casing, capstyle="round"
        )
        slide.add_collection(lines, autolim=False)
        x, y = ends_mm[:, 0].T
        slide.scatter(x, y, (3.6 + casing) ** 2, color=colour, linewidths=0, zorder=2)


def _write_under_slide(slide: Axes, window_mm: NDArray[np.float64], pairs: PairsOfSlide) -> None:
    """Scale bar and legend, below the slide so that they hide no tissue."""
    (left, _), (right, bottom) = window_mm
    mm_per_inch = 1 / _inches_per_mm(window_mm[1] - window_mm[0])
    length_um = round_length_um(1000 * (right - left) / 5)
    end, y = left + length_um / 1000, bottom + 0.18 * mm_per_inch
    slide.plot([left, end], [y, y], color=INK, linewidth=4, solid_capstyle="butt", clip_on=False)
    label = length_label(length_um)
    slide.text(end + 0.1 * mm_per_inch, y, label, color=INK, va="center", fontsize=11)
    lines = ", ".join(
        f"{min(SHOWN[kind], len(ends))} {kind}" for kind, ends in pairs.ends_um.items()
    )
    legend = f"lines: {lines} pairs\ndots: their anchors"
    y = bottom + 0.08 * mm_per_inch
    slide.text(right, y, legend, color=QUIET_INK, ha="right", va="top", fontsize=10)


def _draw_distances(
    chart: Axes, pairs: PairsOfSlide, kind: PairKind, settings: PairSettings
) -> None:
    """Histogram of one kind's distances, with the limit that they keep."""
    anchors, partners = np.moveaxis(pairs.ends_um[kind], 1, 0)
    distances_mm = np.hypot(*(partners - anchors).T) / 1000
    limit_mm = (settings.near_um if kind == "near" else settings.far_um) / 1000
    longest = max(distances_mm.max(initial=0), 1.05 * limit_mm)
    span = (0.0, limit_mm) if kind == "near" else (limit_mm, longest)
    chart.hist(distances_mm, bins=_BINS, range=span, color=COLOURS[kind])
    chart.axvline(limit_mm, color=INK, linewidth=1.2, linestyle=(0, (5, 3)))
    chart.set_xlim(0, 1.05 * limit_mm if kind == "near" else longest)
    chart.set_title(_chart_title(pairs, kind, limit_mm), loc="left", color=INK, fontsize=11)
    chart.set_xlabel("distance between centres, mm", color=QUIET_INK)
    chart.set_ylabel("pairs", color=QUIET_INK)
    chart.tick_params(colors=QUIET_INK)
    chart.yaxis.set_major_formatter(lambda value, _: number(value))
    chart.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    chart.spines[["top", "right"]].set_visible(False)


def _chart_title(pairs: PairsOfSlide, kind: PairKind, limit_mm: float) -> str:
    limit = f"at most {limit_mm:g} mm" if kind == "near" else f"more than {limit_mm:g} mm"
    drawn = len(pairs.ends_um[kind])
    title = f"{number(drawn)} {kind} pairs, {limit}"
    if kind == "distant" and pairs.elsewhere:
        title += f"\nand {number(pairs.elsewhere)} with other slides"
    return title


def _facts(pairs: PairsOfSlide) -> str:
    kept = pairs.tiles - pairs.left_out
    facts = f"{counted(pairs.tiles, 'tile')}: {number(kept)} with a near and a distant partner"
    return facts + (f", {number(pairs.left_out)} left out" if pairs.left_out else "")


def _write_title(figure: Figure, title: str) -> None:
    # The strip under other pictures has a font of nearly this size.
    fitting, _ = fitted_words(Caption(title, (), 1.0), 0.75 * figure.bbox.width)
    figure.suptitle(
        fitting,
        x=_PAD_INCHES / figure.get_figwidth(),
        ha="left",
        color=INK,
        fontsize=14,
        fontweight="bold",
        parse_math=False,
    )
