"""Phantom slides for the evidence about them: written once, and cut where the truth allows."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import shapely
from shapely.geometry import shape

from wsi_tower.phantom import phantom_paths, truth_path, write_phantom, write_slide_list
from wsi_tower.phantom.recipe import RECIPE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.phantom import PhantomSettings

__all__ = ["Crops", "crops_of", "written"]

TUMOUR_SHARE = 0.8
"""Share of a crop that tumour has to cover for the crop to count as tumour."""


@dataclass(frozen=True, slots=True)
class Crops:
    """Squares of one slide that lie wholly in tissue and on nothing spoilt."""

    corners: NDArray[np.int64]
    """Upper left corners in level-0 pixels: N × (x, y)."""
    is_tumour: NDArray[np.bool_]
    """Whether `TUMOUR_SHARE` or more of it is tumour; else none of it is: N."""

    def drawn(self, rng: np.random.Generator, per_class: int) -> Crops:
        """At most so many of each class."""
        kept = [
            rng.permutation(np.flatnonzero(self.is_tumour == tumour))[:per_class]
            for tumour in (False, True)
        ]
        rows = np.concatenate(kept)
        return Crops(self.corners[rows], self.is_tumour[rows])


def written(
    folder: Path, settings: PhantomSettings, numbers: Sequence[int] | None = None
) -> list[Path]:
    """The phantoms of a folder, each written now unless it is there from an earlier run.

    Args:
        folder: where they lie.
        settings: how they are made; others than those that are there remove what is there.
        numbers: 0-based numbers of the slides that are wanted; None: all, with their slide list.
    """
    folder.mkdir(parents=True, exist_ok=True)
    note, wanted = folder / "settings.txt", f"{settings}\n{RECIPE}\n"
    paths = phantom_paths(folder, settings)
    if not note.exists() or note.read_text() != wanted:
        for path in paths:
            path.unlink(missing_ok=True)
        note.write_text(wanted)
    chosen = range(len(paths)) if numbers is None else numbers
    for count, index in enumerate(chosen, start=1):
        if not paths[index].exists():
            write_phantom(paths[index], settings, index, threads=os.cpu_count() or 1)
            click.echo(f"[{count}/{len(chosen)}] {paths[index].name}", err=True)
    if numbers is None:
        write_slide_list(folder, paths)
    return [paths[index] for index in chosen]


def crops_of(slide: Path, size: tuple[int, int], side_px: int, step_px: int) -> Crops:
    """Every crop of a grid that lies wholly in tissue, off folds, blur and pen.

    Args:
        slide: a phantom, whose truth lies beside it.
        size: its width and height in level-0 pixels.
        side_px: side of a crop.
        step_px: pixels from one to the next.
    """
    truth = _truth(slide)
    x, y = (
        grid.ravel()
        for grid in np.meshgrid(*(np.arange(0, side - side_px, step_px) for side in size))
    )
    boxes = shapely.box(x, y, x + side_px, y + side_px)
    clean = shapely.contains(truth["Tissue"], boxes)
    for spoilt in ("Fold", "Blur", "Pen"):
        clean &= ~shapely.intersects(truth[spoilt], boxes)
    x, y, boxes = x[clean], y[clean], boxes[clean]
    share = shapely.area(shapely.intersection(truth["Tumor"], boxes)) / side_px**2
    clear = (share == 0) | (share >= TUMOUR_SHARE)
    return Crops(np.stack([x, y], axis=1)[clear], share[clear] > 0)


def _truth(slide: Path) -> dict[str, Any]:
    """Areas by class, prepared for many questions."""
    features = json.loads(truth_path(slide).read_text())["features"]
    areas: dict[str, Any] = {}
    for name in ("Tissue", "Tumor", "Fold", "Blur", "Pen"):
        of_class = [f for f in features if f["properties"]["classification"]["name"] == name]
        areas[name] = shapely.union_all([shape(feature["geometry"]) for feature in of_class])
        shapely.prepare(areas[name])
    return areas
