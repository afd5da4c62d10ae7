"""The loop of a fine-tuning: the training loop's parts, with a validation that decides.

`wsi_tower.training.train` ends by its own loss and keeps its last weights; here labels that train
nothing say when to stop and which weights are best, so the loop is another. What it turns is the
same: trainee, schedule, log, checkpoints.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from wsi_tower.errors import CheckpointError, DivergedError
from wsi_tower.models import UNetDecoder, UNetSegmenter
from wsi_tower.segment.finetune.feed import LabelledFeed
from wsi_tower.segment.finetune.objective import MaskObjective
from wsi_tower.segment.finetune.seeing import mean_dice
from wsi_tower.training import (
    Checkpoint,
    Checkpoints,
    Progress,
    RunLog,
    Trainee,
    learning_rate,
    put_off_interrupts,
    weight_decay,
)

if TYPE_CHECKING:
    from torch import Tensor

    from wsi_tower.models import Network
    from wsi_tower.segment.finetune.settings import FinetuneSettings
    from wsi_tower.segment.finetune.split import LabelledSplit
    from wsi_tower.training import Run

__all__ = ["FinetuneWatcher", "Fitted", "fit"]


class FinetuneWatcher:
    """Hears how a fine-tuning goes. This one is silent; override what you want to hear."""

    def began(self, line: str) -> None:
        """Everything is put together; the first step comes next."""

    def resumed(self, step: int) -> None:
        """The run goes on after a step that an earlier process did."""

    def stepped(self, progress: Progress, loss: float) -> None:
        """A step is done."""

    def validated(self, progress: Progress, dice: float, best: float) -> None:
        """The validation pictures were seen."""

    def warned(self, message: str) -> None:
        """Something is wrong that stops nothing."""


@dataclass(frozen=True)
class Fitted:
    """What a fine-tuning gave."""

    segmenter: UNetSegmenter
    """With the best weights, in eval mode."""
    steps: int
    """Steps done."""
    best_step: int
    """After which the validation Dice was highest."""
    dice: float
    """That Dice."""
    has_stopped_early: bool
    """Whether it no longer rose."""


@dataclass(slots=True)
class _Best:
    """The highest validation Dice so far."""

    dice: float = -1.0
    step: int = 0
    validations_since: int = 0

    def hear(self, dice: float, step: int) -> bool:
        """Whether it is the highest."""
        if dice > self.dice:
            self.dice, self.step, self.validations_since = dice, step, 0
            return True
        self.validations_since += 1
        return False

    def is_stale(self, patience: int) -> bool:
        return 0 < patience <= self.validations_since


class _Fit:
    """A fine-tuning under way."""

    def __init__(
        self, network: Network, split: LabelledSplit, settings: FinetuneSettings, run: Run
    ) -> None:
        training = settings.training
        device = training.torch_device()
        self.split, self.settings = split, settings
        objective = MaskObjective(1, settings.decoder_widths)
        self.trainee = Trainee(objective, network, training, device)
        assert isinstance(network.decoder, UNetDecoder)
        self.segmenter = UNetSegmenter(network.encoder, network.decoder)
        self.feed = LabelledFeed(
            split.training, settings.augment, training.batch_size, training.seed, device
        )
        identity = {"training": training.that_move_weights(), **run.recipe}
        folder = run.folder / "checkpoints"
        self.checkpoints = Checkpoints(folder, run.method, identity, training.keep_checkpoints)
        self.best, self.weights, self.step = _Best(), self._state(), 0

    def resume(self, watcher: FinetuneWatcher) -> None:
        found = self.checkpoints.newest(watcher.warned)
        if found is not None:
            self.trainee.restore(found.state)
            self.best, self.weights = _Best(**found.state["mean"]), found.state["best"]
            self.step = found.step
            watcher.resumed(found.step)

    def moved(self) -> dict[str, float]:
        """Make a step; gives what it lost."""
        training = self.settings.training
        rate = learning_rate(self.step, training)
        self.trainee.network.train()
        losses, norm = self.trainee.gradients(self.feed.step(self.step))
        if not (math.isfinite(losses["loss"]) and math.isfinite(norm)):
            raise DivergedError(
                f"the loss is {losses['loss']:g} and the gradient's norm {norm:g} at step "
                f"{self.step + 1}, learning rate {rate:g}; start again with a lower lr or a "
                f"clip_norm"
            )
        self.trainee.step(rate, weight_decay(self.step, training))
        self.step += 1
        return {"lr": rate, **losses, "grad_norm": norm}

    def validated(self) -> float:
        """Look at the validation pictures; keep the weights where they are the best."""
        window_px = self.settings.augment.crop_px
        dice = mean_dice(self.segmenter, self.split.validation, window_px, self.settings.threshold)
        if self.best.hear(dice, self.step):
            self.weights = self._state()
        return dice

    def keep(self) -> None:
        state: dict[str, Any] = self.trainee.state()
        state |= {"mean": asdict(self.best), "best": self.weights}
        self.checkpoints.save(Checkpoint(self.step, state))

    @property
    def is_over(self) -> bool:
        is_stale = self.best.is_stale(self.settings.patience)
        return is_stale or self.step >= self.settings.training.steps

    def fitted(self) -> Fitted:
        self.segmenter.load_state_dict(self.weights)
        has_stopped = self.step < self.settings.training.steps
        return Fitted(
            self.segmenter.eval().cpu(), self.step, self.best.step, self.best.dice, has_stopped
        )

    def _state(self) -> dict[str, Tensor]:
        return {
            name: tensor.detach().cpu().clone()
            for name, tensor in self.segmenter.state_dict().items()
        }


def fit(
    network: Network,
    split: LabelledSplit,
    settings: FinetuneSettings,
    run: Run,
    watcher: FinetuneWatcher | None = None,
) -> Fitted:
    """Train a U-Net on masks; validation alone says when to stop and which weights to keep.

    Args:
        network: encoder and decoder; trained in place.
        split: pictures that train, and pictures that validate.
        settings: how; it validates with every row of the log.
        run: where log and checkpoints go, and whether to go on.
        watcher: hears how it goes.

    Raises:
        DivergedError: the loss is no longer a number.
        CheckpointError: the run cannot be resumed, or its folder holds one and it may not be.
        StorageError: the disk refused.
        KeyboardInterrupt: it was interrupted; it has a checkpoint of the last whole step.
    """
    watcher = watcher or FinetuneWatcher()
    training = settings.training
    fitting = _Fit(network, split, settings, run)
    if run.resume:
        fitting.resume(watcher)
    elif fitting.checkpoints.paths():
        raise CheckpointError(
            f"{run.folder} holds a run already, up to {fitting.checkpoints.paths()[-1].stem}; go "
            f"on with --resume, begin again with --overwrite, or start under another name"
        )
    log = RunLog(run.folder, step=fitting.step, tensorboard=run.tensorboard)
    since, seen = time.perf_counter(), fitting.step
    with closing(log), put_off_interrupts() as interruption:
        while not fitting.is_over:
            values: dict[str, float | None] = {**fitting.moved()}
            now = Progress(fitting.step, training.steps)
            watcher.stepped(now, values["loss"] or 0.0)
            is_last = fitting.step == training.steps
            if is_last or fitting.step % training.log_every == 0:
                pace = (fitting.step - seen) * training.batch_size
                values["images_per_s"] = pace / (time.perf_counter() - since)
                values["val_dice"] = dice = fitting.validated()
                log.add(fitting.step, values)
                watcher.validated(now, dice, fitting.best.dice)
                since, seen = time.perf_counter(), fitting.step
            is_due = fitting.step % training.checkpoint_every == 0
            is_interrupted = interruption.is_anywhere()
            if is_interrupted or fitting.is_over or is_due:
                fitting.keep()
            if is_interrupted:
                break
    return fitting.fitted()
