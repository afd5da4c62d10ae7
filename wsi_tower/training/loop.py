"""The training loop: one screen, the same for every method."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from wsi_tower.errors import CheckpointError, DivergedError
from wsi_tower.training.checkpoint import Checkpoint, Checkpoints
from wsi_tower.training.interrupt import put_off_interrupts
from wsi_tower.training.log import RunLog
from wsi_tower.training.objective import Progress
from wsi_tower.training.reporting import Reporter, Watcher
from wsi_tower.training.schedule import learning_rate
from wsi_tower.training.trainee import Trainee

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wsi_tower.models import Network
    from wsi_tower.training.feed import TileFeed
    from wsi_tower.training.objective import Objective
    from wsi_tower.training.settings import TrainSettings

__all__ = ["Run", "TrainResult", "train"]

_MEAN_OF = 100
"""Steps that the moving mean of the loss looks back."""


@dataclass(frozen=True, slots=True)
class Run:
    """Which run it is, and where it is written."""

    folder: Path
    """Takes ``checkpoints/``, ``log.csv`` and ``tensorboard/``."""
    method: str
    """Name of the objective."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What else decides the weights, as plain values: objective, encoder, views, tiles. A resumed
    run must share it."""
    resume: bool = False
    """Whether to go on from the newest checkpoint; there need be none."""
    tensorboard: bool = False
    """Whether to write TensorBoard's files beside the CSV."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended."""

    steps: int
    """Steps done, those before a restart with them."""
    loss: float
    """Moving mean of the training loss."""
    has_stopped_early: bool
    """Whether the loss no longer fell."""
    checkpoint: Path
    """The last one."""


@dataclass(slots=True)
class _MovingMean:
    """Mean of the loss, the newest weighing most, and when it was lowest."""

    count: int = 0
    value: float = 0.0
    lowest: float = math.inf
    lowest_at: int = 0

    def add(self, loss: float) -> None:
        self.count += 1
        self.value += (loss - self.value) / min(self.count, _MEAN_OF)
        if self.value < self.lowest:
            self.lowest, self.lowest_at = self.value, self.count

    def is_stale(self, patience: int) -> bool:
        return 0 < patience <= self.count - self.lowest_at


def train(
    objective: Objective,
    network: Network,
    feed: TileFeed,
    settings: TrainSettings,
    run: Run,
    watcher: Watcher | None = None,
) -> TrainResult:
    """Train ``network`` by ``objective`` on what ``feed`` gives.

    On a CPU the weights are a function of the settings, bit for bit, however often the run was
    stopped and resumed.

    Raises:
        DivergedError: the loss is no longer a number; the weights are those before that step.
        CheckpointError: the run cannot be resumed, or its folder holds one and it may not be.
        TrainingError: a tile cannot be read and the source is strict.
        StorageError: the disk refused.
        KeyboardInterrupt: the run was interrupted; it has a checkpoint of the last whole step.
    """
    watcher = watcher or Watcher()
    trainee = Trainee(objective, network, settings, feed.device)
    kept = _checkpoints(run, settings)
    mean, step = _begun(trainee, kept, run, watcher)
    stop = step if mean.is_stale(settings.patience) else settings.steps
    probe = feed.probe() if settings.watch_every else None
    with (
        closing(RunLog(run.folder, step=step, tensorboard=run.tensorboard)) as log,
        closing(feed.steps(step, stop)) as steps,
        put_off_interrupts() as interruption,
    ):
        reporter = Reporter(log, watcher, settings, network, probe)
        for fed in steps:
            rate = learning_rate(fed.step, settings)
            losses, norm = trainee.gradients(fed)
            if not (math.isfinite(losses["loss"]) and math.isfinite(norm)):
                raise _diverged(_unsound(losses["loss"], norm), fed.step + 1, rate, kept.paths())
            trainee.step(rate)
            step = fed.step + 1
            now = Progress(step, settings.steps)
            trainee.follow(fed, now)
            mean.add(losses["loss"])
            is_last = step == stop or mean.is_stale(settings.patience)
            watch = reporter.step(now, rate, losses, norm, is_last=is_last)
            if watch is not None and not math.isfinite(watch.rank):
                raise _diverged("a feature is no longer a number", step, rate, kept.paths())
            is_last = is_last or bool(interruption)
            if is_last or step % settings.checkpoint_every == 0:
                if not trainee.is_finite():
                    raise _diverged("a weight is no longer a number", step, rate, kept.paths())
                kept.save(Checkpoint(step, trainee.state() | {"mean": asdict(mean)}))
            if is_last:
                break
    return TrainResult(step, mean.value, step < settings.steps, kept.paths()[-1])


def _checkpoints(run: Run, settings: TrainSettings) -> Checkpoints:
    identity = {"training": settings.that_move_weights(), **run.recipe}
    return Checkpoints(run.folder / "checkpoints", run.method, identity, settings.keep_checkpoints)


def _begun(
    trainee: Trainee, kept: Checkpoints, run: Run, watcher: Watcher
) -> tuple[_MovingMean, int]:
    """The mean of the loss and the step to begin with: anew, or from the newest checkpoint."""
    if not run.resume:
        if kept.paths():
            raise CheckpointError(
                f"{run.folder} holds a run already, up to {kept.paths()[-1].stem}; go on with "
                f"--resume, begin again with --overwrite, or start under another name"
            )
        return _MovingMean(), 0
    found = kept.newest(watcher.warned)
    if found is None:
        return _MovingMean(), 0
    trainee.restore(found.state)
    watcher.resumed(found.step)
    return _MovingMean(**found.state["mean"]), found.step


def _unsound(loss: float, norm: float) -> str:
    return (
        f"the loss is {loss:g}" if not math.isfinite(loss) else f"the gradient's norm is {norm:g}"
    )


def _diverged(what: str, step: int, rate: float, kept: list[Path]) -> DivergedError:
    last = f"the last good checkpoint is {kept[-1]}" if kept else "there was no checkpoint yet"
    return DivergedError(
        f"{what} at step {step}, learning rate {rate:g}; {last}. Start again with a lower lr, more "
        f"warmup_steps or a clip_norm, or with precision fp32"
    )
