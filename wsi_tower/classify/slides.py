"""`classify_slide`: the probability of each class for each tile of a slide, and its map."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wsi_tower.batch import Outcome, unwatched
from wsi_tower.embeddings import open_cache
from wsi_tower.errors import ModelError
from wsi_tower.models import load_classifier
from wsi_tower.ngff import write_label_image
from wsi_tower.records import Header, folder_aside, write_text_aside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.batch import Progress
    from wsi_tower.embeddings import EmbeddingCache
    from wsi_tower.models import LoadedClassifier
    from wsi_tower.workspace import Workspace

__all__ = [
    "STEPS",
    "ClassifyJob",
    "ClassifyRecipe",
    "classified_tiles",
    "classify_slide",
    "probability_image",
]

STEPS = 100
"""Classes of the map's label image: one a percent."""
_SIDE_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class ClassifyRecipe:
    """How all slides of a run are classified; travels to workers."""

    workspace: Workspace
    """What takes the results."""
    model: str
    """A classifier of the workspace, or the path of its folder."""
    folder: str
    """Name of the results' folder."""
    digest: str
    """Content digest of the classifier: this one and no other."""
    shown: str
    """Class whose probability is mapped."""
    colours: tuple[tuple[int, int, int, int], ...]
    """Of the map's steps, from improbable to sure: red, green, blue and opacity."""


@dataclass(frozen=True, slots=True)
class ClassifyJob:
    """A slide to classify."""

    cache: Path
    """Its embedding cache."""
    recipe: ClassifyRecipe
    """How."""
    overwrite: bool = False
    """Whether what is there is made again."""

    @property
    def slide_id(self) -> str:
        """Its id in the workspace."""
        return self.cache.stem

    @property
    def source(self) -> str:
        """The cache, as the loop shows it."""
        return str(self.cache)

    def path(self, suffix: str) -> Path:
        """A file of the results."""
        folder = self.recipe.workspace.classifications(self.recipe.folder)
        return folder / f"{self.slide_id}{suffix}"


