"""How curves of a training look, wherever they are drawn."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = [
    "COLOURS",
    "DPI",
    "INK",
    "QUIET_INK",
    "Style",
    "as_png",
    "draw_curve",
    "in_losses_order",
    "smoothed",
    "tidy",
]

Style: TypeAlias = Literal["-", "--", "-.", ":"]
"""How a line is drawn, in Matplotlib's signs."""

DPI = 110
INK, QUIET_INK = "#1d2028", "#5c616e"
# Told apart by every eye, on paper too (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_FEW = 30
"""Points that are drawn as such."""


def draw_curve(
    axes: Axes,
    curve: Sequence[tuple[float, float]],
    colour: str,
    label: str,
    style: Style = "-",
) -> None:
    """A curve; a long one faintly, with what it is on the whole."""
    if not curve:
        return
    places, values = zip(*curve, strict=True)
    if len(curve) < _FEW:
        axes.plot(
            places, values, color=colour, label=label, marker="o", markersize=3, linestyle=style
        )
        return
    axes.plot(places, values, color=colour, alpha=0.3, linewidth=0.8)
    whole = smoothed(values, reach=len(values) // _FEW)
    axes.plot(places, whole, color=colour, label=label, linestyle=style)


def smoothed(values: Sequence[float], reach: int) -> NDArray[np.float64]:
    """Means of each value and those up to ``reach`` before and after it, as far as there are."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    starts = np.maximum(places - reach, 0)
    stops = np.minimum(places + reach + 1, len(values))
    means: NDArray[np.float64] = (sums[stops] - sums[starts]) / (stops - starts)
    return means


def in_losses_order(names: set[str]) -> list[str]:
    """``loss`` first, then its parts."""
    return sorted(names, key=lambda name: (name != "loss", name))


def tidy(axes: Axes) -> None:
    """Frame, grid and whole steps."""
    axes.spines["top"].set_visible(False)
    axes.spines["right"].set_visible(False)
    axes.grid(alpha=0.25)
    axes.tick_params(colors=QUIET_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def as_png(figure: Figure) -> bytes:
    """The picture as a file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
