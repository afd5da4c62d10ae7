"""Pictures of a training: its curves, and what it makes of tiles."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from wsi_tower.report.curves import (
    COLOURS,
    DPI,
    INK,
    QUIET_INK,
    as_png,
    draw_curve,
    in_losses_order,
    tidy,
)
from wsi_tower.runs import MEASURES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

__all__ = ["restoration_picture", "training_picture"]

_ROWS = ("clean", "corrupted", "restored")


def training_picture(logged: Mapping[str, Sequence[tuple[int, float]]], title: str) -> bytes:
    """Loss, each of its parts, and what the collapse watch saw, by step.

    Args:
        logged: step and value of every column of a run's log.
        title: of the run.

    Returns:
        A PNG file.
    """
    names = in_losses_order(set(logged.keys() - MEASURES))
    figure = Figure(figsize=(3.7 * (len(names) + 1), 3.6), layout="constrained", dpi=DPI)
    (*terms, watch) = figure.subplots(1, len(names) + 1, squeeze=False)[0]
    # A panel each: a restoration of 0.1 is a flat line beside a contrast of 4.
    for axes, name, colour in zip(terms, names, cycle(COLOURS), strict=False):
        draw_curve(axes, logged[name], colour, name)
        axes.set_title(name, loc="left", color=INK)
        axes.set_xlabel("step", color=QUIET_INK)
    _draw_watch(watch, logged)
    for axes in (*terms, watch):
        tidy(axes)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontweight="bold", parse_math=False)
    return as_png(figure)


def restoration_picture(rows: NDArray[np.uint8], title: str) -> bytes:
    """Tiles clean, corrupted and restored, below one another.

    Args:
        rows: (3, K, H, W, C), C being 3 or 1.
        title: of the run.

    Returns:
        A PNG file.
    """
    count = rows.shape[1]
    figure = Figure(figsize=(1.35 * count + 0.9, 4.7), layout="constrained", dpi=DPI)
    places = figure.subplots(len(_ROWS), count, squeeze=False)
    for name, tiles, axes_row in zip(_ROWS, rows, places, strict=True):
        for tile, axes in zip(tiles, axes_row, strict=True):
            axes.imshow(
                tile.squeeze(-1) if tile.shape[-1] == 1 else tile, cmap="gray", vmin=0, vmax=255
            )
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        axes_row[0].set_ylabel(name, color=INK)
    figure.suptitle(title, x=0.01, ha="left", color=INK, fontweight="bold", parse_math=False)
    return as_png(figure)


def _draw_watch(axes: Axes, logged: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Feature rank, and distance of distant over near pairs on an axis of its own."""
    draw_curve(axes, logged.get("rank", ()), COLOURS[2], "feature rank")
    axes.set_title("collapse watch", loc="left", color=INK)
    axes.set_xlabel("step", color=QUIET_INK)
    axes.margins(y=0.15)
    axes.autoscale_view()
    axes.set_ylim(bottom=0)
    axes.set_ylabel("effective rank of features", color=COLOURS[2])
    gap = logged.get("gap", ())
    if gap:
        other = axes.twinx()
        draw_curve(other, gap, COLOURS[1], "far / near")
        other.axhline(1, color=COLOURS[1], linewidth=0.8, linestyle=":")
        other.margins(y=0.15)
        other.set_ylabel("distance of far over near pairs", color=COLOURS[1])
        other.spines[["top", "left", "bottom"]].set_visible(False)
        other.tick_params(colors=QUIET_INK)
