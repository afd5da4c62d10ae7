"""What ``wsi-tower tile`` does once its options are read: batch, pictures, report."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from wsi_tower.batch import BatchSettings, Outcome, Progress, run_batch
from wsi_tower.cli.batch_run import BatchReport, RunClock
from wsi_tower.cli.progress import watched
from wsi_tower.errors import EmptySlideError, SettingsError, WsiTowerError
from wsi_tower.records import plain
from wsi_tower.report import tiling_picture, write_picture
from wsi_tower.slides import PixelSizeWarning, find_slides, open_slide
from wsi_tower.tiles import TileJob, TileSettings, TileStore, slide_tissue, tile_slide
from wsi_tower.tissue import TissueSettings, tissue_outlines
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.cli.batch_run import RunSummary
    from wsi_tower.cli.options import Shared
    from wsi_tower.slides import ReaderName

__all__ = ["TileRequest", "run_tile"]


@dataclass(frozen=True)
class TileRequest:
    """Everything a tiling run was asked for."""

    inputs: tuple[str, ...]
    """Slides, folders, URLs, lists."""
    workspace: Workspace
    """Where stores go."""
    tiles: TileSettings
    """Grid, filters, pixels."""
    tissue: TissueSettings
    """How tissue is found."""
    batch: BatchSettings
    """Where slides are worked on."""
    mpp_of: dict[str, float]
    """Pixel sizes by slide name."""
    tissue_mask: str | None
    """The user's own tissue."""
    reader: ReaderName
    """Who reads the slides."""
    overwrite: bool
    """Whether stores made with other settings are replaced."""
    report: bool
    """Whether to draw pictures and a page."""
    quiet: bool
    """Whether to say nothing on the way."""

    @classmethod
    def parsed(cls, shared: Shared, **values: Any) -> Self:
        """From the command's options.

        Raises:
            SettingsError: a value cannot be right.
        """
        return cls(
            inputs=values["inputs"],
            workspace=Workspace(shared.workspace),
            tiles=TileSettings(
                mpp=values["mpp"],
                tile_px=_tile_px(values["tile_px"]),
                overlap_px=values["overlap"],
                min_tissue=values["min_tissue"],
                max_pen=values["max_pen"],
                min_optical_density=values["min_od"],
                min_focus=values["min_focus"],
                focus=values["focus"],
                pixels=values["pixels"],
                jpeg_quality=values["jpeg_quality"],
                allow_upsample=values["allow_upsample"],
            ),
            tissue=TissueSettings(mask_um=values["mask_um"]),
            batch=BatchSettings(shared.workers, values["scheduler"]),
            mpp_of=dict(_named_number(text) for text in values["mpp_of"]),
            tissue_mask=values["tissue_mask"],
            reader=values["reader"],
            overwrite=shared.overwrite,
            report=values["report"],
            quiet=shared.json,
        )


def run_tile(request: TileRequest) -> RunSummary:
    """Tile every slide of a request and write the report.

    Raises:
        WsiTowerError: nothing could be begun: no slides, wrong settings, no workspace.
    """
    clock = RunClock()
    entries = find_slides(request.inputs, mpp_of=request.mpp_of, tissue_mask=request.tissue_mask)
    workspace = Workspace(request.workspace.root.absolute()).prepared()
    workspace.merge_cohort({entry.slide_id: entry.columns for entry in entries})
    threads = max(1, request.batch.processes // max(1, len(entries)))
    jobs = [
        TileJob(
            entry.absolute(),
            workspace,
            request.tiles,
            request.tissue,
            request.reader,
            request.overwrite,
            threads,
        )
        for entry in entries
    ]
    with watched(len(jobs), quiet=request.quiet) as watcher:
        work = tile_and_draw if request.report else tile_and_tell
        rows = run_batch(jobs, work, request.batch, on_row=watcher.row, progress=watcher.beat)
    settings = {"tiles": plain(request.tiles), "tissue": plain(request.tissue)}
    told = BatchReport(
        verb="tile",
        workspace=workspace,
        batch=request.batch,
        settings=settings | {"reader": request.reader},
        pictures=_picture_path(workspace, "").parent,
    )
    return told.summary(rows, clock, page=request.report)


def tile_and_draw(job: TileJob, wait: bool, progress: Progress) -> Outcome:
    """Tile one slide and draw its picture; runs in workers."""
    try:
        outcome = tile_and_tell(job, wait, progress)
    except EmptySlideError:
        _draw_empty(job)
        raise
    picture = _picture_path(job.workspace, job.slide_id)
    if outcome.status == "done" or not picture.exists():
        _draw_store(job, picture)
    return outcome


def tile_and_tell(job: TileJob, wait: bool, progress: Progress) -> Outcome:
    """Tile one slide, with what was odd about its pixel size in the outcome; runs in workers."""
    warnings.simplefilter("always", PixelSizeWarning)
    with warnings.catch_warnings(record=True, category=PixelSizeWarning) as told:
        try:
            outcome = tile_slide(job, wait=wait, progress=progress)
        except WsiTowerError as error:
            for one in told:
                error.add_note(str(one.message))
            raise
    if told:
        outcome.details["warning"] = str(told[0].message)
    return outcome


def _draw_store(job: TileJob, picture: Path) -> None:
    with TileStore.open(job.workspace.tile_store(job.slide_id)) as store:
        image = tiling_picture(
            store.thumbnail,
            store.outlines,
            store.xy_l0,
            store.plan.footprint_l0,
            store.slide.mpp,
            title=job.slide_id,
        )
    write_picture(picture, image)


def _draw_empty(job: TileJob) -> None:
    """The slide without a tile, so that a person sees why."""
    with open_slide(job.entry.source, reader=job.reader, mpp_um=job.entry.mpp_um) as slide:
        outlines = tissue_outlines(slide_tissue(job, slide), slide.info.size)
        nothing = np.empty((0, 2), np.int64)
        image = tiling_picture(
            slide.thumbnail(1024), outlines, nothing, 1, slide.mpp, title=job.slide_id
        )
    write_picture(_picture_path(job.workspace, job.slide_id), image)


def _picture_path(workspace: Workspace, slide_id: str) -> Path:
    return workspace.reports / "pictures" / f"{slide_id}.jpg"


def _tile_px(text: str) -> Any:
    if text == "native":
        return text
    try:
        return int(text)
    except ValueError as error:
        raise SettingsError(f"--tile-px is a whole number or native, not {text!r}") from error


def _named_number(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return (name, float(value)) if name else _no_name(text)
    except ValueError as error:
        raise SettingsError(f"--mpp-of takes NAME=VALUE, as in a.svs=0.25, not {text!r}") from error


def _no_name(text: str) -> tuple[str, float]:
    raise SettingsError(f"--mpp-of takes NAME=VALUE, as in a.svs=0.25, not {text!r}")
