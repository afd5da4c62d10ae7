"""Curves of what `benchmarks.index` measured: ``docs/index-curves.png``.

    python -m benchmarks.index_curves

Reads ``benchmarks/results/index.json``, where every run of the benchmark adds its sizes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from benchmarks.results import RESULTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT = Path(__file__).parents[1] / "docs" / "index-curves.png"
COLOURS = {
    "wsi-tower index, compressed": "#3a3f9e",
    "wsi-tower index, flat": "#2f9e77",
    "NumPy, brute force": "#8a8f9c",
    "torch, brute force": "#c4a24a",
    "FAISS HNSW": "#d6453b",
}
LENGTH = 128


def main() -> None:
    """Draw them."""
    record = json.loads((RESULTS / "index.json").read_text())
    rows = [row for row in record["measured"] if row["length"] == LENGTH]
    figure = Figure(figsize=(11, 3.6), layout="constrained", dpi=110)
    time, memory, size = figure.subplots(1, 3)
    _curve(time, rows, "p50_ms", "", "ms")
    _curve(time, rows, "p99_ms", "A query: median (line), 99 % (dots)", "ms", ":")
    _curve(memory, rows, "searching_peak_mb", "Memory of the searching process", "MB")
    _curve(size, rows, "bytes_per_tile", "Index, bytes a tile", "bytes")
    memory.legend(frameon=False, fontsize=7)
    figure.savefig(PLOT)


def _curve(
    axes: Axes, rows: list[dict[str, Any]], value: str, title: str, unit: str, line: str = "-"
) -> None:
    for way, colour in COLOURS.items():
        own = sorted((row for row in rows if row["name"] == way), key=lambda row: row["tiles"])
        axes.plot(
            [row["tiles"] for row in own],
            [row[value] for row in own],
            color=colour,
            linestyle=line,
            marker="o",
            markersize=4,
            label=way,
        )
    axes.set(xscale="log", yscale="log", xlabel="tiles", ylabel=unit, title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


if __name__ == "__main__":
    main()
