"""What ``wsi-tower finetune`` does once its options are read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import click

from wsi_tower.cli.pretrain_run import grouped_values
from wsi_tower.errors import SettingsError
from wsi_tower.memory import keep_freed_memory
from wsi_tower.pretrain import settings_of
from wsi_tower.records import write_bytes_aside
from wsi_tower.report import training_picture
from wsi_tower.runs import logged_columns
from wsi_tower.segment import (
    AUGMENT_DEFAULTS,
    TRAINING_DEFAULTS,
    FinetuneSettings,
    FinetuneWatcher,
    finetune_unet,
)
from wsi_tower.training import AugmentSettings, TrainSettings
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wsi_tower.cli.options import Shared
    from wsi_tower.training import Progress

__all__ = ["FinetuneRequest", "FinetuneSummary", "run_finetune"]


@dataclass(frozen=True)
class FinetuneRequest:
    """Everything a fine-tuning was asked for."""

    workspace: Workspace
    """Has the encoders, and takes the model."""
    settings: FinetuneSettings
    """From what, to what, and how."""
    quiet: bool
    """Whether to say nothing on the way."""

    @classmethod
    def parsed(cls, shared: Shared, **values: Any) -> Self:
        """From the command's options.

        Raises:
            SettingsError: a value is missing, or cannot be right.
        """
        groups = grouped_values(values.pop("values"), ("augment", "train"))
        taken = {name: values.pop(name) for name in ("steps", "batch_size", "lr", "device", "seed")}
        base = dict(TRAINING_DEFAULTS) | taken
        training = settings_of(TrainSettings, groups["train"], "training", base)
        base = dict(AUGMENT_DEFAULTS) | {"crop_px": values.pop("crop_px")}
        augment = settings_of(AugmentSettings, groups["augment"], "augmentation", base)
        for name in ("labels", "validation"):
            values[name] = _share(f"--{name}", values[name])
        values["only"] = tuple(values["only"])
        settings = FinetuneSettings(
            **values, augment=augment, training=training, overwrite=shared.overwrite
        )
        return cls(Workspace(shared.workspace), settings, quiet=shared.json)


@dataclass(frozen=True)
class FinetuneSummary:
    """What a fine-tuning gave."""

    name: str
    """Of the run and the model."""
    model: Path
    """Folder of the model."""
    run: Path
    """Folder of the run."""
    steps: int
    """Steps done, those before a restart with them."""
    best_step: int
    """After which the validation Dice was highest."""
    dice: float
    """That Dice."""
    stopped_early: bool
    """Whether it no longer rose."""
    training_pictures: int
    """How many moved weights."""
    validation_pictures: int
    """How many decided when to stop."""
    seconds: float
    """How long it took, this time."""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        paths: Mapping[str, Path] = {"model": self.model, "run": self.run}
        return asdict(self) | {name: str(path.absolute()) for name, path in paths.items()}


def run_finetune(request: FinetuneRequest) -> FinetuneSummary:
    """Fine-tune, telling how it goes.

    Raises:
        WsiTowerError: see `finetune_unet`.
    """
    keep_freed_memory()  # activations of some megabytes come and go at each step
    watcher = _Told(quiet=request.quiet)
    made = finetune_unet(request.settings, request.workspace, watcher)
    curves = training_picture(logged_columns(made.run / "log.csv"), made.name)
    write_bytes_aside(made.run / "curves.png", curves)
    fitted = made.fitted
    return FinetuneSummary(
        name=made.name,
        model=made.model,
        run=made.run,
        steps=fitted.steps,
        best_step=fitted.best_step,
        dice=fitted.dice,
        stopped_early=fitted.has_stopped_early,
        training_pictures=len(made.split.training),
        validation_pictures=len(made.split.validation),
        seconds=made.seconds,
    )


class _Told(FinetuneWatcher):
    """Lines on standard error."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def began(self, line: str) -> None:
        self._say(line)

    def resumed(self, step: int) -> None:
        self._say(f"going on after step {step}")

    def validated(self, progress: Progress, dice: float, best: float) -> None:
        self._say(
            f"step {progress.step}/{progress.steps}  validation Dice {dice:.4f}  best {best:.4f}"
        )

    def warned(self, message: str) -> None:
        click.echo(f"{click.style('warning', fg='yellow')}: {message}", err=True)

    def _say(self, line: str) -> None:
        if not self._quiet:
            click.echo(line, err=True)


def _share(option: str, typed: str) -> float:
    """A share as it is typed: ``5%`` or ``0.05``."""
    text = str(typed).strip()
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise SettingsError(f"{option} {typed!r} is no share, such as 5% or 0.05") from error
