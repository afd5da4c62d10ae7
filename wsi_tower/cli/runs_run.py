"""What ``wsi-tower runs A B`` does: find what differs, and draw both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wsi_tower.errors import CorruptStoreError, InputError
from wsi_tower.records import digest, write_bytes_aside
from wsi_tower.report import ComparedRun, comparison_picture, plainly
from wsi_tower.runs import differing_settings, logged_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wsi_tower.runs import RecordedRun
    from wsi_tower.workspace import Workspace

__all__ = ["Comparison", "compared"]

_LONGEST_NAME = 120


@dataclass(frozen=True)
class Comparison:
    """Runs beside one another."""

    runs: tuple[RecordedRun, ...]
    """The runs, in the order asked for."""
    differing: dict[str, list[Any]]
    """Settings that differ, with the value of each run."""
    picture: Path
    """Their curves."""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "runs": [run.to_json() for run in self.runs],
            "differing": self.differing,
            "picture": str(self.picture.absolute()),
        }


def compared(workspace: Workspace, runs: Sequence[RecordedRun]) -> Comparison:
    """Compare runs and draw their curves into the workspace's reports.

    Raises:
        InputError: one is named twice.
        CorruptStoreError: one has no settings to compare, or its log is damaged.
        StorageError: the disk refused.
    """
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            raise InputError(f"run {run.name!r} is named twice; name each run once")
        if not run.settings:
            raise CorruptStoreError(f"run {run.name} cannot be compared: {run.message}")
    differing = differing_settings(runs)
    drawn = [
        ComparedRun(run.name, logged_columns(run.log), run.settings["training"]["batch_size"])
        for run in runs
    ]
    words = {name: [plainly(value) for value in values] for name, values in differing.items()}
    path = workspace.reports / "runs" / f"{_together(names)}.png"
    write_bytes_aside(path, comparison_picture(drawn, words))
    return Comparison(tuple(runs), differing, path)


def _together(names: Sequence[str]) -> str:
    """A file's name for runs; of many, one that is not too long for a file."""
    together = "-vs-".join(names)
    if len(together) <= _LONGEST_NAME:
        return together
    return f"{names[0][:_LONGEST_NAME]}-and-{len(names) - 1}-others-{digest(list(names))[:8]}"
