"""Pictures of a training: its curves, and what it makes of tiles."""

from __future__ import annotations

import io
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["restoration_picture", "training_picture"]

_DPI = 110
_INK, _QUIET_INK = "#1d2028", "#5c616e"
# Told apart by every eye, on paper too (Okabe and Ito).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_NO_LOSS = frozenset({"lr", "grad_norm", "images_per_s", "rank", "gap"})
_FEW = 30
"""Points that are drawn as such."""
_ROWS = ("clean", "corrupted", "restored")


def training_picture(logged: Mapping[str, Sequence[tuple[int, float]]], title: str) -> bytes:
    """Loss, each of its parts, and what the collapse watch saw, by step.

    Args:
        logged: step and value of every column of a run's log.
        title: of the run.

    Returns:
        A PNG file.
    """
    names = sorted(logged.keys() - _NO_LOSS, key=lambda name: (name != "loss", name))
    figure = Figure(figsize=(3.7 * (len(names) + 1), 3.6), layout="constrained", dpi=_DPI)
    (*terms, watch) = figure.subplots(1, len(names) + 1, squeeze=False)[0]
    # A panel each: a restoration of 0.1 is a flat line beside a contrast of 4.
    for axes, name, colour in zip(terms, names, cycle(_COLOURS), strict=False):
        _draw(axes, logged[name], colour, name)
        axes.set_title(name, loc="left", color=_INK)
        axes.set_xlabel("step", color=_QUIET_INK)
    _draw_watch(watch, logged)
    for axes in (*terms, watch):
        _tidy(axes)
    figure.suptitle(title, x=0.01, ha="left", color=_INK, fontweight="bold", parse_math=False)
    return _as_png(figure)


def restoration_picture(rows: NDArray[np.uint8], title: str) -> bytes:
    """Tiles clean, corrupted and restored, below one another.

    Args:
        rows: (3, K, H, W, C), C being 3 or 1.
        title: of the run.

    Returns:
        A PNG file.
    """
    count = rows.shape[1]
    figure = Figure(figsize=(1.35 * count + 0.9, 4.7), layout="constrained", dpi=_DPI)
    places = figure.subplots(len(_ROWS), count, squeeze=False)
    for name, tiles, axes_row in zip(_ROWS, rows, places, strict=True):
        for tile, axes in zip(tiles, axes_row, strict=True):
            axes.imshow(
                tile.squeeze(-1) if tile.shape[-1] == 1 else tile, cmap="gray", vmin=0, vmax=255
            )
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        axes_row[0].set_ylabel(name, color=_INK)
    figure.suptitle(title, x=0.01, ha="left", color=_INK, fontweight="bold", parse_math=False)
    return _as_png(figure)


def _draw_watch(axes: Axes, logged: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Feature rank, and distance of distant over near pairs on an axis of its own."""
    _draw(axes, logged.get("rank", ()), _COLOURS[2], "feature rank")
    axes.set_title("collapse watch", loc="left", color=_INK)
    axes.set_xlabel("step", color=_QUIET_INK)
    axes.margins(y=0.15)
    axes.autoscale_view()
    axes.set_ylim(bottom=0)
    axes.set_ylabel("effective rank of features", color=_COLOURS[2])
    gap = logged.get("gap", ())
    if gap:
        other = axes.twinx()
        _draw(other, gap, _COLOURS[1], "far / near")
        other.axhline(1, color=_COLOURS[1], linewidth=0.8, linestyle=":")
        other.margins(y=0.15)
        other.set_ylabel("distance of far over near pairs", color=_COLOURS[1])
        other.spines[["top", "left", "bottom"]].set_visible(False)
        other.tick_params(colors=_QUIET_INK)


def _draw(axes: Axes, curve: Sequence[tuple[int, float]], colour: str, label: str) -> None:
    """A curve; a long one faintly, with what it is on the whole."""
    if not curve:
        return
    steps, values = zip(*curve, strict=True)
    if len(curve) < _FEW:
        axes.plot(steps, values, color=colour, label=label, marker="o", markersize=3)
        return
    axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.8)
    axes.plot(steps, _smoothed(values, reach=len(values) // _FEW), color=colour, label=label)


def _smoothed(values: Sequence[float], reach: int) -> NDArray[np.float64]:
    """Means of each value and those up to ``reach`` before and after it, as far as there are."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    starts = np.maximum(places - reach, 0)
    stops = np.minimum(places + reach + 1, len(values))
    means: NDArray[np.float64] = (sums[stops] - sums[starts]) / (stops - starts)
    return means


def _tidy(axes: Axes) -> None:
    axes.spines["top"].set_visible(False)
    axes.spines["right"].set_visible(False)
    axes.grid(alpha=0.25)
    axes.tick_params(colors=_QUIET_INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _as_png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
