"""The training loop: one screen, the same for every method."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from wsi_tower.errors import CheckpointError, DivergedError
from wsi_tower.training.agreement import all_or_none, by_first, check_same, told_once
from wsi_tower.training.checkpoint import Checkpoint, Checkpoints
from wsi_tower.training.interrupt import put_off_interrupts
from wsi_tower.training.joining import joined_ranks
from wsi_tower.training.log import RunLog
from wsi_tower.training.objective import Progress
from wsi_tower.training.ranks import Ranks
from wsi_tower.training.reporting import Reporter, Watcher
from wsi_tower.training.schedule import learning_rate, weight_decay
from wsi_tower.training.trainee import Trainee

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from wsi_tower.models import Network
    from wsi_tower.training.feed import FedStep, TileFeed
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
    """Whether the loss no longer fell, or the objective was over."""
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
    stopped and resumed. Where `torchrun` started several processes, each calls this with its share
    of the batches and all end with the same weights, those of one process but for rounding; rank 0
    alone writes, and alone tells ``watcher``.

    Raises:
        DivergedError: the loss is no longer a number; the weights are those before that step.
        CheckpointError: the run cannot be resumed, or its folder holds one and it may not be.
        TrainingError: a tile cannot be read and the source is strict.
        StorageError: the disk refused.
        LostRankError: another process of the run is gone.
        OtherRankError: on every rank but one, when one of them failed.
        KeyboardInterrupt: the run was interrupted; it has a checkpoint of the last whole step.
    """
    with joined_ranks() as ranks:
        watcher = (watcher if ranks.is_first else None) or Watcher()
        trainee = Trainee(objective, network, settings, feed.device)
        kept = _checkpoints(run, settings)
        mean, step = _begun(trainee, kept, run, watcher)
        is_done = mean.is_stale(settings.patience) or objective.is_over()
        stop = step if is_done else settings.steps
        with (
            closing(_reporter(run, step, watcher, settings, network, feed)) as reporter,
            put_off_interrupts() as interruption,
            closing(feed.steps(step, stop)) as steps,
        ):
            for fed in _together(steps):
                rate = learning_rate(fed.step, settings)
                losses, norm = trainee.gradients(fed)
                if problem := _unsound(losses["loss"], norm):
                    raise told_once(_diverged(problem, fed.step + 1, rate, kept))
                trainee.step(rate, weight_decay(fed.step, settings))
                step = fed.step + 1
                now = Progress(step, settings.steps)
                trainee.follow(fed, now)
                mean.add(losses["loss"])
                is_last = step == stop or mean.is_stale(settings.patience) or objective.is_over()
                with all_or_none():
                    watch = reporter.step(now, rate, losses, norm, is_last=is_last)
                    if watch is not None and not math.isfinite(watch.rank):
                        raise _diverged("a feature is no longer a number", step, rate, kept)
                is_last = interruption.is_anywhere() or is_last
                if is_last or step % settings.checkpoint_every == 0:
                    by_first(partial(_keep, trainee, kept, step, rate, mean))
                if is_last:
                    break
        last = by_first(lambda: kept.paths()[-1])
    return TrainResult(step, mean.value, step < settings.steps, last)


def _together(steps: Iterator[FedStep]) -> Iterator[FedStep]:
    """Each step when every rank has its part of the batch."""
    while True:
        with all_or_none():
            fed = next(steps, None)
        if fed is None:
            return
        yield fed


def _checkpoints(run: Run, settings: TrainSettings) -> Checkpoints:
    identity = {"training": settings.that_move_weights(), **run.recipe}
    return Checkpoints(run.folder / "checkpoints", run.method, identity, settings.keep_checkpoints)


def _begun(
    trainee: Trainee, kept: Checkpoints, run: Run, watcher: Watcher
) -> tuple[_MovingMean, int]:
    """The mean of the loss and the step to begin with: anew, or from the newest checkpoint."""
    if not run.resume:
        by_first(partial(_refuse_another, run, kept))
        return _MovingMean(), 0
    with all_or_none():
        found = kept.newest(watcher.warned)
    # Each rank reads for itself, so they need one file system.
    check_same({f"newest checkpoint in {kept.folder}": found.step if found else None})
    if found is None:
        return _MovingMean(), 0
    with all_or_none():
        trainee.restore(found.state)
    watcher.resumed(found.step)
    return _MovingMean(**found.state["mean"]), found.step


def _refuse_another(run: Run, kept: Checkpoints) -> None:
    if kept.paths():
        raise CheckpointError(
            f"{run.folder} holds a run already, up to {kept.paths()[-1].stem}; go on with "
            f"--resume, begin again with --overwrite, or start under another name"
        )


def _reporter(
    run: Run,
    step: int,
    watcher: Watcher,
    settings: TrainSettings,
    network: Network,
    feed: TileFeed,
) -> Reporter:
    """Who tells log and watcher of the steps; on ranks other than 0 it tells nobody."""
    with all_or_none():
        log = probe = None
        if Ranks.here().is_first:
            probe = feed.probe() if settings.watch_every else None
            log = RunLog(run.folder, step=step, tensorboard=run.tensorboard)
    return Reporter(log, watcher, settings, network, probe)


def _keep(trainee: Trainee, kept: Checkpoints, step: int, rate: float, mean: _MovingMean) -> None:
    if not trainee.is_finite():
        raise _diverged("a weight is no longer a number", step, rate, kept)
    kept.save(Checkpoint(step, trainee.state() | {"mean": asdict(mean)}))


def _unsound(loss: float, norm: float) -> str | None:
    """What is wrong with a step that cannot be made."""
    if not math.isfinite(loss):
        return f"the loss is {loss:g}"
    return None if math.isfinite(norm) else f"the gradient's norm is {norm:g}"


def _diverged(what: str, step: int, rate: float, checkpoints: Checkpoints) -> DivergedError:
    kept = checkpoints.paths()
    last = f"the last good checkpoint is {kept[-1]}" if kept else "there was no checkpoint yet"
    return DivergedError(
        f"{what} at step {step}, learning rate {rate:g}; {last}. Start again with a lower lr, more "
        f"warmup_steps or a clip_norm, or with precision fp32"
    )
