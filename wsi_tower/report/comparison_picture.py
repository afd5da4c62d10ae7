"""The picture of several runs: their curves over one another, and the settings that differ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from wsi_tower.report.curves import (
    COLOURS,
    DPI,
    INK,
    QUIET_INK,
    Style,
    as_png,
    draw_curve,
    in_losses_order,
    tidy,
)
from wsi_tower.report.wording import counted
from wsi_tower.runs import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from wsi_tower.runs import Columns

__all__ = ["ComparedRun", "comparison_picture"]

_STYLES: tuple[Style, ...] = ("-", "--", "-.", ":")
"""Besides colours, for grey printers and more runs than colours."""
_MOST_IN_ROW = 4
_PANEL_IN = (3.6, 3.0)
_LINE_IN, _SIGN_IN = 0.24, 0.088
_MARGIN_IN = 0.12
_MOST_SETTINGS = 16
_WATCHED = {
    "rank": ("feature rank", "effective rank of features"),
    "gap": ("far / near", "distance of far over near pairs"),
}


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One of the runs."""

    name: str
    """Its name."""
    logged: Columns
    """Its log."""
    batch_size: int
    """Tiles of a step."""


def comparison_picture(
    runs: Sequence[ComparedRun], differing: Mapping[str, Sequence[str]]
) -> bytes:
    """Losses, their parts and what the collapse watch saw, of every run in one panel each.

    By step, or by tiles seen where steps are not of one size.

    Args:
        runs: two or more.
        differing: settings that differ, with the value of each run, in words.

    Returns:
        A PNG file.
    """
    panels = list(_panels(runs)) or ["loss"]
    rows = -(-len(panels) // _MOST_IN_ROW)
    columns = -(-len(panels) // rows)
    shown = dict(list(differing.items())[:_MOST_SETTINGS])
    notes = ("method" in differing) + (len(differing) > len(shown))
    width = max(columns * _PANEL_IN[0], 2 * _PANEL_IN[0])
    per_line = _runs_per_line(runs, width)
    legend = -(-len(runs) // per_line) * _LINE_IN + _MARGIN_IN
    heights = (rows * _PANEL_IN[1] + legend, (len(shown) + 2 + notes) * _LINE_IN)
    figure = Figure(figsize=(width, sum(heights)), layout="constrained", dpi=DPI)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    places = list(upper.subplots(rows, columns, squeeze=False).flat)
    for axes, name in zip(places, panels, strict=False):
        _draw_panel(axes, name, runs)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    _draw_legend(upper, runs, per_line)
    _draw_table(lower, runs, shown, left_out=len(differing) - len(shown))
    return as_png(figure)


def _panels(runs: Sequence[ComparedRun]) -> Iterable[str]:
    logged = {name for run in runs for name in run.logged}
    yield from in_losses_order(logged - MEASURES)
    yield from (name for name in _WATCHED if name in logged)


def _draw_panel(axes: Axes, name: str, runs: Sequence[ComparedRun]) -> None:
    has_one_size = len({run.batch_size for run in runs}) == 1
    for run, (colour, style) in zip(runs, _looks(), strict=False):
        tiles_a_step = 1 if has_one_size else run.batch_size
        curve = [(step * tiles_a_step, value) for step, value in run.logged.get(name, ())]
        draw_curve(axes, curve, colour, run.name, style)
    title, meaning = _WATCHED.get(name, (name, ""))
    axes.set_xlim(left=0)  # the same start in every panel
    axes.set_title(title, loc="left", color=INK)
    axes.set_xlabel("step" if has_one_size else "tiles seen", color=QUIET_INK)
    axes.set_ylabel(meaning, color=QUIET_INK, fontsize=8.5)
    if name == "rank":
        axes.set_ylim(bottom=0)
    if name == "gap":
        axes.axhline(1, color=QUIET_INK, linewidth=0.8, linestyle=":")
    tidy(axes)
    if not axes.has_data():
        middle = (0.5, 0.5, "nothing was logged")
        axes.text(*middle, color=QUIET_INK, ha="center", transform=axes.transAxes)
    if not has_one_size:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 50k


def _looks() -> Iterable[tuple[str, Style]]:
    """Colour and line of each run: never two alike below twenty."""
    return zip(cycle(COLOURS), cycle(_STYLES), strict=False)


def _runs_per_line(runs: Sequence[ComparedRun], width_in: float) -> int:
    longest = max(len(run.name) for run in runs) * _SIGN_IN + 0.6
    return max(1, min(len(runs), int(width_in / longest)))


def _draw_legend(figure: SubFigure, runs: Sequence[ComparedRun], per_line: int) -> None:
    looks = zip(runs, _looks(), strict=False)
    lines = [Line2D([], [], color=colour, linestyle=style) for _, (colour, style) in looks]
    legend = figure.legend(
        lines,
        [run.name for run in runs],
        loc="outside upper left",
        ncols=per_line,
        frameon=False,
        handlelength=2.8,
    )
    for text in legend.get_texts():
        text.set(color=INK, fontweight="bold", parse_math=False)


def _draw_table(
    figure: SubFigure,
    runs: Sequence[ComparedRun],
    differing: Mapping[str, Sequence[str]],
    *,
    left_out: int,
) -> None:
    """Settings below one another, a column a run in its colour."""
    axes = figure.subplots()
    axes.set_axis_off()
    width_in, height_in = figure.bbox.width / DPI, figure.bbox.height / DPI
    axes.set(xlim=(0, width_in), ylim=(height_in, 0))
    names_in = max([len(name) for name in differing] + [18]) * _SIGN_IN + 2 * _MARGIN_IN
    words = [len(value) for values in differing.values() for value in values]
    longest = max([*words, *(len(run.name) for run in runs)]) + 3
    each_in = min((width_in - names_in) / len(runs), longest * _SIGN_IN)
    signs = max(4, int(each_in / _SIGN_IN) - 1)
    lines: list[tuple[str, Sequence[str]]] = [
        ("settings that differ", [run.name for run in runs] if differing else ["none"]),
        *differing.items(),
    ]
    if left_out:
        lines.append((f"and {counted(left_out, 'other')}", ()))
    if "method" in differing:
        lines.append(("losses of other methods are other losses: compare rank and far / near", ()))
    for number, (name, values) in enumerate(lines):
        y_in = (number + 1) * _LINE_IN
        is_head = number == 0
        weight = "bold" if is_head else "normal"
        _write(axes, (_MARGIN_IN, y_in), name, INK if is_head else QUIET_INK, weight)
        for place, (value, (colour, _)) in enumerate(zip(values, _looks(), strict=False)):
            shade = colour if is_head and differing else INK
            at = (names_in + place * each_in, y_in)
            _write(axes, at, _shortened(value, signs), shade, weight)


def _write(axes: Axes, place: tuple[float, float], text: str, colour: str, weight: str) -> None:
    axes.text(*place, text, color=colour, fontsize=9, fontweight=weight, parse_math=False)


def _shortened(text: str, signs: int) -> str:
    """Text with its middle cut out until it has so many signs: names differ at their ends."""
    if len(text) <= signs:
        return text
    left = signs // 2
    return f"{text[:left]}…{text[left + 1 - signs :]}"
