"""A run as its folder tells of it."""

from __future__ import annotations

import difflib
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from wsi_tower.errors import CorruptStoreError, InputError
from wsi_tower.records import is_held
from wsi_tower.runs.ending import EndStatus, RecordedEnd, seconds_of
from wsi_tower.runs.log import LogTail, log_tail

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wsi_tower.workspace import Workspace

__all__ = ["RecordedRun", "RunStatus", "named_runs", "recorded_run", "recorded_runs"]

RunStatus: TypeAlias = EndStatus | Literal["running", "damaged"]
"""``running``: a process works on it now; ``damaged``: its folder cannot be understood."""

_ABOUT = frozenset({"kind", "format_version", "created", "settings_digest", "counts"})
"""What run.json holds besides settings."""
_DONE: tuple[RunStatus, ...] = ("finished", "stopped early")
_KNOWN_SHOWN = 10


@dataclass(frozen=True)
class RecordedRun:
    """What is known of a run."""

    name: str
    """Its name."""
    folder: Path
    """Where it lies."""
    status: RunStatus
    """How it ended, if it did."""
    reason: str = ""
    """Short code of what went wrong, where something did."""
    message: str = ""
    """What went wrong, and what to do."""
    created: str = ""
    """When it was begun (UTC, ISO 8601)."""
    settings: dict[str, Any] = field(default_factory=dict)
    """As run.json has them: method, preset, encoder, objective, views, training, tiles' digests."""
    settings_digest: str = ""
    """Of what decides the weights; empty where it was not recorded."""
    slides: int | None = None
    """How many it learns from; 0 where from flat images."""
    tiles: int | None = None
    """How many, or how many squares of flat images."""
    last: LogTail = field(default_factory=LogTail)
    """What its log said last."""
    checkpoint: int = 0
    """Step of the newest checkpoint, from which it can go on; 0 where there is none."""
    seconds: float | None = None
    """Of training, all attempts together; about, where a process was killed."""
    encoder: Path | None = None
    """Folder of the encoder that came of it; None where there is none."""

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to train."""
        return self.status in _DONE

    @property
    def step(self) -> int:
        """Steps done."""
        return max(self.last.step, self.checkpoint)

    @property
    def steps(self) -> int | None:
        """Steps in all; None where the settings are not known."""
        steps = self.settings.get("training", {}).get("steps")
        return steps if isinstance(steps, int) else None

    @property
    def log(self) -> Path:
        """The log; it need not be there."""
        return self.folder / "log.csv"

    @property
    def curves(self) -> Path | None:
        """The picture of its curves; None where there is none."""
        path = self.folder / "curves.png"
        return path if path.exists() else None

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it: paths absolute, numbers that are none as null."""
        told: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("name", "status", "reason", "message", "created", "slides", "tiles")
        }
        told |= {"step": self.step, "steps": self.steps, "seconds": self.seconds}
        told["images_per_s"] = _number(self.last.images_per_s)
        told["losses"] = {name: _number(value) for name, value in self.last.losses.items()}
        told |= {"rank": _number(self.last.rank), "gap": _number(self.last.gap)}
        paths = {"folder": self.folder, "encoder": self.encoder, "curves": self.curves}
        told |= {name: str(path.absolute()) if path else None for name, path in paths.items()}
        return told | {"settings_digest": self.settings_digest, "settings": self.settings}


def recorded_runs(workspace: Workspace) -> list[RecordedRun]:
    """Every run of a workspace, the newest first."""
    folders = [path for path in workspace.runs.glob("*") if path.is_dir() and path.name[0] != "."]
    runs = [recorded_run(workspace, path.name) for path in sorted(folders)]
    return sorted(runs, key=lambda run: run.created, reverse=True)


def named_runs(workspace: Workspace, names: Sequence[str]) -> list[RecordedRun]:
    """The runs of these names, in their order.

    Raises:
        InputError: there is none of a name; the nearest are named.
    """
    for name in names:
        # A name with a path in it would leave the workspace.
        if "/" in name or not workspace.run(name).is_dir():
            raise InputError(_unknown(name, workspace))
    return [recorded_run(workspace, name) for name in names]


