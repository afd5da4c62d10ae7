"""What is asked of a pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from wsi_tower.errors import SettingsError
from wsi_tower.pairs import PairSettings
from wsi_tower.pretrain.methods import PresetName
from wsi_tower.pretrain.values import check_choice, check_count

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.training import DeviceName

__all__ = ["PretrainSettings", "Start"]

Start: TypeAlias = Literal["random", "imagenet"]
"""Weights that an encoder begins with."""
Values: TypeAlias = Mapping[str, object]
"""Settings by name, as they were typed or read."""


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """A pre-training. What is None is taken from the method's recipe for the preset."""

    method: str = "tower"
    """Name of the method."""
    preset: PresetName | Literal["auto"] = "auto"
    """``auto``: ``paper`` on a GPU, ``small`` on a CPU."""
    name: str | None = None
    """Name of run and encoder; None: the method's."""
    backbone: str | None = None
    """Encoder, by timm's name."""
    start: Start | None = None
    """Weights that it begins with."""
    weights: Path | None = None
    """File of weights to begin with instead."""
    images: Path | None = None
    """Folder of flat images to learn from, in place of tile stores."""
    image_px: int | None = None
    """Side of the squares cut from them; None: as large as a view shows."""
    epochs: int | None = None
    """How often each tile is an anchor; not together with ``steps``."""
    steps: int | None = None
    """Optimiser steps."""
    batch_size: int | None = None
    """Samples of a step."""
    crop_px: int | None = None
    """Side of a view."""
    lr: float | None = None
    """Learning rate at its highest."""
    method_values: Values = field(default_factory=dict)
    """Settings of the method."""
    augment_values: Values = field(default_factory=dict)
    """Fields of `AugmentSettings`."""
    train_values: Values = field(default_factory=dict)
    """Fields of `TrainSettings`."""
    pairs: PairSettings = field(default_factory=PairSettings)
    """Which tiles are near and distant."""
    device: DeviceName = "auto"
    """Where it runs."""
    seed: int = 0
    """Of every draw, and of the first weights."""
    mix: bool = False
    """Whether stores may differ in resolution."""
    strict: bool = False
    """Whether a tile that cannot be read ends the run."""
    resume: bool = False
    """Whether to go on with a run of this name."""
    overwrite: bool = False
    """Whether to begin a run of this name again."""
    tensorboard: bool = False
    """Whether to write TensorBoard's files, too."""

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, ("auto", *get_args(PresetName)))
        if self.start is not None:
            check_choice("start", self.start, get_args(Start))
        for name in ("epochs", "steps", "batch_size", "crop_px", "image_px"):
            value = getattr(self, name)
            if value is not None:
                check_count(name, value)
        if self.epochs is not None and self.steps is not None:
            raise SettingsError(
                f"epochs {self.epochs} and steps {self.steps} both say how long; give one of them"
            )
        if self.resume and self.overwrite:
            raise SettingsError(
                "resume goes on with a run and overwrite begins it again; give one of them"
            )
