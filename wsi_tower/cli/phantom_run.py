"""What ``wsi-tower phantom`` does once its options are read: slides side by side, with a bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsi_tower.batch import BatchSettings, Outcome, Progress, run_batch
from wsi_tower.cli.progress import watched
from wsi_tower.errors import SettingsError, StorageError
from wsi_tower.phantom import check_outlines, phantom_paths, write_phantom, write_slide_list

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.cli.options import Shared
    from wsi_tower.phantom import PhantomSettings

__all__ = ["run_phantom"]


@dataclass(frozen=True, slots=True)
class PhantomJob:
    """One slide to write."""

    path: Path
    """Where."""
    settings: PhantomSettings
    """What."""
    index: int
    """Its number in the folder."""
    threads: int
    """Tiles made at once."""

    @property
    def slide_id(self) -> str:
        """Its id."""
        return self.path.stem

    @property
    def source(self) -> str:
        """Its path."""
        return str(self.path)


def run_phantom(folder: Path, settings: PhantomSettings, shared: Shared) -> list[Path]:
    """Write the slides of a folder on several processes, then their list.

    Cores that are left where slides are few make tiles of a slide side by side.

    Raises:
        AnnotationError: the file of tumour outlines cannot be read.
        StorageError: the disk refused, or a file stands where the folder should be.
        SettingsError: a slide of that name is there, and is not to be overwritten; or no tumour
            outline is of use. Nothing is written then.
    """
    check_outlines(settings)
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder} is a file; name a folder for the phantom slides")
    paths = phantom_paths(folder, settings)
    there = next((path for path in paths if path.exists()), None)
    if there is not None and not shared.overwrite:
        raise SettingsError(f"{there} is there already; replace it with --overwrite")
    batch = BatchSettings(shared.workers)
    threads = max(1, batch.processes // len(paths))
    jobs = [PhantomJob(path, settings, index, threads) for index, path in enumerate(paths)]
    with watched(len(jobs), quiet=shared.json) as watcher:
        rows = run_batch(jobs, _write_one, batch, on_row=watcher.row)
    for row in rows:
        if row.is_failure:
            raise StorageError(row.message)
    write_slide_list(folder, paths)
    return paths


def _write_one(job: PhantomJob, wait: bool, progress: Progress) -> Outcome:
    del wait, progress
    write_phantom(job.path, job.settings, job.index, threads=job.threads)
    return Outcome("done", 0)
