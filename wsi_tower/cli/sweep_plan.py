"""What a sweep would do: every run with its settings resolved, and what is there already."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from wsi_tower.cli.pretrain_run import PretrainRequest
from wsi_tower.errors import SettingsError
from wsi_tower.models import checked_encoder_name
from wsi_tower.pretrain import OpenPictures, Plan
from wsi_tower.records import differences_in_words
from wsi_tower.runs import RecordedRun, recorded_run
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wsi_tower.cli.options import Shared
    from wsi_tower.cli.sweep import Share, Sweep, SweepRun

__all__ = ["PlannedRun", "Step", "SweepPlan", "check_one_process", "planned_sweep"]

Step: TypeAlias = Literal["train", "resume", "skip", "busy", "leave out", "refuse"]
"""What a sweep does with a run. ``busy``: another process works on it; ``leave out``: its settings
exclude one another; ``refuse``: a run of that name was made with other settings."""


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep, with its settings resolved."""

    run: SweepRun
    """Its name, and what it has of the lists."""
    home: Workspace
    """What takes it."""
    is_own: bool
    """Whether it is of this process's share."""
    request: PretrainRequest | None
    """What is asked of it; None where its settings exclude one another."""
    identity: dict[str, Any]
    """What decides its weights."""
    settings_digest: str
    """Of that."""
    steps: int
    """How many it takes."""
    impossible: str = ""
    """Why it cannot be, where its settings exclude one another."""

    def recorded(self) -> RecordedRun | None:
        """The run as it lies there; None where nothing does."""
        is_there = self.request is not None and self.home.run(self.run.name).is_dir()
        return recorded_run(self.home, self.run.name) if is_there else None

    def next_step(self) -> tuple[Step, str]:
        """What is to be done with it now, and why."""
        if self.request is None:
            return "leave out", self.impossible
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
        differing = differences_in_words(there, self.identity)
        return "; ".join(differing) or "its settings were not recorded"


@dataclass(frozen=True)
class SweepPlan:
    """Every run of a sweep, in order."""

    name: str
    """Of the sweep."""
    keys: tuple[str, ...]
    """What varies."""
    runs: tuple[PlannedRun, ...]
    """All, those of other shares with them."""

    @property
    def home(self) -> Workspace:
        """What takes the runs."""
        return self.runs[0].home

    @property
    def own(self) -> list[PlannedRun]:
        """The runs of this process's share."""
        return [one for one in self.runs if one.is_own]

    def to_json(self) -> dict[str, Any]:
        """As ``--dry-run --json`` prints it."""
        runs = []
        for one in self.runs:
            step, why = one.next_step()
            told = {"name": one.run.name, "varied": one.run.varied, "would": step, "why": why}
            runs.append(told | {"is_own": one.is_own})
        return {"sweep": self.name, "runs": runs}


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


def planned_sweep(sweep: Sweep, shared: Shared, share: Share) -> SweepPlan:
    """Every run with its settings resolved, before any of them is trained.

    Raises:
        SettingsError: a value cannot be whatever the others are, or two runs would be the same.
        WsiTowerError: the tiles cannot be had; see `pretrain`.
    """
    workspaces = tuple(Workspace(root) for root in shared.workspaces)
    planned: list[PlannedRun] = []
    errors: list[tuple[SweepRun, SettingsError]] = []
    with closing(OpenPictures(workspaces, _unheard)) as opened:
        for number, run in enumerate(sweep.runs):
            is_own = share.has(number)
            try:
                planned.append(_planned(run, shared, opened, is_own=is_own))
            except SettingsError as error:
                errors.append((run, error))
                told = str(error)
                planned.append(PlannedRun(run, workspaces[0], is_own, None, {}, "", 0, told))
    sound = [one for one in planned if one.request is not None]
    _check_values_sound(errors, sound)
    _check_different(sound)
    return SweepPlan(sweep.name, sweep.keys, tuple(planned))


def _planned(run: SweepRun, shared: Shared, opened: OpenPictures, *, is_own: bool) -> PlannedRun:
    checked_encoder_name(run.name)
    request = PretrainRequest.parsed(shared, **{**run.values, "resume": not shared.overwrite})
    plan = Plan.resolved(request.settings, opened, _unheard)
    return PlannedRun(
        run,
        request.workspaces[0],
        is_own,
        request,
        plan.identity,
        plan.settings_digest,
        plan.training.steps,
    )


def _unheard(message: str) -> None:
    """Warnings come when a run is trained."""


def _check_values_sound(
    errors: Iterable[tuple[SweepRun, SettingsError]], sound: Sequence[PlannedRun]
) -> None:
    """Tell values that no run can have, which are mistakes, from those that exclude one another."""
    possible = {pair for one in sound for pair in one.run.varied.items()}
    for run, error in errors:
        if not possible.issuperset(run.varied.items()):
            raise SettingsError(f"run {run.name}: {error}") from error


def _check_different(planned: Sequence[PlannedRun]) -> None:
    seen: dict[str, PlannedRun] = {}
    for one in planned:
        other = seen.setdefault(one.settings_digest, one)
        if other is not one:
            varied = [
                f"{key} {other.run.varied[key]} or {value}"
                for key, value in one.run.varied.items()
                if other.run.varied[key] != value
            ]
            raise SettingsError(
                f"runs {other.run.name} and {one.run.name} would be the same run twice: it makes "
                f"no difference whether {', '.join(varied)}; take that list out"
            )
