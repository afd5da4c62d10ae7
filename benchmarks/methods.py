"""Every method of `pretrain` on the same tiles, and lightly on the same tiles as image files.

    python -m benchmarks.methods --install          # lightly: an environment, gigabytes
    python -m benchmarks.methods                    # preset small, on the CPU
    python -m benchmarks.methods --preset paper --device cuda --peak-tflops 989    # on an H100

Each run is a process of its own. lightly does SimCLR and BYOL as its guide has it: its dataset,
transforms, heads and losses, with torch's DataLoader; backbone, crop and batch are ours. Runs go in
turn. A rate is of the seconds after the first step, whose own time counts from the start of the
process; memory is the most that was seen of a run's processes together, where shared pages count
once. Prints a table and writes ``benchmarks/results/methods.json``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import click
import numpy as np

from benchmarks.peers import installed, peer_python, peer_version
from benchmarks.phantoms import SEED, phantom_slide
from benchmarks.results import RESULTS, write_results
from benchmarks.rounds import Measured, Way, in_turn
from benchmarks.work import run_tile
from wsi_tower.pretrain import METHODS
from wsi_tower.training import StorePictures
from wsi_tower.workspace import Workspace

PEER = "lightly"
PEER_METHODS = ("simclr", "byol")
SIDE_PX = 10_240
HERE = Path(__file__).parent
LOOK_SECONDS = 1.0

Told: TypeAlias = dict[str, float]
"""What one run tells."""


@click.command()
@click.option("--install", is_flag=True, help="Make lightly's environment, then stop.")
@click.option("--preset", type=click.Choice(["small", "paper"]), default="small", show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--seconds", default=4.0, show_default=True, help="Of a run, after its first step.")
@click.option("--repeats", default=2, show_default=True)
@click.option("--peak-tflops", type=float, help="Of the GPU in bf16, to say how much is used.")
def main(install: bool, **options: Any) -> None:
    """Measure methods."""
    if install:
        installed(PEER)
        return
    began = time.monotonic()
    slide = phantom_slide(SIDE_PX)
    with tempfile.TemporaryDirectory(dir=RESULTS) as name:
        runs = Runs(_tiled(slide, Path(name)), options)
        measured = in_turn(runs.ways(), options["repeats"], warm_up=False)
    rows = [_row(one, runs.told[one.name], options["peak_tflops"]) for one in measured]
    title = f"{slide.name}, {runs.tiles} tiles, preset {options['preset']} on {options['device']}"
    _print_rows(title, rows)
    seconds = round(time.monotonic() - began)
    click.echo(f"\nTook {seconds} s")
    record = {"slide": slide.name, "tiles": runs.tiles, "seed": SEED, "options": options}
    if peer_python(PEER) is not None:
        record[PEER] = peer_version(PEER)
    write_results("methods", record | {"seconds": seconds, "rows": rows})


class Runs:
    """Runs of all methods, and what they told."""

    def __init__(self, workspace: Path, options: dict[str, Any]) -> None:
        """``workspace`` holds the store, and ``files`` the same tiles as files."""
        self._workspace, self._options = workspace, options
        self.tiles = len(list((workspace / "files").iterdir()))
        self.told: dict[str, list[Told]] = {}

    def ways(self) -> list[Way]:
        """What is measured."""
        ways = []
        if peer_python(PEER) is None:
            click.echo(f"{PEER} is not installed: python -m benchmarks.methods --install")
            against: tuple[str, ...] = ()
        else:
            against = PEER_METHODS
            ways = [self._way(f"{PEER}, {name}", self._of_peer(name)) for name in against]
        for name in METHODS:
            other = f"{PEER}, {name}" if name in against else ""
            ways.append(self._way(f"wsi-tower, {name}", self._of_ours(name), other))
        return ways

    def _way(self, name: str, command: list[str], against: str = "") -> Way:
        return Way(name, partial(self._rate, name, command), against)

    def _rate(self, name: str, command: list[str]) -> float:
        seconds = str(self._options["seconds"])
        told = _run([*command, "--seconds", seconds, "--device", self._options["device"]])
        self.told.setdefault(name, []).append(told)
        click.echo(f"{name}: {told['images_per_second']:.1f} images/s", err=True)
        return told["images_per_second"]

    def _of_ours(self, name: str) -> list[str]:
        script = [sys.executable, "-m", "benchmarks.method_run"]
        return [*script, name, str(self._workspace), "--preset", self._options["preset"]]

    def _of_peer(self, name: str) -> list[str]:
        recipe = METHODS[name].recipes[self._options["preset"]]
        script = [str(peer_python(PEER)), str(HERE / "peer_scripts" / f"with_{PEER}.py")]
        values = {
            "backbone": recipe.backbone,
            "crop-px": recipe.crop_px,
            "batch-size": recipe.batch_size,
            "workers": os.cpu_count(),
        }
        told = [part for key, value in values.items() for part in (f"--{key}", str(value))]
        return [*script, name, str(self._workspace / "files"), *told]


def _tiled(slide: Path, folder: Path) -> Path:
    """A workspace with the slide's store, and the store's tiles as files, byte for byte."""
    workspace, files = folder / "workspace", folder / "workspace" / "files"
    run_tile([slide], workspace, "--pixels", "native", "-j", "2")
    files.mkdir()
    with StorePictures.open(Workspace(workspace).tile_stores(), warn=click.echo) as pictures:
        for number, stream in enumerate(pictures.streams(np.arange(len(pictures)))):
            (files / f"{number:05d}.jpg").write_bytes(stream)
    return workspace


def _run(command: list[str]) -> Told:
    """What a process prints at its end, with the most memory that it and its children took."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = ["--began", str(time.monotonic())]
        process = subprocess.Popen(
            [*command, *began], stdout=output, stderr=errors, start_new_session=True
        )
        peak_mb = 0.0
        while process.poll() is None:
            peak_mb = max(peak_mb, _session_mb(process.pid))
            time.sleep(LOOK_SECONDS)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise click.ClickException(f"{' '.join(command)} failed:\n{errors.read()[-2000:]}")
        told: Told = json.loads(output.read().splitlines()[-1])
    return told | {"peak_mb": peak_mb}


