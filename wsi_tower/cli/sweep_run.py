"""What ``wsi-tower pretrain`` does with a sweep: one run after another, and a table of them."""

from __future__ import annotations

import csv
import io
import os
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from wsi_tower.cli.pretrain_run import PretrainRequest, run_pretrain
from wsi_tower.errors import (
    OtherSettingsError,
    SettingsError,
    StorageError,
    StoreBusyError,
    WsiTowerError,
    without_secrets,
)
from wsi_tower.models import checked_encoder_name
from wsi_tower.pretrain import OpenPictures, Plan
from wsi_tower.records import differences, held_lock, write_text_aside
from wsi_tower.runs import RecordedRun, record_failure, recorded_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wsi_tower.cli.options import Shared
    from wsi_tower.cli.sweep import Share, Sweep, SweepRun
    from wsi_tower.workspace import Workspace

__all__ = [
    "PlannedRun",
    "Step",
    "SweepSummary",
    "check_one_process",
    "planned_sweep",
    "run_sweep",
]

Step: TypeAlias = Literal["train", "resume", "skip", "busy", "refuse"]
"""What a sweep does with a run. ``busy``: another process works on it; ``refuse``: a run of that
name was made with other settings."""

_BAD = ("failed", "diverged", "damaged")
_REFUSED_SHOWN = 3


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep, with its settings resolved."""

    run: SweepRun
    """Its name, and what it has of the lists."""
    request: PretrainRequest
    """What is asked of it."""
    identity: dict[str, Any]
    """What decides its weights."""
    settings_digest: str
    """Of that."""
    steps: int
    """How many it takes."""
    is_own: bool
    """Whether it is of this process's share."""

    def recorded(self) -> RecordedRun | None:
        """The run as it lies there; None where nothing does."""
        home = self.request.workspaces[0]
        return recorded_run(home, self.run.name) if home.run(self.run.name).is_dir() else None

    def next_step(self) -> tuple[Step, str]:
        """What is to be done with it now, and why."""
        found = self.recorded()
        if found is not None and found.status == "running":
            return "busy", "another process trains it"
        if found is None or self.request.settings.overwrite:
            return "train", f"{self.steps} steps"
        return self._going_on(found)

    def _going_on(self, found: RecordedRun) -> tuple[Step, str]:
        if found.status == "damaged":
            return "refuse", found.message
        has_ended = found.is_done or found.status == "diverged"
        is_other = found.settings_digest != self.settings_digest
        if is_other and (has_ended or found.checkpoint):
            return "refuse", self._differing(found)
        if has_ended:
            return "skip", found.status
        if found.checkpoint:
            return "resume", f"{found.status} after step {found.checkpoint} of {self.steps}"
        return "train", f"{self.steps} steps"

    def _differing(self, found: RecordedRun) -> str:
        there = {name: found.settings.get(name) for name in self.identity}
        # What moves no weight is in run.json too, and may differ.
        training: dict[str, Any] = found.settings["training"]
        there["training"] = {name: training.get(name) for name in self.identity["training"]}
        differing = [
            f"{name} is {one!r} there and {other!r} here"
            for name, one, other in differences(there, self.identity)
        ]
        return "; ".join(differing) or "its settings were not recorded"


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep gave."""

    name: str
    """Of the sweep."""
    keys: tuple[str, ...]
    """What varies."""
    rows: tuple[tuple[PlannedRun, Step | None, RecordedRun | None], ...]
    """Every run, what was done with it (None: nothing), and how it stands."""
    table: Path
    """All runs as CSV."""
    seconds: float
    """How long it took, this time."""

    @property
    def bad(self) -> list[RecordedRun]:
        """Runs of this share that gave no encoder and never will."""
        return [
            found
            for planned, _, found in self.rows
            if planned.is_own and found is not None and found.status in _BAD
        ]

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        runs = [
            {
                "name": planned.run.name,
                "varied": planned.run.varied,
                "did": did,
                **(found.to_json() if found else {"status": "waiting"}),
            }
            for planned, did, found in self.rows
        ]
        told = {"sweep": self.name, "table": str(self.table.absolute())}
        return told | {"seconds": self.seconds, "runs": runs}


def check_one_process() -> None:
    """Refuse a sweep in several processes that torchrun started: they would share each run.

    Raises:
        SettingsError: there are several.
    """
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        raise SettingsError(
            f"torchrun started {processes} processes, and a sweep is run by one; start it without "
            f"torchrun on each GPU, with --shard 1/{processes} and so on"
        )


def planned_sweep(sweep: Sweep, shared: Shared, share: Share) -> list[PlannedRun]:
    """Every run with its settings resolved, before any of them is trained.

    Raises:
        SettingsError: a run cannot be, or two would be the same.
        WsiTowerError: the tiles cannot be had; see `pretrain`.
    """
    requests = [_request(run, shared) for run in sweep.runs]
    planned: list[PlannedRun] = []
    with closing(OpenPictures(requests[0].workspaces, _unheard)) as opened:
        for number, (run, request) in enumerate(zip(sweep.runs, requests, strict=True)):
            with _named(run):
                plan = Plan.resolved(request.settings, opened, _unheard)
            identity, steps = plan.identity, plan.training.steps
            is_own = share.has(number)
            planned.append(PlannedRun(run, request, identity, plan.settings_digest, steps, is_own))
    _check_different(planned)
    return planned


def run_sweep(sweep: Sweep, planned: Sequence[PlannedRun], shared: Shared) -> SweepSummary:
    """Train what is not done, one run after another, and keep the table up to date.

    A run that fails is a row of the table; the others go on.

    Raises:
        OtherSettingsError: a run of a name that is needed was made with other settings.
        StorageError: the disk refused.
        KeyboardInterrupt: the sweep was interrupted; the run under way has a checkpoint.
    """
    began = time.perf_counter()
    _check_nothing_refused(planned)
    table = planned[0].request.workspaces[0].reports / "sweeps" / f"{sweep.name}.csv"
    own = [one for one in planned if one.is_own]
    did: dict[str, Step] = {}
    try:
        for number, one in enumerate(own, start=1):
            step, why = one.next_step()
            varied = ", ".join(f"{key} {value}" for key, value in one.run.varied.items())
            if not shared.json:
                told = f"run {number} of {len(own)}, {one.run.name} ({varied}): {step}, {why}"
                click.echo(click.style(told, bold=True), err=True)
            did[one.run.name] = _done(one, step)
            _write_table(table, sweep, planned)
    finally:
        _write_table(table, sweep, planned)
    rows = tuple((one, did.get(one.run.name), one.recorded()) for one in planned)
    return SweepSummary(sweep.name, sweep.keys, rows, table, round(time.perf_counter() - began, 1))


def _done(one: PlannedRun, step: Step) -> Step:
    """Take a step with a run; what goes wrong with it is recorded in its folder."""
    if step not in ("train", "resume"):
        return step
    try:
        run_pretrain(one.request)
    except StoreBusyError:
        return "busy"
    except StorageError:  # what one run cannot write, the next cannot either
        raise
    # RuntimeError is what torch raises when a device refuses: out of memory, most of all.
    except (WsiTowerError, RuntimeError, MemoryError) as error:
        click.echo(f"{click.style('failed', fg='red')}: {without_secrets(str(error))}", err=True)
        record_failure(one.request.workspaces[0].run(one.run.name), error)
    return step


def _request(run: SweepRun, shared: Shared) -> PretrainRequest:
    values = run.values | {"resume": not shared.overwrite}
    with _named(run):
        checked_encoder_name(run.name)
        return PretrainRequest.parsed(shared, **values)


@contextmanager
def _named(run: SweepRun) -> Iterator[None]:
    """Say of which run a setting is, where it cannot be."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"run {run.name}: {error}") from error


