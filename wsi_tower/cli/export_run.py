"""What ``wsi-tower export`` does once its options are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsi_tower.batch import BatchSettings, run_batch
from wsi_tower.cli.batch_run import RunClock, RunSummary
from wsi_tower.cli.progress import watched
from wsi_tower.embeddings import ExportJob, check_export_format, export_slide, write_bag_list
from wsi_tower.errors import NoSlidesError, SettingsError
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.cli.options import Shared

__all__ = ["run_export"]


def run_export(shared: Shared, out: Path, form: Any, encoder: str) -> RunSummary:
    """Write every cache of an encoder in another form.

    Raises:
        SettingsError: a library is missing, or several encoders have caches.
        NoSlidesError: there are no caches.
    """
    clock = RunClock()
    check_export_format(form)
    workspace = Workspace(shared.workspace)
    caches = workspace.embedding_caches(encoder or _only_encoder(workspace))
    jobs = [ExportJob(path, out, form) for path in caches]
    with watched(len(jobs), quiet=shared.json) as watcher:
        rows = run_batch(jobs, export_slide, BatchSettings(1), on_row=watcher.row)
    if form == "clam":
        done = {row.slide_id for row in rows if row.status == "done"}
        write_bag_list([path for path in caches if path.stem in done], out)
    return RunSummary(out, None, clock.seconds(), tuple(rows))


def _only_encoder(workspace: Workspace) -> str:
    encoders = workspace.embedded()
    if not encoders:
        raise NoSlidesError(
            f"workspace {workspace.root} has no embeddings; make them with `wsi-tower embed -w "
            f"{workspace.root}`, or choose another workspace with -w"
        )
    if len(encoders) > 1:
        raise SettingsError(
            f"workspace {workspace.root} has embeddings of {', '.join(encoders)}; say which with "
            f"--encoder"
        )
    return encoders[0]
