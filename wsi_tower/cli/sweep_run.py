"""What ``wsi-tower pretrain`` does with a sweep: one run after another, and a table of them."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.pretrain_run import run_pretrain
from wsi_tower.errors import (
    OtherSettingsError,
    StorageError,
    StoreBusyError,
    WsiTowerError,
    without_secrets,
)
from wsi_tower.records import held_lock, write_text_aside
from wsi_tower.runs import record_failure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsi_tower.cli.sweep_plan import PlannedRun, Step, SweepPlan
    from wsi_tower.runs import RecordedRun

__all__ = ["SweepRow", "SweepSummary", "run_sweep"]

_BAD = ("failed", "diverged", "damaged")
_REFUSED_SHOWN = 3


@dataclass(frozen=True)
class SweepRow:
    """How a run of a sweep stands."""

    planned: PlannedRun
    """The run."""
    did: Step | None
    """What was done with it here, if something was."""
    found: RecordedRun | None
    """What lies there of it."""

    @property
    def status(self) -> str:
        """How it ended, ``waiting``, or ``impossible`` where its settings exclude one another."""
        if self.planned.request is None:
            return "impossible"
        return "waiting" if self.found is None else self.found.status

    @property
    def message(self) -> str:
        """What went wrong, where something did."""
        return self.planned.impossible or (self.found.message if self.found else "")

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        run = self.planned.run
        told: dict[str, Any] = {"name": run.name, "varied": run.varied, "did": self.did}
        if self.found is not None:
            return told | self.found.to_json()
        return told | {"status": self.status, "message": self.message}

    def to_csv(self) -> Iterator[tuple[str, Any]]:
        """Cells of the table by column."""
        planned, found = self.planned, self.found
        yield from {"run": planned.run.name, "status": self.status}.items()
        yield from planned.run.varied.items()
        yield from {"steps": planned.steps or None, "message": self.message}.items()
        if found is None:
            return
        last = found.last
        yield from {"step": found.step, **last.losses, "rank": last.rank, "gap": last.gap}.items()
        yield from {"images_per_s": last.images_per_s, "seconds": found.seconds}.items()
        yield "reason", found.reason


@dataclass(frozen=True)
class SweepSummary:
    """What a sweep gave."""

    plan: SweepPlan
    """What was planned."""
    rows: tuple[SweepRow, ...]
    """Every run of it."""
    table: Path
    """All runs as CSV."""
    seconds: float
    """How long it took, this time."""

    @property
    def has_bad(self) -> bool:
        """Whether a run of this share gave no encoder and, as it is, never will."""
        return any(row.planned.is_own and row.status in _BAD for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        told = {"sweep": self.plan.name, "table": str(self.table.absolute())}
        return told | {"seconds": self.seconds, "runs": [row.to_json() for row in self.rows]}


def run_sweep(plan: SweepPlan, *, quiet: bool) -> SweepSummary:
    """Train what is not done, one run after another, and keep the table up to date.

    A run that fails is a row of the table; the others go on.

    Raises:
        OtherSettingsError: a run of a name that is needed was made with other settings.
        StorageError: the disk refused.
        KeyboardInterrupt: the sweep was interrupted; the run under way has a checkpoint.
    """
    began = time.perf_counter()
    _check_nothing_refused(plan)
    table = plan.home.reports / "sweeps" / f"{plan.name}.csv"
    did: dict[str, Step] = {}
    _write_table(table, plan)
    for number, one in enumerate(plan.own, start=1):
        step, why = one.next_step()
        if not quiet:
            varied = ", ".join(f"{key} {value}" for key, value in one.run.varied.items())
            told = f"run {number} of {len(plan.own)}, {one.run.name} ({varied}): {step}, {why}"
            click.echo(click.style(told, bold=True), err=True)
        try:
            did[one.run.name] = _done(one, step)
        finally:
            _write_table(table, plan)
    rows = tuple(SweepRow(one, did.get(one.run.name), one.recorded()) for one in plan.runs)
    return SweepSummary(plan, rows, table, round(time.perf_counter() - began, 1))


def _done(one: PlannedRun, step: Step) -> Step:
    """Take a step with a run; what goes wrong with it is recorded in its folder."""
    request = one.request
    if request is None or step not in ("train", "resume"):
        return step
    try:
        run_pretrain(lambda: request)
    except StoreBusyError:
        return "busy"
    except StorageError:  # what one run cannot write, the next cannot either
        raise
    # RuntimeError is what torch raises when a device refuses: out of memory, most of all.
    except (WsiTowerError, RuntimeError, MemoryError) as error:
        click.echo(f"{click.style('failed', fg='red')}: {without_secrets(str(error))}", err=True)
        record_failure(one.home.run(one.run.name), error)
    return step


def _check_nothing_refused(plan: SweepPlan) -> None:
    steps = [(one, *one.next_step()) for one in plan.own]
    refused = [f"run {one.run.name}: {why}" for one, step, why in steps if step == "refuse"]
    if refused:
        more = len(refused) - _REFUSED_SHOWN
        told = "; ".join(refused[:_REFUSED_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise OtherSettingsError(
            f"of this sweep {len(refused)} run(s) lie there already and cannot be gone on with: "
            f"{told}. Give the sweep another --name, or begin all of it again with --overwrite"
        )


def _write_table(path: Path, plan: SweepPlan) -> None:
    """Write the table from the runs' folders, so that every process of several writes the same."""
    with held_lock(plan.home.lock(path), wait=True):
        rows = [SweepRow(one, None, one.recorded()) for one in plan.runs]
        losses = dict.fromkeys(name for row in rows if row.found for name in row.found.last.losses)
        names = ("run", "status", *plan.keys, "step", "steps", *losses, "rank", "gap")
        names = (*names, "images_per_s", "seconds", "reason", "message")
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(dict(row.to_csv()) for row in rows)
        write_text_aside(path, text.getvalue())