def _unheard(message: str) -> None:
    """Warnings come when a run is trained."""


def _check_different(planned: Sequence[PlannedRun]) -> None:
    seen: dict[str, PlannedRun] = {}
    for one in planned:
        other = seen.setdefault(one.settings_digest, one)
        if other is not one:
            varied = [
                f"{key} {value} or {other.run.varied[key]}"
                for key, value in one.run.varied.items()
                if other.run.varied[key] != value
            ]
            raise SettingsError(
                f"runs {other.run.name} and {one.run.name} would be the same run twice: it makes "
                f"no difference whether {', '.join(varied)}; take that list out"
            )


def _check_nothing_refused(planned: Sequence[PlannedRun]) -> None:
    steps = [(one, *one.next_step()) for one in planned if one.is_own]
    refused = [f"run {one.run.name}: {why}" for one, step, why in steps if step == "refuse"]
    if refused:
        more = len(refused) - _REFUSED_SHOWN
        told = "; ".join(refused[:_REFUSED_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise OtherSettingsError(
            f"{len(refused)} runs of this sweep are there already and cannot be gone on with: "
            f"{told}. Give the sweep another --name, or begin all of it again with --overwrite"
        )


def _write_table(path: Path, sweep: Sweep, planned: Sequence[PlannedRun]) -> None:
    """Write the table from the runs' folders, so that every process of several writes the same."""
    home: Workspace = planned[0].request.workspaces[0]
    with held_lock(home.lock(path), wait=True):
        rows = [(one, one.recorded()) for one in planned]
        losses = dict.fromkeys(name for _, found in rows if found for name in found.last.losses)
        names = ("run", "status", *sweep.keys, "step", "steps", *losses, "rank", "gap")
        names = (*names, "images_per_s", "seconds", "reason", "message")
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(dict(_cells(one, found)) for one, found in rows)
        write_text_aside(path, text.getvalue())


def _cells(one: PlannedRun, found: RecordedRun | None) -> Iterator[tuple[str, Any]]:
    yield from {"run": one.run.name, **one.run.varied, "steps": one.steps}.items()
    if found is None:
        yield "status", "waiting"
        return
    last = found.last
    yield from {"status": found.status, "step": found.step, **last.losses}.items()
    yield from {"rank": last.rank, "gap": last.gap, "images_per_s": last.images_per_s}.items()
    yield from {"seconds": found.seconds, "reason": found.reason}.items()
    yield "message", found.message
