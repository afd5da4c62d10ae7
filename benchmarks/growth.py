"""How time and memory of `wsi-tower tile` grow with the slide: 5 000 to 80 000 px a side.

    python -m benchmarks.growth                     # phantoms, made once; the largest takes minutes

Every slide is tiled in pairs (two links of the same file), with one process, with two, and over a
Dask cluster of two local worker processes. Writes ``benchmarks/results/growth.json`` and the plot
``docs/growth.png``: the time follows the tissue, a straight line; the memory follows the mask.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.phantoms import phantom_slide
from benchmarks.results import RESULTS, write_results
from benchmarks.work import run_tile

if TYPE_CHECKING:
    from collections.abc import Iterator

SIDES_PX = (5_120, 10_240, 20_480, 40_960, 81_920)
PLOT = Path(__file__).parents[1] / "docs" / "growth.png"
COLOURS = {"1 process": "#0072b2", "2 processes": "#d55e00", "Dask, 2 workers": "#009e73"}


@click.command()
@click.option("--repeats", type=int, default=3, show_default=True)
@click.option("--pixels", default="native", show_default=True)
def main(repeats: int, pixels: str) -> None:
    """Measure growth."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=RESULTS) as name, _cluster() as address:
        ways = {
            "1 process": ("-j", "1"),
            "2 processes": ("-j", "2"),
            "Dask, 2 workers": ("--scheduler", address),
        }
        for side_px in SIDES_PX:
            slides = _links(phantom_slide(side_px), Path(name) / str(side_px))
            for way, options in ways.items():
                rows.append(
                    _row(slides, Path(name), way, ("--pixels", pixels, *options), repeats)
                    | {"side_px": side_px}
                )
                click.echo("{side_px:>7} px  {way:<16} {tiles:>6} tiles a slide  "
                           "{seconds:>6.2f} s  {peak_mb:>5} MB".format(**rows[-1]))  # fmt: skip
    write_results("growth", {"pixels": pixels, "repeats": repeats, "rows": rows})
    _plot(rows)
    click.echo(f"Drawn as {PLOT}")


@contextmanager
def _cluster() -> Iterator[str]:
    """Address of a scheduler with two worker processes of one thread, started for the block."""
    address = "tcp://127.0.0.1:8799"
    dask = [sys.executable, "-m", "distributed.cli"]
    commands = (
        [*dask[:2], f"{dask[2]}.dask_scheduler", "--port", "8799", "--no-dashboard"],
        [*dask[:2], f"{dask[2]}.dask_worker", address, "--nworkers", "2", "--nthreads", "1",
         "--no-dashboard"],
    )  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, **quiet) for command in commands]  # type: ignore[call-overload]
    try:
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def _links(slide: Path, folder: Path) -> list[Path]:
    folder.mkdir()
    links = [folder / f"{slide.stem}-{number}.svs" for number in (1, 2)]
    for link in links:
        os.link(slide, link)
    return links


def _row(
    slides: list[Path], folder: Path, way: str, options: tuple[str, ...], repeats: int
) -> dict[str, Any]:
    runs = [run_tile(slides, folder / "workspace", *options) for _ in range(repeats)]
    best = min(runs, key=lambda run: run["seconds"])
    return {
        "way": way,
        "tiles": best["slides"][0]["tiles"],
        "seconds": best["seconds"],
        "peak_mb": max(slide["details"]["peak_mb"] for slide in best["slides"]),
    }


def _plot(rows: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=110)
    time, memory = figure.subplots(1, 2)
    for way, colour in COLOURS.items():
        own = [row for row in rows if row["way"] == way]
        style = {"color": colour, "marker": "o", "markersize": 4, "label": way}
        time.plot([2 * row["tiles"] for row in own], [row["seconds"] for row in own], **style)
        memory.plot([row["side_px"] / 1e3 for row in own], [row["peak_mb"] for row in own], **style)
    time.set(
        xscale="log", yscale="log", xlabel="tissue tiles of two slides", ylabel="seconds",
        title="Time of both slides",
    )  # fmt: skip
    memory.set(
        xlabel="side of the slide, thousand px", ylabel="MB", ylim=(0, None),
        title="Largest memory of one process",
    )  # fmt: skip
    for axes in (time, memory):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    time.legend(frameon=False)
    figure.savefig(PLOT)


if __name__ == "__main__":
    main()
