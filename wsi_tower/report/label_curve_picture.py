"""The picture of label-efficiency curves: score by the share of labelled tiles."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from wsi_tower.report.curves import COLOURS, DPI, INK, QUIET_INK, as_png

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from wsi_tower.scores import LabelCurve

__all__ = ["label_curve_picture"]

_SIZE_IN = (7.2, 4.4)
_MARKERS = ("o", "s", "^", "D", "v", "P")
"""Besides colours, for grey printers."""
_APART = 0.03
"""By how much the dots of curves stand beside one another, as a part of their share."""


def label_curve_picture(
    curves: Sequence[LabelCurve], title: str, *, chance: float | None = None
) -> bytes:
    """Mean score of each curve, and every seed as a dot.

    Args:
        curves: one or more.
        title: what was told apart, in words.
        chance: what guessing gives, drawn as a line.

    Returns:
        A PNG file.
    """
    figure = Figure(figsize=_SIZE_IN, layout="constrained", dpi=DPI)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    looks = zip(cycle(COLOURS), cycle(_MARKERS), strict=False)
    for place, (curve, (colour, marker)) in enumerate(zip(curves, looks, strict=False)):
        _draw(axes, curve, colour, marker, 1 + _APART * (place - (len(curves) - 1) / 2))
    if chance is not None:
        axes.axhline(chance, color=QUIET_INK, linewidth=0.8, linestyle=":", label="guessing")
    _tidy(axes, sorted({share for curve in curves for share in curve.fractions}))
    axes.set_title(title, loc="left", color=INK, fontsize=10, parse_math=False)
    legend = axes.legend(frameon=False, fontsize=9, labelcolor=QUIET_INK)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return as_png(figure)


def _draw(axes: Axes, curve: LabelCurve, colour: str, marker: str, beside: float) -> None:
    shares = np.array(curve.fractions)
    means = [curve.mean_at(share) for share in curve.fractions]
    axes.plot(shares, means, color=colour, marker=marker, markersize=5, label=curve.name)
    dots = [(point.fraction * beside, point.score) for point in curve.points]
    x, y = zip(*dots, strict=True)
    axes.scatter(x, y, s=9, color=colour, alpha=0.35, linewidths=0)


def _tidy(axes: Axes, shares: Sequence[float]) -> None:
    axes.xaxis.set_major_locator(FixedLocator(list(shares)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.set_xlabel("training tiles, of each class alike", color=QUIET_INK)
    axes.set_ylabel("balanced accuracy on test slides", color=QUIET_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.tick_params(colors=QUIET_INK)
