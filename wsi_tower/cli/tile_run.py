"""What ``wsi-tower tile`` does once its options are read: batch, pictures, report."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from wsi_tower.batch import BatchSettings, Outcome, Progress, SlideRow, run_batch
from wsi_tower.cli.progress import watched
from wsi_tower.errors import EmptySlideError, SettingsError, WsiTowerError
from wsi_tower.records import plain
from wsi_tower.report import RunRecord, tiling_picture, write_picture, write_report
from wsi_tower.slides import PixelSizeWarning, find_slides, open_slide, shown_source
from wsi_tower.tiles import TileJob, TileSettings, TileStore, slide_tissue, tile_slide
from wsi_tower.tissue import TissueSettings, tissue_outlines
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wsi_tower.cli.options import Shared
    from wsi_tower.slides import ReaderName

__all__ = ["RunSummary", "TileRequest", "run_tile"]


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


@dataclass(frozen=True)
class RunSummary:
    """What a run gave."""

    workspace: Path
    """Where stores are."""
    page: Path | None
    """The report's page; None where none was asked for."""
    seconds: float
    """How long it took, start-up of the process not counted."""
    rows: tuple[SlideRow, ...]
    """A row a slide."""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "workspace": str(self.workspace),
            "report": None if self.page is None else str(self.page.absolute()),
            "seconds": self.seconds,
            "slides": [asdict(row) for row in self.rows],
        }


def run_tile(request: TileRequest) -> RunSummary:
    """Tile every slide of a request and write the report.

    Raises:
        WsiTowerError: nothing could be begun: no slides, wrong settings, no workspace.
    """
    began, started = time.perf_counter(), datetime.now(UTC)
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
    seconds = round(time.perf_counter() - began, 3)
    page = _report(request, rows, started, seconds) if request.report else None
    return RunSummary(workspace.root, page, seconds, tuple(rows))


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


def _report(
    request: TileRequest, rows: Sequence[SlideRow], started: datetime, seconds: float
) -> Path:
    folder = _report_folder(request.workspace, started)
    settings = {"tiles": plain(request.tiles), "tissue": plain(request.tissue)}
    run = RunRecord(
        verb="tile",
        command=shlex.join(["wsi-tower", *map(shown_source, sys.argv[1:])]),
        workspace=str(request.workspace.root),
        started=started.isoformat(timespec="seconds"),
        seconds=seconds,
        workers=_where(request.batch, len(rows)),
        settings=settings | {"reader": request.reader},
        rows=tuple(rows),
        pictures=_linked_pictures(request.workspace, folder, rows),
        software=software_versions(),
    )
    return write_report(folder, run)


def _report_folder(workspace: Workspace, started: datetime) -> Path:
    """A folder of this run alone, also when several start in one second."""
    stamp = started.strftime("%Y-%m-%dT%H-%M-%S")
    folder, number = workspace.reports / f"tile-{stamp}", 1
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            folder = workspace.reports / f"tile-{stamp}-{number}"
        else:
            return folder


def _linked_pictures(
    workspace: Workspace, folder: Path, rows: Sequence[SlideRow]
) -> dict[str, str]:
    """Pictures of the slides inside the report's folder, which can then be sent on as it is."""
    linked = {}
    (folder / "pictures").mkdir()
    for row in rows:
        picture = _picture_path(workspace, row.slide_id)
        if row.status in ("done", "skipped", "empty") and picture.exists():
            place = folder / "pictures" / picture.name
            try:
                os.link(picture, place)
            except OSError:  # a file system without links
                shutil.copyfile(picture, place)
            linked[row.slide_id] = f"pictures/{picture.name}"
    return linked


def _where(batch: BatchSettings, slides: int) -> str:
    if batch.scheduler is not None:
        return f"Dask cluster at {batch.scheduler}"
    processes = batch.processes_for(slides)
    return "this process" if processes == 1 else f"{processes} local processes"


def software_versions() -> dict[str, str]:
    """Versions of what shapes the results."""
    from importlib.metadata import version

    names = ("wsi-tower", "openslide-python", "openslide-bin", "tiffslide", "zarr", "simplejpeg")
    return {name: version(name) for name in names}


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