def _session_mb(session: int) -> float:
    """Memory of a session's processes: the most that one alone had; now, if there are several."""
    processes = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    members = [one for one in processes if _session_of(one) == session]
    if len(members) == 1:
        return _kilobytes(session, "status", "VmHWM") / 1e3
    # A page that several share counts once. To ask for that takes the kernel tens of milliseconds.
    return sum(_kilobytes(member, "smaps_rollup", "Pss") for member in members) / 1e3


def _session_of(process: int) -> int | None:
    try:
        return os.getsid(process)
    except OSError:  # it has ended
        return None


def _kilobytes(process: int, file: str, field: str) -> int:
    try:
        told = Path(f"/proc/{process}/{file}").read_text(encoding="utf-8")
        return int(told.partition(f"\n{field}:")[2].split()[0])
    except (OSError, IndexError):  # it has ended
        return 0


def _row(measured: Measured, told: list[Told], peak_tflops: float | None) -> dict[str, Any]:
    firsts = [one["seconds_to_first_step"] for one in told]
    row = measured.to_json() | {
        "seconds_to_first_step": statistics.median(firsts),
        "peak_mb": max(one["peak_mb"] for one in told),
    }
    if "device_mb" in told[0]:
        row["device_mb"] = max(one["device_mb"] for one in told)
    if peak_tflops and "encoder_tflops" in told[0]:
        used = statistics.median(one["encoder_tflops"] for one in told)
        row["model_flops_used"] = used / peak_tflops
    return row


def _print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    click.echo(
        f"\n{title}\n{'':<24}{'images/s':>10}{'ratio':>8}{'first step':>12}{'memory':>10}"
        f"{'of GPU':>10}{'MFU':>8}  against"
    )
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}×"
        device = f"{row['device_mb']:,.0f} MB" if "device_mb" in row else ""
        used = f"{row['model_flops_used']:.0%}" if "model_flops_used" in row else ""
        click.echo(
            f"{row['name']:<24}{row['tiles_per_second']:>10.1f}{ratio:>8}"
            f"{row['seconds_to_first_step']:>10.1f} s{row['peak_mb']:>7,.0f} MB"
            f"{device:>10}{used:>8}  {row['against']}"
        )


if __name__ == "__main__":
    main()
