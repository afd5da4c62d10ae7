"""What verbs over many slides share: their report, their summary, and the words at the end."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wsi_tower.report import RunRecord, write_report
from wsi_tower.slides import shown_source

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wsi_tower.batch import BatchSettings, SlideRow
    from wsi_tower.workspace import Workspace

__all__ = ["BatchReport", "RunClock", "RunSummary", "software_versions"]


@dataclass(frozen=True)
class RunClock:
    """When a run began; make it first."""

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    """By the calendar."""
    began: float = field(default_factory=time.perf_counter)
    """By the processor's clock."""

    def seconds(self) -> float:
        """How long it has taken, start-up of the process not counted."""
        return round(time.perf_counter() - self.began, 3)


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


@dataclass(frozen=True)
class BatchReport:
    """What the report of a run says beside its rows."""

    verb: str
    """What was done."""
    workspace: Workspace
    """What takes the report."""
    batch: BatchSettings
    """Where slides were worked on."""
    settings: dict[str, Any]
    """All that was set, as plain values."""
    pictures: Path
    """Folder of pictures, each named by its slide."""
    suffix: str = ".jpg"
    """Of the pictures."""

    def summary(self, rows: Sequence[SlideRow], clock: RunClock, *, page: bool) -> RunSummary:
        """The summary of a run that has ended, and its report where ``page`` is set.

        Raises:
            StorageError: the disk refused.
        """
        seconds = clock.seconds()
        path = self._written(rows, clock.started, seconds) if page else None
        return RunSummary(self.workspace.root, path, seconds, tuple(rows))

    def _written(self, rows: Sequence[SlideRow], started: datetime, seconds: float) -> Path:
        folder = self._folder(started)
        run = RunRecord(
            verb=self.verb,
            command=shlex.join(["wsi-tower", *map(shown_source, sys.argv[1:])]),
            workspace=str(self.workspace.root),
            started=started.isoformat(timespec="seconds"),
            seconds=seconds,
            workers=_where(self.batch, len(rows)),
            settings=self.settings,
            rows=tuple(rows),
            pictures=self._linked_pictures(folder, rows),
            software=software_versions(),
        )
        return write_report(folder, run)

    def _folder(self, started: datetime) -> Path:
        """A folder of this run alone, also when several start in one second."""
        stamp = f"{self.verb}-{started:%Y-%m-%dT%H-%M-%S}"
        folder, number = self.workspace.reports / stamp, 1
        while True:
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                number += 1
                folder = self.workspace.reports / f"{stamp}-{number}"
            else:
                return folder

    def _linked_pictures(self, folder: Path, rows: Sequence[SlideRow]) -> dict[str, str]:
        """Pictures of the slides inside the report's folder, which can then be sent on as it is."""
        linked = {}
        (folder / "pictures").mkdir()
        for row in rows:
            picture = self.pictures / f"{row.slide_id}{self.suffix}"
            if row.status in ("done", "skipped", "empty") and picture.exists():
                place = folder / "pictures" / picture.name
                try:
                    os.link(picture, place)
                except OSError:  # a file system without links
                    shutil.copyfile(picture, place)
                linked[row.slide_id] = f"pictures/{picture.name}"
        return linked


def software_versions() -> dict[str, str]:
    """Versions of what shapes the results."""
    from importlib.metadata import version

    names = ("wsi-tower", "openslide-python", "openslide-bin", "tiffslide", "zarr", "simplejpeg")
    return {name: version(name) for name in names}


def _where(batch: BatchSettings, slides: int) -> str:
    if batch.scheduler is not None:
        return f"Dask cluster at {batch.scheduler}"
    processes = batch.processes_for(slides)
    return "this process" if processes == 1 else f"{processes} local processes"
