"""What a run says of itself while it goes: rows of the log, and calls to whoever listens."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsi_tower.training.collapse import Watch, watched

if TYPE_CHECKING:
    from wsi_tower.models import Network
    from wsi_tower.training.collapse import Probe
    from wsi_tower.training.log import RunLog
    from wsi_tower.training.objective import Progress
    from wsi_tower.training.settings import TrainSettings

__all__ = ["Reporter", "StepReport", "Watcher"]


@dataclass(frozen=True, slots=True)
class StepReport:
    """A row of the log."""

    progress: Progress
    """Where the run stands."""
    lr: float
    """Learning rate of the step."""
    losses: dict[str, float]
    """``loss`` and its parts."""
    grad_norm: float
    """Length of the gradient before clipping."""
    images_per_s: float
    """Samples a second since the row before."""
    watch: Watch | None
    """What the watch saw, where it looked."""

    def values(self) -> dict[str, float | None]:
        """Columns of the log by name."""
        return {
            "lr": self.lr,
            **self.losses,
            "grad_norm": self.grad_norm,
            "images_per_s": self.images_per_s,
            "rank": self.watch.rank if self.watch else None,
            "gap": self.watch.gap if self.watch else None,
        }


class Watcher:
    """Hears how a run goes. This one is silent; override what you want to hear."""

    def resumed(self, step: int) -> None:
        """The run goes on after a step that an earlier process did."""

    def stepped(self, progress: Progress, loss: float) -> None:
        """A step is done."""

    def logged(self, report: StepReport) -> None:
        """A row was logged."""

    def warned(self, message: str) -> None:
        """Something is wrong that stops nothing."""


class Reporter:
    """Tells log and watcher of each step what is due."""

    def __init__(
        self,
        log: RunLog | None,
        watcher: Watcher,
        settings: TrainSettings,
        network: Network,
        probe: Probe | None,
    ) -> None:
        """``probe`` is what the collapse watch looks at; None: it does not look.

        Without a log nobody is told anything.
        """
        self._log, self._watcher, self._settings = log, watcher, settings
        self._network, self._probe = network, probe
        self._since, self._steps = time.perf_counter(), 0

    def step(
        self,
        progress: Progress,
        rate: float,
        losses: dict[str, float],
        grad_norm: float,
        *,
        is_last: bool,
    ) -> Watch | None:
        """Tell of a step; the last one has a row and a look in any case. Gives what was seen."""
        if self._log is None:
            return None
        self._steps += 1
        self._watcher.stepped(progress, losses["loss"])
        watch = None
        every = self._settings.watch_every
        if self._probe is not None and every and (is_last or progress.step % every == 0):
            watch = watched(self._network, self._probe)
        if watch or is_last or progress.step % self._settings.log_every == 0:
            report = StepReport(progress, rate, losses, grad_norm, self._pace(), watch)
            self._log.add(progress.step, report.values())
            self._watcher.logged(report)
        return watch

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    def _pace(self) -> float:
        now = time.perf_counter()
        pace = self._steps * self._settings.batch_size / (now - self._since)
        self._since, self._steps = now, 0
        return pace
