"""Other tools on the same slide in the same run.

    python -m benchmarks.peers --install            # a virtual environment each, gigabytes
    python -m benchmarks.peers

A peer runs its script in ``benchmarks/peer_scripts`` by an interpreter of its own: read the tissue
tiles of the slide, 256 px at its resolution, as a user of that tool would, with two workers where
it has workers. It prints tiles a second, imports not counted. Peers that do not install are named
and left out. Prints a table and writes ``benchmarks/results/peers.json``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np

from benchmarks.phantoms import SEED, phantom_slide
from benchmarks.results import RESULTS, write_results
from benchmarks.rounds import Way, in_turn, print_table
from benchmarks.work import openslide_rate, run_tile, store_of, tile_rate

__all__ = ["CUCIM", "installed", "peer_python", "peer_rate", "peer_version"]

HERE = Path(__file__).parent
SIDE_PX = 40_960
CUCIM = "cucim"
PEERS: dict[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    CUCIM: ("cuCIM, a list of regions, 2 workers", (("cucim-cu12",),)),
    "tiatoolbox": ("tiatoolbox, read_rect", (("tiatoolbox",),)),
    "lazyslide": ("LazySlide, reader.get_region", (("lazyslide",),)),
    # It pins NumPy and others to versions that today's Python has no wheels of.
    "histolab": (
        "histolab, tiles saved as PNG",
        (
            ("histolab", "--no-deps"),
            ("numpy<2", "scikit-image<0.23", "openslide-python", "openslide-bin", "Pillow"),
        ),
    ),
}
"""Name of the script: what it does, and what pip is asked for, call by call."""
TRAINERS = {
    "lightly": (("lightly", f"torch=={version('torch').partition('+')[0]}", "torchvision"),)
}
"""Peers of `benchmarks.methods`, likewise; on the same torch."""
PEER_TILES = 1500
"""Tiles that a peer reads: the first of the slide's tissue in rows, as it would tile them."""


@click.command()
@click.option("--install", is_flag=True, help="Make the environments, then stop.")
@click.option("--repeats", type=int, default=3, show_default=True)
def main(install: bool, repeats: int) -> None:
    """Measure other tools."""
    if install:
        for name in PEERS:
            installed(name)
        return
    slide = phantom_slide(SIDE_PX)
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        measured = in_turn(_ways(slide, Path(folder)), repeats, warm_up=False)
    print_table(f"{slide.name}, ratios to OpenSlide", measured)
    record = {"slide": slide.name, "repeats": repeats, "seed": SEED, "versions": _versions()}
    write_results("peers", record | {"measured": [one.to_json() for one in measured]})


def peer_python(name: str) -> Path | None:
    """A peer's interpreter, or None where it is not installed."""
    python = RESULTS / "peers" / name / "bin" / "python"
    return python if (python.parent / ".installed").exists() else None


def peer_rate(name: str, slide: Path) -> float:
    """Tiles a second, as the peer's script prints it."""
    python = peer_python(name)
    assert python is not None, f"{name} is not installed"
    script = HERE / "peer_scripts" / f"with_{name}.py"
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        corners = Path(folder) / "xy_l0.json"
        corners.write_text(json.dumps(_corners(slide).tolist()))
        done = subprocess.run(
            [str(python), str(script), str(slide), str(corners), folder],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        raise click.ClickException(f"{name} failed:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["tiles_per_second"])


def _corners(slide: Path) -> np.ndarray:
    """Corners of the tissue tiles in level-0 pixels, found once a slide."""
    kept = RESULTS / "peers" / f"{slide.stem}.json"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
            run_tile([slide], Path(folder) / "grid", "--pixels", "none")
            with store_of(slide, Path(folder) / "grid") as store:
                kept.parent.mkdir(exist_ok=True)
                kept.write_text(json.dumps(store.xy_l0.tolist()))
    return np.array(json.loads(kept.read_text()))[:PEER_TILES]


def _ways(slide: Path, folder: Path) -> list[Way]:
    base = "OpenSlide, read_region, 1 thread"
    corners = _corners(slide)
    ways = [
        Way(base, partial(openslide_rate, slide, corners, 256, 1)),
        Way(
            "OpenSlide, read_region, 2 threads",
            partial(openslide_rate, slide, corners, 256, 2), base,
        ),
    ]  # fmt: skip
    for name, (label, _) in PEERS.items():
        if peer_python(name) is None:
            click.echo(f"{name} is not installed: python -m benchmarks.peers --install")
        else:
            ways.append(Way(label, partial(peer_rate, name, slide), base))
    for mode in ("native", "jpeg", "lossless", "none"):
        rate = partial(tile_rate, slide, folder / mode, "--pixels", mode, "-j", "2")
        ways.append(Way(f"wsi-tower tile --pixels {mode}, whole stage", rate, base))
    return ways


def installed(name: str) -> None:
    """Make a peer's environment, where there is none yet."""
    packages_of = {name: calls for name, (_, calls) in PEERS.items()} | TRAINERS
    folder = RESULTS / "peers" / name
    if peer_python(name) is not None:
        return
    click.echo(f"Installing {name} …")
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    for packages in packages_of[name]:
        if subprocess.run([*pip, *packages], check=False, stdout=sys.stderr).returncode:
            click.echo(f"{name} does not install on this machine")
            return
    (folder / "bin" / ".installed").touch()


def peer_version(name: str) -> str:
    """Version of an installed peer."""
    python = peer_python(name)
    assert python is not None, f"{name} is not installed"
    package = PEERS[name][1][0][0] if name in PEERS else name
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def _versions() -> dict[str, str]:
    return {name: peer_version(name) for name in PEERS if peer_python(name) is not None}


if __name__ == "__main__":
    main()
