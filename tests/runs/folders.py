"""Folders of runs as `pretrain` leaves them, without training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wsi_tower.runs import begin_run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wsi_tower.workspace import Workspace

HEADS = "step,lr,loss,contrast,grad_norm,images_per_s,rank,gap"

SETTINGS: dict[str, Any] = {
    "method": "tower",
    "settings_digest": "a1",
    "counts": {"slides": 2, "tiles": 120},
    "preset": "small",
    "training": {"steps": 40, "batch_size": 8, "lr": 0.001, "seed": 0},
    "objective": {"temperature": 0.1},
    "augment": {"crop_px": 32},
    "backbone": "resnet10t",
    "tiles": {"0 a": "d0", "1 b": "d1"},
}


def row(step: int, loss: float, rank: float | str = "", gap: float | str = "") -> str:
    """A row of a log with half the loss as its part, 100 tiles a second."""
    return f"{step},0.001,{loss},{loss / 2},1.5,100,{rank},{gap}"


def write_log(folder: Path, rows: Sequence[str]) -> Path:
    """A log of these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "log.csv"
    path.write_text("\n".join([HEADS, *rows]) + "\n", encoding="utf-8")
    return path


def write_run(
    workspace: Workspace,
    name: str,
    *,
    rows: Sequence[str] = (row(20, 3), row(40, 2, 31, 1.25)),
    status: str | None = "finished",
    checkpoint: int = 0,
    created: str = "2026-11-21T10:00:00+00:00",
    **settings: Any,
) -> Path:
    """A run's folder; a finished one has an encoder."""
    folder = workspace.run(name)
    begin_run(folder, SETTINGS | {"created": created} | settings)
    write_log(folder, rows)
    if status is not None:
        told = {"status": status, "seconds": 61.0, "reason": "", "message": "", "ended": ""}
        if status in ("diverged", "failed"):
            told |= {"reason": status, "message": f"it {status}"}
        (folder / "end.json").write_text(json.dumps(told))
    if checkpoint:
        path = folder / "checkpoints" / f"step-{checkpoint:08d}.pt"
        path.parent.mkdir()
        path.touch()
    if status == "finished":
        (workspace.encoders / name).mkdir(parents=True)
        (workspace.encoders / name / "encoder.json").write_text("{}")
    return folder
