"""What decides a label-free training: the publication's values, and better ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from wsi_tower.errors import SettingsError
from wsi_tower.records import plain

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.training import DeviceName

__all__ = ["ContrastSettings", "NucleiPreset", "NucleiSettings", "contrast_settings"]

NucleiPreset: TypeAlias = Literal["published", "taught"]
"""``published``: the authors' released values (methods of Boserup and Selvan 2023). ``taught``:
the same with a teacher that needs no labels, confident pixels of haematoxylin."""


@dataclass(frozen=True, slots=True)
class ContrastSettings:
    """What is compared, and what is asked for."""

    classes: int = 4
    """K: channels that the network may find something by."""
    window_px: int = 50
    """Side of the windows that are compared."""
    stride_px: int = 20
    """From one window to the next."""
    windows: int = 10
    """Windows drawn for each picture and channel."""
    anchors: int = 10
    """Positive windows of a channel that all others are compared with."""
    temperature: float = 1.0
    """Similarities are divided by this; the publication has none."""
    contrast: float = 1.0
    """Weight of the contrastive loss."""
    teacher: float = 0.0
    """Weight of the teacher: cross-entropy of the first channel with confident pixels of
    haematoxylin."""
    teacher_sigma_px: float = 2.0
    """Deviation of the Gaussian that smooths haematoxylin for the teacher."""
    teacher_margin: float = 0.3
    """Pixels this part of the way from Otsu's threshold to the mean of either side, or further,
    are confident; the others teach nothing."""

    def __post_init__(self) -> None:
        for name in ("classes", "window_px", "stride_px", "windows", "anchors"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if not 0 < self.temperature < math.inf:
            raise SettingsError(f"temperature must be above 0, not {self.temperature:g}")
        for name in ("contrast", "teacher", "teacher_sigma_px", "teacher_margin"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"{name} must be 0 or more, not {getattr(self, name):g}")
        if not (self.contrast or self.teacher):
            raise SettingsError("contrast and teacher are both 0, which learns nothing")


def contrast_settings(preset: NucleiPreset) -> ContrastSettings:
    """The settings of a name.

    Raises:
        SettingsError: there is no such name.
    """
    if preset == "published":
        return ContrastSettings()
    if preset == "taught":
        return ContrastSettings(teacher=1.0, contrast=0.01)
    raise SettingsError(f"preset must be published or taught, not {preset!r}")


@dataclass(frozen=True, slots=True)
class NucleiSettings:
    """How nuclei are learnt without labels."""

    images: Path | None = None
    """Folder of flat pictures; None: the tiles of the workspace's stores."""
    mpp: float = 0.25
    """Resolution of flat pictures in µm/px; tiles know theirs."""
    image_px: int = 1000
    """Side of the squares that flat pictures are cut into; smaller pictures are mirrored."""
    name: str = "patch-contrast"
    """Of run and model."""
    preset: NucleiPreset = "taught"
    """Where the other values come from."""
    contrast: ContrastSettings | None = None
    """What is compared; None: the preset's."""
    max_steps: int | None = None
    """Most steps; None: 75 as published, which are the 25 epochs over 30 pictures, 100 else."""
    patience: int | None = None
    """Steps without a better criterion after which a run ends, 0: never; None: never as published,
    and 40 else."""
    seeds: tuple[int, ...] = (0,)
    """A network is trained for each; the one of the best criterion is kept."""
    crop_px: int | None = None
    """Side of what the network sees in training; None: as published 300 of flat pictures and 250 of
    tiles, 150 else."""
    batch_size: int = 10
    """Pictures of a step."""
    lr: float | None = None
    """Learning rate, the same throughout; None: 0.0002 as published, 0.005 else."""
    weight_decay: float = 1e-4
    """As Adam adds it to the gradient."""
    threshold: float = 0.5
    """Confidence from which a pixel is a nucleus."""
    device: DeviceName = "auto"
    """Where it runs."""
    threads: int = 1
    """That read pictures."""
    overwrite: bool = False
    """Whether runs of that name are begun again."""
    resume: bool = False
    """Whether they go on."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise SettingsError(f"seeds must be numbers that differ, not {self.seeds}")
        if not 0 < self.mpp < math.inf:
            raise SettingsError(f"mpp must be above 0 µm/px, not {self.mpp:g}")
        if self.max_steps is not None and self.max_steps < 1:
            raise SettingsError(f"max_steps must be 1 or more, not {self.max_steps}")
        contrast_settings(self.preset)

    @property
    def compared(self) -> ContrastSettings:
        """What is compared, with the preset's values where nothing else is asked for."""
        return self.contrast or contrast_settings(self.preset)

    def resolved(self) -> NucleiSettings:
        """With the preset's values in every place left open but the crop, which tiles decide."""
        is_published = self.preset == "published"
        return replace(
            self,
            contrast=self.compared,
            max_steps=self.max_steps or (75 if is_published else 100),
            patience=(0 if is_published else 40) if self.patience is None else self.patience,
            lr=self.lr or (2e-4 if is_published else 5e-3),
        )

    def that_move_weights(self) -> dict[str, Any]:
        """What decides the weights, seed and pictures apart, as plain values."""
        names = ("preset", "patience", "crop_px", "image_px", "mpp")
        resolved = self.resolved()
        told = {name: getattr(resolved, name) for name in names}
        return told | {"contrast": plain(resolved.compared)}
