"""What ``wsi-tower similar-map`` does once its options are read: ask, measure, paint."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from wsi_tower.cli.query_run import asked_name, opened_index, parsed_asking
from wsi_tower.errors import SettingsError
from wsi_tower.ngff import write_label_image
from wsi_tower.records import folder_aside, write_bytes_aside, write_text_aside
from wsi_tower.report import similarity_colours, similarity_picture
from wsi_tower.retrieval import question_of, similarity_map, slide_cache
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from wsi_tower.cli.options import Shared
    from wsi_tower.embeddings import EmbeddingCache
    from wsi_tower.retrieval import Asking, Question, SimilarityMap

__all__ = ["MapRequest", "run_similar_map"]

_STEPS = 100
"""Classes of the label image."""


@dataclass(frozen=True)
class MapRequest:
    """Everything a map was asked for."""

    workspace: Workspace
    """Has index, embeddings and tile stores."""
    encoder: str
    """Folder of the index; empty: the only one."""
    asking: Asking
    """What is asked."""
    slide: str
    """Slide to paint."""
    out: Path
    """Folder to write to."""

    @classmethod
    def parsed(cls, shared: Shared, **values: Any) -> Self:
        """From the command's options.

        Raises:
            SettingsError: a value cannot be right, or no slide is named.
        """
        workspace = Workspace(shared.workspace.absolute())
        asking = parsed_asking(values)
        slide = values["on"] or asking.slide
        if slide is None:
            raise SettingsError("no slide to paint; name one with --on SLIDE")
        folder = workspace.reports / f"similar-map-{slide}-to-{asked_name(asking)}"
        out = Path(values["out"]) if values["out"] else folder
        return cls(workspace, values["encoder"], asking, slide, out)


def run_similar_map(request: MapRequest) -> dict[str, Any]:
    """Paint a slide; what came of it in plain values.

    Raises:
        WsiTowerError: see `question_of`; or the slide has no embeddings or tile store.
    """
    workspace = request.workspace
    index = opened_index(workspace, request.encoder)
    question = question_of(request.asking, index, workspace)
    cache = slide_cache(index, request.slide, workspace.embeddings(index.record.encoder))
    found = similarity_map(question, cache)
    files = [request.out / f"similarity.{suffix}" for suffix in ("zarr", "csv", "png")]
    with folder_aside(files[0], alone=False) as aside:
        aside.rmdir()
        _write_labels(aside, found, cache.slide_id)
    write_text_aside(files[1], _csv(found, cache))
    write_bytes_aside(files[2], _picture(found, cache, question))
    return {
        "query": question.told,
        "slide": cache.slide_id,
        "tiles": len(cache),
        "nearest": float(found.distances.min()),
        "farthest": float(found.distances.max()),
        "files": [str(file.absolute()) for file in files],
    }


def _write_labels(folder: Path, found: SimilarityMap, slide_id: str) -> None:
    image, edges = found.classes(_STEPS)
    classes = {
        step + 1: (f"distance {edges[step + 1]:.4g} to {edges[step]:.4g}", colour)
        for step, colour in enumerate(similarity_colours(_STEPS))
    }
    write_label_image(
        folder, image, pixel_um=found.pixel_um, name=f"similarity on {slide_id}", classes=classes
    )


def _csv(found: SimilarityMap, cache: EmbeddingCache) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("row", "x_l0", "y_l0", "x_um", "y_um", "distance"))
    columns = (cache.coords_l0.tolist(), cache.centre_um.tolist(), found.distances.tolist())
    for row, (xy_l0, centre_um, distance) in enumerate(zip(*columns, strict=True)):
        writer.writerow((row, *xy_l0, *centre_um, distance))
    return text.getvalue()


def _picture(found: SimilarityMap, cache: EmbeddingCache, question: Question) -> bytes:
    side_l0 = cache.slide.footprint_l0
    boxes_l0 = np.hstack([cache.coords_l0, np.full((len(cache), 2), side_l0)])
    asked = [tile.row for tile in question.tiles if tile.slide_id == cache.slide_id]
    with TileStore.open(cache.workspace / cache.slide.tile_store) as store:
        return similarity_picture(
            f"What on {cache.slide_id} looks like {_subject(question)}",
            store.thumbnail,
            store.slide.mpp,
            boxes_l0,
            found.distances,
            asked,
        )


def _subject(question: Question) -> str:
    told = question.told
    if told["kind"] == "image":
        return f"image {Path(told['image']).name}"
    if told["kind"] == "tile":
        return f"tile {told['row']} of {told['slide']}"
    return "the region" if told["kind"] == "region" else "the examples"