def classify_slide(job: ClassifyJob, wait: bool = True, progress: Progress = unwatched) -> Outcome:
    """Write ``<slide_id>.csv``, ``.zarr`` and, last, ``.json``; skip a slide that has them.

    Raises:
        ModelError: the classifier is of another encoder or of other tiles, or was replaced.
        CorruptStoreError: the cache is damaged.
        StoreBusyError: another process is writing them, and ``wait`` is off.
        StorageError: the disk refused.
    """
    record_path = job.path(".json")
    with job.recipe.workspace.owned(record_path, wait=wait):
        cache = open_cache(job.cache)
        loaded = _loaded(job.recipe)
        _check_fits(loaded, cache)
        header = Header(
            "classification",
            1,
            {"shown": job.recipe.shown, "classes": list(loaded.record.origin.classes)},
            {"classifier": job.recipe.digest, "embeddings": cache.content_digest},
        )
        done = None if job.overwrite else _done(job, header)
        if done is not None:
            return Outcome("skipped", len(cache), done)
        classes = loaded.record.origin.classes
        probabilities = _probabilities(loaded, cache)
        shown = probabilities[:, classes.index(job.recipe.shown)]
        write_text_aside(job.path(".csv"), _csv(cache, probabilities, classes))
        with folder_aside(job.path(".zarr"), alone=False) as aside:
            aside.rmdir()
            _write_map(aside, job, cache, shown)
        details = _details(probabilities, classes)
        told = {"header": header.completed("").to_json(), "slide_id": job.slide_id} | details
        write_text_aside(record_path, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        progress(job.slide_id, len(cache), len(cache))
        return Outcome("done", len(cache), details)


def classified_tiles(job: ClassifyJob, cache: EmbeddingCache) -> NDArray[np.float64]:
    """Probability of the shown class of each tile: (N,)."""
    loaded = _loaded(job.recipe)
    place = loaded.record.origin.classes.index(job.recipe.shown)
    return _probabilities(loaded, cache)[:, place]


def probability_image(
    probabilities: NDArray[np.float64], cells: NDArray[np.int64], steps: int = STEPS
) -> NDArray[np.uint8]:
    """Probabilities as an image with a pixel a tile.

    Args:
        probabilities: of each tile: (N,).
        cells: column and row of each tile in the grid of the slide: (N, 2).
        steps: up to 255, of equal width.

    Returns:
        Step from 1 to ``steps``, 0 where there is no tile: (rows, columns).
    """
    columns, rows = (cells.max(axis=0) + 1).tolist()
    image = np.zeros((rows, columns), np.uint8)
    image[cells[:, 1], cells[:, 0]] = np.clip(probabilities * steps, 0, steps - 1).astype(int) + 1
    return image


@lru_cache(maxsize=1)
def _loaded(recipe: ClassifyRecipe) -> LoadedClassifier:
    loaded = load_classifier(recipe.model, workspace=recipe.workspace)
    if loaded.record.header.content_digest != recipe.digest:
        raise ModelError(
            f"classifier {recipe.model} was replaced while slides were classified; run again"
        )
    return loaded


def _check_fits(loaded: LoadedClassifier, cache: EmbeddingCache) -> None:
    """Refuse descriptors that the classifier has not learnt to read."""
    origin = loaded.record.origin
    there = {
        "descriptor": f"{cache.descriptor} {cache.features.shape[1]}",
        "stain": str(cache.header.settings.get("stain", "none")),
        "weights": str(cache.header.parents.get("encoder", ""))[:8],
    }
    learnt = {
        "descriptor": origin.descriptor,
        "stain": origin.stain,
        "weights": origin.parents.get("encoder", "")[:8],
    }
    if there != learnt:
        apart = "; ".join(
            f"{name} {there[name]} where it learnt from {learnt[name]}"
            for name in there
            if there[name] != learnt[name]
        )
        raise ModelError(
            f"slide {cache.slide_id} was embedded otherwise than classifier {origin.name} needs: "
            f"{apart}; embed it as the training slides were, or train a classifier on these"
        )
    side_um = cache.slide.tile_px * cache.slide.tile_mpp
    is_other_side = abs(side_um - origin.tile_um) > _SIDE_TOLERANCE * origin.tile_um
    if is_other_side or cache.slide.tile_px != origin.tile_px:
        raise ModelError(
            f"slide {cache.slide_id} has tiles of {cache.slide.tile_px} px and {side_um:.4g} µm, "
            f"classifier {origin.name} learnt from {origin.tile_px} px and {origin.tile_um:.4g} "
            f"µm; tile and embed it like these"
        )


def _probabilities(loaded: LoadedClassifier, cache: EmbeddingCache) -> NDArray[np.float64]:
    features = torch.from_numpy(np.asarray(cache.features, np.float32).copy())
    values: NDArray[np.float64] = loaded.head.probabilities(features).numpy()
    if not np.isfinite(values).all():
        raise ModelError(
            f"slide {cache.slide_id} has descriptors that are not finite numbers; embed it again "
            f"with --overwrite"
        )
    return values


def _done(job: ClassifyJob, header: Header) -> dict[str, Any] | None:
    """What was written of the slide, if it was made by the same classifier."""
    paths = [job.path(suffix) for suffix in (".csv", ".zarr", ".json")]
    if not all(path.exists() for path in paths):
        return None
    try:
        told = json.loads(paths[-1].read_bytes())
        is_same = told["header"]["settings_digest"] == header.settings_digest
        return {name: told[name] for name in ("called", "mean_probability")} if is_same else None
    except (ValueError, LookupError, TypeError):
        return None  # cut off, or edited: made again


def _details(probabilities: NDArray[np.float64], classes: Sequence[str]) -> dict[str, Any]:
    called = np.bincount(probabilities.argmax(axis=1), minlength=len(classes))
    means = np.round(probabilities.mean(axis=0), 6)
    return {
        "called": dict(zip(classes, called.tolist(), strict=True)),
        "mean_probability": dict(zip(classes, means.tolist(), strict=True)),
    }


def _csv(cache: EmbeddingCache, probabilities: NDArray[np.float64], classes: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = ("row", "x_l0", "y_l0", "x_um", "y_um", "class")
    writer.writerow((*columns, *(f"p_{name}" for name in classes)))
    called = probabilities.argmax(axis=1).tolist()
    values = np.round(probabilities, 6).tolist()
    each = zip(cache.coords_l0.tolist(), cache.centre_um.tolist(), called, values, strict=True)
    for row, (xy_l0, centre_um, place, own) in enumerate(each):
        writer.writerow((row, *xy_l0, *centre_um, classes[place], *own))
    return text.getvalue()


def _write_map(
    folder: Path, job: ClassifyJob, cache: EmbeddingCache, shown: NDArray[np.float64]
) -> None:
    slide = cache.slide
    write_label_image(
        folder,
        probability_image(shown, cache.coords_l0 // slide.pitch_l0),
        pixel_um=(slide.pitch_l0 * slide.mpp.x, slide.pitch_l0 * slide.mpp.y),
        name=f"probability of {job.recipe.shown} on {cache.slide_id}",
        classes=_steps(job.recipe),
    )


def _steps(recipe: ClassifyRecipe) -> Mapping[int, tuple[str, tuple[int, int, int, int]]]:
    return {
        step + 1: (f"{recipe.shown} {step / STEPS:.0%} to {(step + 1) / STEPS:.0%}", colour)
        for step, colour in enumerate(recipe.colours)
    }
