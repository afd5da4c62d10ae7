"""What a fine-tuning is asked for."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wsi_tower.errors import SettingsError
from wsi_tower.models import UNET_WIDTHS
from wsi_tower.training import AugmentSettings, TrainSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["AUGMENT_DEFAULTS", "TRAINING_DEFAULTS", "FinetuneSettings"]


AUGMENT_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "crop_px": 256,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "hue": 0.03,
        "stain": 0.05,
    }
)
"""What happens to pictures, where it is not what `AugmentSettings` has."""
TRAINING_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "steps": 1000,
        "batch_size": 8,
        "optimiser": "adam",
        "weight_decay": 0.0,
        "watch_every": 0,
        "log_every": 50,
    }
)
"""How weights move, where it is not what `TrainSettings` has. Adam at 1e-3 is TOWER's."""


_NEEDED: Mapping[str, str] = MappingProxyType(
    {
        "images": "the folder of pictures, or that of outlines on slides with --annotations",
        "masks": "the folder of their masks",
        "mpp": "the resolution of the pictures in µm/px, such as 0.25 for 40x: flat images do not "
        "tell it, and slides are segmented at it",
    }
)


def _augment() -> AugmentSettings:
    return AugmentSettings(**AUGMENT_DEFAULTS)


def _training() -> TrainSettings:
    return TrainSettings(**TRAINING_DEFAULTS)


@dataclass(frozen=True)
class FinetuneSettings:
    """What to learn from labelled pictures, and how."""

    images: Path | None = None
    """Folder of flat pictures."""
    masks: Path | None = None
    """Folder of their masks: of the same name but for its suffix, and of the same size."""
    mpp: float | None = None
    """Resolution of those pictures in µm/px."""
    annotations: Path | None = None
    """Folder of outlines on the workspace's slides, whose tiles are the pictures instead."""
    tiles_per_slide: int = 400
    """Most tiles of a slide."""
    init: str = "tower"
    """A method, whose newest encoder is taken; ``random``; or an encoder by name."""
    name: str | None = None
    """Of run and model; None: ``finetune-<init>``."""
    backbone: str = "resnet18"
    """Encoder of ``random``."""
    fresh_decoder: bool = False
    """Whether a decoder that was pre-trained is left out."""
    decoder_widths: tuple[int, ...] = UNET_WIDTHS
    """Channels after each doubling of a fresh decoder."""
    class_name: str = "nucleus"
    """What a mask's foreground is; the class of outlines that are foreground."""
    only: tuple[str, ...] = ()
    """Names of the pictures to take, without suffix; none: all."""
    labels: float = 1.0
    """Share of the pictures whose masks may be used, those of validation among them."""
    validation: float = 0.2
    """Share of those that decide when to stop, and train nothing."""
    patience: int = 10
    """Validations without a better Dice after which it ends; 0: never."""
    threshold: float = 0.5
    """Probability from which a pixel is foreground."""
    augment: AugmentSettings = field(default_factory=_augment)
    """What happens to pictures and masks."""
    training: TrainSettings = field(default_factory=_training)
    """How weights move. Validation comes with every row of the log."""
    overwrite: bool = False
    """Whether a run of that name is begun again."""
    resume: bool = False
    """Whether one goes on."""

    def __post_init__(self) -> None:
        for name in ("labels", "validation"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise SettingsError(f"{name} must be above 0 and at most 1, not {value:g}")
        if self.validation > 0.5:
            raise SettingsError(
                f"validation must be at most 0.5, not {self.validation:g}: training needs the rest"
            )
        if self.patience < 0:
            raise SettingsError(f"patience must be 0 or more, not {self.patience}")
        if not 0 < self.threshold < 1:
            raise SettingsError(f"threshold must lie between 0 and 1, not {self.threshold:g}")
        if self.tiles_per_slide < 2:
            raise SettingsError(f"tiles_per_slide must be 2 or more, not {self.tiles_per_slide}")
        self._check_pictures()
        if self.training.patience or self.training.watch_every:
            raise SettingsError(
                "train.patience and train.watch_every are for pre-training; here --patience counts "
                "validations, and validation is the watch"
            )

    def _check_pictures(self) -> None:
        if self.mpp is not None and not 0 < self.mpp < math.inf:
            raise SettingsError(f"mpp must be above 0 µm/px, not {self.mpp:g}")
        given = [name for name in _NEEDED if getattr(self, name) is not None]
        if self.annotations is None:
            for name, what in _NEEDED.items():
                if name not in given:
                    raise SettingsError(f"--{name} is missing: give {what}")
        elif given or self.only:
            raise SettingsError(
                f"--annotations takes tiles of the workspace, which tell their resolution; leave "
                f"out --{(*given, 'only')[0]}"
            )

    def that_move_weights(self) -> dict[str, Any]:
        """What decides the weights, paths and pictures apart, as plain values."""
        names = ("init", "backbone", "fresh_decoder", "labels", "validation", "patience")
        told = {name: getattr(self, name) for name in names}
        told |= {"only": list(self.only), "decoder_widths": list(self.decoder_widths)}
        told |= {"tiles_per_slide": self.tiles_per_slide}
        told |= {"class_name": self.class_name, "threshold": self.threshold}
        augment = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self.augment).items()
        }
        return told | {"augment": augment}
