"""What ``wsi-tower segment`` does once its options are read: model, batch, tables, report."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from wsi_tower.batch import BatchSettings, Outcome, Progress, run_batch, usable_cores
from wsi_tower.cli.batch_run import BatchReport, RunClock
from wsi_tower.cli.progress import watched
from wsi_tower.embeddings import ForwardSettings
from wsi_tower.errors import CorruptStoreError, ModelError, NoSlidesError, SettingsError
from wsi_tower.models import load_segmenter, newest_segmenter, segmenters_of, slug
from wsi_tower.records import plain, write_text_aside
from wsi_tower.report import segmentation_picture, write_picture
from wsi_tower.segment import (
    SegmentJob,
    SegmentRecipe,
    SegmentSettings,
    object_cover,
    read_segmentation,
    segment_slide,
    segmented_fields,
)
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from wsi_tower.cli.batch_run import RunSummary
    from wsi_tower.cli.options import Shared
    from wsi_tower.models import SegmenterRecord

__all__ = ["SegmentRequest", "run_segment"]

COVER_UM = 25.0
"""Side of a place for which the picture tells how much is object."""
_SETTINGS = SegmentSettings.__dataclass_fields__.keys()
_FORWARD = ForwardSettings.__dataclass_fields__.keys()


@dataclass(frozen=True)
class SegmentRequest:
    """Everything a run of segmenting was asked for."""

    workspace: Workspace
    """Has models and tile stores, and takes what is found."""
    slides: tuple[str, ...]
    """Names of slides; empty: all."""
    model: str
    """A model of the workspace, or the path of its folder; empty: the newest of ``method``."""
    method: str
    """What trained the model, where it is not named."""
    name: str
    """Of the results' folder; empty: the model's."""
    settings: SegmentSettings
    """What is made."""
    forward: ForwardSettings
    """Where the network runs."""
    batch: BatchSettings
    """Where slides are worked on."""
    overwrite: bool
    """Whether what was made with other settings is replaced."""
    report: bool
    """Whether to draw pictures and a page."""
    quiet: bool
    """Whether to say nothing on the way."""

    @classmethod
    def parsed(cls, shared: Shared, **values: Any) -> Self:
        """From the command's options.

        Raises:
            SettingsError: a value cannot be right, or there is no model.
        """
        model, method = values["model"], values["method"]
        if model and method:
            raise SettingsError(
                f"--model {model} and --method {method} both name a model; give one of them"
            )
        if not (model or method):
            raise SettingsError(
                "no model to segment by; name one with --model, or a method with --method"
            )
        known = {name: value for name, value in values.items() if name in _SETTINGS}
        known["formats"] = tuple(dict.fromkeys(values["formats"]))
        return cls(
            workspace=Workspace(shared.workspace.absolute()),
            slides=values["slides"],
            model=model,
            method=method,
            name=values["name"],
            settings=SegmentSettings(**known),
            forward=ForwardSettings(**{key: values[key] for key in _FORWARD if key in values}),
            batch=BatchSettings(workers=values["workers"], scheduler=values["scheduler"]),
            overwrite=shared.overwrite,
            report=values["report"],
            quiet=shared.json,
        )


def run_segment(request: SegmentRequest) -> tuple[RunSummary, str]:
    """Segment every slide of a request and write tables and report.

    Returns:
        What the run gave, and the name of the results' folder.

    Raises:
        WsiTowerError: nothing could be begun: no stores, no model, wrong settings.
    """
    clock = RunClock()
    stores = _stores(request)
    home = request.workspace.prepared()
    recipe = _recipe(request, home, len(stores))
    jobs = [SegmentJob(store, recipe, request.overwrite) for store in stores]
    batch = request.batch
    if batch.workers == 0:
        batch = replace(batch, workers=len(recipe.forward.devices()))
    with watched(len(jobs), quiet=request.quiet) as watcher:
        work = segment_and_draw if request.report else segment_slide
        rows = run_batch(jobs, work, batch, on_row=watcher.row, progress=watcher.beat)
    _write_slides_csv(home.segmentations(recipe.folder))
    report = BatchReport(
        verb="segment",
        workspace=home,
        batch=batch,
        settings={"segment": plain(recipe.settings), "forward": plain(recipe.forward)},
        pictures=_picture_path(recipe, "").parent,
        suffix=".png",
    )
    return report.summary(rows, clock, page=request.report), recipe.folder


def segment_and_draw(job: SegmentJob, wait: bool, progress: Progress) -> Outcome:
    """Segment one slide and draw what was found; runs in workers."""
    outcome = segment_slide(job, wait, progress)
    picture = _picture_path(job.recipe, job.slide_id)
    if outcome.status == "done" or not picture.exists():
        record = read_segmentation(job.path)
        with TileStore.open(job.store) as store, store.open_slide() as slide:
            image = segmentation_picture(
                store.thumbnail,
                record,
                object_cover(job.path, COVER_UM / slide.mpp.mean),
                segmented_fields(job.path, slide),
                store.slide.mpp,
            )
        write_picture(picture, image)
    return outcome


def _picture_path(recipe: SegmentRecipe, slide_id: str) -> Path:
    folder = recipe.workspace.reports / "pictures" / f"segment-{recipe.folder}"
    return folder / f"{slide_id}.png"


def _stores(request: SegmentRequest) -> list[Path]:
    """The stores that were asked for.

    Raises:
        NoSlidesError: there are none, or none of a name.
    """
    stores = {path.stem: path for path in request.workspace.tile_stores()}
    if not request.slides:
        return list(stores.values())
    # A shell completes files: what is meant by slides/a.svs is slide a.
    named = [name if name in stores else Path(name).stem for name in request.slides]
    missing = [told for told, name in zip(request.slides, named, strict=True) if name not in stores]
    if missing:
        raise NoSlidesError(
            f"slide {missing[0]} has no tile store in {request.workspace.root}; the slides are "
            f"{', '.join(list(stores)[:5])}{', …' if len(stores) > 5 else ''}. Tile it with "
            f"`wsi-tower tile` first; where that found no tissue, there is nothing to segment"
        )
    return [stores[name] for name in dict.fromkeys(named)]


def _recipe(request: SegmentRequest, home: Workspace, slides: int) -> SegmentRecipe:
    model = request.model or _newest(home, request.method)
    record = load_segmenter(model, workspace=home).record
    folder = request.name or record.name
    if slug(folder) != folder:
        raise SettingsError(f"--name {folder!r} cannot name a folder; take {slug(folder)!r}")
    if not request.quiet:
        click.echo(_told(record, request.settings, folder), err=True)
    model = str(Path(model).absolute()) if "/" in model else model
    forward = request.forward
    workers = min(request.batch.workers or len(forward.devices()), slides)
    if not forward.threads and workers > 1:
        forward = replace(forward, threads=max(1, usable_cores() // workers))
    digest = record.header.content_digest
    return SegmentRecipe(home, model, folder, digest, request.settings, forward)


def _newest(home: Workspace, method: str) -> str:
    """The name of a method's newest model.

    Raises:
        ModelError: there is none.
    """
    record = newest_segmenter(home, method)
    if record is not None:
        return record.name
    methods = sorted({one.origin.method for one in segmenters_of(home).records})
    others = f"only of {', '.join(methods)}" if methods else "nor of any other"
    raise ModelError(
        f"workspace {home.root} has no model of method {method}, {others}; train one, or name one "
        f"with --model"
    )


def _told(record: SegmenterRecord, settings: SegmentSettings, folder: str) -> str:
    origin = record.origin
    resolution = "any µm/px" if origin.mpp is None else f"{origin.mpp:.4g} µm/px"
    threshold = settings.threshold or origin.threshold
    return (
        f"model {record.name} ({origin.method}, {resolution}) finds {', '.join(origin.classes)} "
        f"from probability {threshold:g} on, into segmentations/{folder}"
    )


def _write_slides_csv(folder: Path) -> None:
    """A row for each slide of the folder, also of earlier runs."""
    rows = []
    for path in sorted(folder.glob("[!.]*.zarr")):
        try:
            record = read_segmentation(path)
        except CorruptStoreError:
            continue
        rows.append({"slide_id": record.slide_id} | record.measures())
    if not rows:
        return
    text = io.StringIO(newline="")
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_aside(folder / "slides.csv", text.getvalue())