def recorded_run(workspace: Workspace, name: str) -> RecordedRun:
    """The run of a name; one that cannot be understood is ``damaged`` and says why."""
    folder = workspace.run(name)
    try:
        return _recorded(workspace, folder)
    except CorruptStoreError as error:
        return RecordedRun(
            name, folder, "damaged", error.reason, str(error), created=_created({}, folder)
        )


def _recorded(workspace: Workspace, folder: Path) -> RecordedRun:
    end = RecordedEnd.of(folder)
    # A run that could not begin has an end and nothing else.
    told = {} if _is_end_alone(folder, end) else _told(folder / "run.json")
    name, last, checkpoint = folder.name, log_tail(folder / "log.csv"), _newest_checkpoint(folder)
    encoder = workspace.encoders / name
    has_encoder = (encoder / "encoder.json").exists()
    status: RunStatus = end.status if end else "interrupted"
    if end is None and has_encoder and max(last.step, checkpoint) >= told["training"]["steps"]:
        status = "finished"  # by a version that wrote no end
    elif end is not None and status not in _DONE and _has_gone_on(folder):
        status, end = "interrupted", None  # by a kill, after it had been resumed
    if status not in _DONE and is_held(workspace.lock(folder)):
        status, end = "running", None
    counts = told.get("counts", {})
    return RecordedRun(
        name,
        folder,
        status,
        reason=end.reason if end else "",
        message=end.message if end else "",
        created=_created(told, folder),
        settings={key: value for key, value in told.items() if key not in _ABOUT},
        settings_digest=str(told.get("settings_digest", "")),
        slides=counts.get("slides"),
        tiles=counts.get("tiles"),
        last=last,
        checkpoint=checkpoint,
        seconds=seconds_of(folder),
        encoder=encoder if has_encoder else None,
    )


def _has_gone_on(folder: Path) -> bool:
    """Whether the log was written to after the end was."""
    try:
        log, end = ((folder / name).stat().st_mtime for name in ("log.csv", "end.json"))
    except OSError:
        return False
    return log > end


def _is_end_alone(folder: Path, end: RecordedEnd | None) -> bool:
    return end is not None and end.status == "failed" and not (folder / "run.json").exists()


def _told(path: Path) -> dict[str, Any]:
    """What run.json says, if it says what every run's does."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        is_run = told["kind"] == "run" and isinstance(told["training"]["steps"], int)
        parts_are_sound = isinstance(told["method"], str) and isinstance(
            told.get("counts", {}), dict
        )
    except FileNotFoundError as error:
        raise CorruptStoreError(
            f"{path.parent} holds no run.json; remove the folder, or begin the run again with "
            f"--overwrite"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptStoreError(
            f"{path} is damaged ({type(error).__name__}: {error}); begin the run again with "
            f"--overwrite"
        ) from error
    if not (is_run and parts_are_sound):
        raise CorruptStoreError(
            f"{path} is not that of a wsi-tower run; remove the folder if it is none"
        )
    return dict(told)


def _created(told: dict[str, Any], folder: Path) -> str:
    """When a run was begun; of a folder that does not tell, when it was last changed."""
    created = told.get("created")
    if isinstance(created, str):
        return created
    path = folder / "run.json"
    try:
        changed = (path if path.exists() else folder).stat().st_mtime
    except OSError:  # it is being removed
        return ""
    return datetime.fromtimestamp(changed, UTC).isoformat(timespec="seconds")


def _newest_checkpoint(folder: Path) -> int:
    steps = (path.stem.removeprefix("step-") for path in folder.glob("checkpoints/step-*.pt"))
    return max((int(step) for step in steps if step.isdecimal()), default=0)


def _unknown(name: str, workspace: Workspace) -> str:
    known = sorted(path.name for path in workspace.runs.glob("[!.]*") if path.is_dir())
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"workspace {workspace.root} has no run {name!r}; did you mean {' or '.join(close)}?"
    if not known:
        return (
            f"workspace {workspace.root} has no run {name!r}, and no other; begin one with "
            f"`wsi-tower pretrain -w {workspace.root}`, or choose another workspace with -w"
        )
    shown = ", ".join(known[:_KNOWN_SHOWN]) + (", …" if len(known) > _KNOWN_SHOWN else "")
    return f"workspace {workspace.root} has no run {name!r}; there are {shown}"


def _number(value: float | None) -> float | None:
    """A number that JSON has."""
    return value if value is not None and math.isfinite(value) else None
