"""What benchmarks do with tiles: ours through the command, decoder and OpenSlide by loop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import openslide

from wsi_tower.slides import open_slide
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["file_streams", "openslide_rate", "rate_of", "run_tile", "store_of", "tile_rate"]

OPENSLIDE_TILES = 1000
"""Tiles of an OpenSlide loop: enough to be steady, few enough to wait for."""


def run_tile(slides: Sequence[Path], workspace: Path, *options: str) -> dict[str, Any]:
    """Run ``wsi-tower tile --json`` as a user does; what it printed."""
    shutil.rmtree(workspace, ignore_errors=True)
    os.sync()  # what other ways and the removal left to the disk is not this run's to wait for
    command = [sys.executable, "-m", "wsi_tower", "tile", *map(str, slides), "-w", str(workspace)]
    done = subprocess.run(
        [*command, "--json", "--no-report", *options], capture_output=True, text=True, check=True
    )
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def tile_rate(slide: Path, workspace: Path, *options: str) -> float:
    """Tiles a second of ``wsi-tower tile``, its process's start not counted."""
    printed = run_tile([slide], workspace, *options)
    return float(printed["slides"][0]["tiles"] / printed["seconds"])


def store_of(slide: Path, workspace: Path) -> TileStore:
    """The store that `run_tile` made of a slide."""
    return TileStore.open(Workspace(workspace).tile_store(slide.stem))


def file_streams(slide: Path, xy_l0: np.ndarray) -> list[bytes]:
    """Complete JPEG streams of the file's own tiles at these corners of level 0."""
    with open_slide(slide) as opened:
        level = opened.compressed_level(0)
        assert level is not None, f"{slide} has no JPEG tiles that can be read directly"
        column, row = (xy_l0 // level.tile.width).T
        numbers = (row * level.columns + column).tolist()
        return [level.family.complete(level.read(number)) for number in numbers]


def rate_of(work: Callable[[Any], object], items: Sequence[Any], threads: int) -> float:
    """Items a second of a function, shared out over threads in runs."""
    share = 64
    runs = [items[first : first + share] for first in range(0, len(items), share)]
    with ThreadPoolExecutor(threads) as pool:
        began = time.perf_counter()
        for _ in pool.map(partial(_each, work), runs):
            pass
        return len(items) / (time.perf_counter() - began)


def _each(work: Callable[[Any], object], items: Sequence[Any]) -> None:
    for item in items:
        work(item)


def openslide_rate(slide: Path, xy_l0: np.ndarray, side_px: int, threads: int) -> float:
    """Tiles a second of OpenSlide's ``read_region``, one handle, as arrays of three channels."""
    corners = [(int(x), int(y)) for x, y in xy_l0[:OPENSLIDE_TILES]]
    with openslide.OpenSlide(slide) as opened:

        def read(corner: tuple[int, int]) -> np.ndarray:
            return np.asarray(opened.read_region(corner, 0, (side_px, side_px)))[..., :3]

        return rate_of(read, corners, threads)
