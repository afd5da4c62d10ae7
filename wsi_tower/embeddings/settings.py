"""What is embedded, and where the network runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch

from wsi_tower.batch import usable_cores
from wsi_tower.errors import SettingsError
from wsi_tower.stain import StainMethod
from wsi_tower.training import Precision

__all__ = [
    "DescriptorChoice",
    "EmbedSettings",
    "FeatureType",
    "ForwardSettings",
    "SlideDescriptor",
    "StainChoice",
]

DescriptorChoice: TypeAlias = Literal["auto", "head", "pooled"]
"""``auto`` is what the encoder's method is described by: the head's output for ``similarity`` and
``npid``, the pooled feature for all others."""

SlideDescriptor: TypeAlias = Literal["mean", "median", "mosaic"]
"""How one vector is made of all tiles': their mean, their geometric median, or the mean of a mosaic
of tiles that stand for the slide's kinds of tissue."""

FeatureType: TypeAlias = Literal["float32", "float16"]
"""How features are stored."""

StainChoice: TypeAlias = Literal["none"] | StainMethod
"""How tiles are normalised before the encoder sees them."""


@dataclass(frozen=True, slots=True)
class EmbedSettings:
    """What decides a cache's contents; all of it enters the digest."""

    descriptor: DescriptorChoice = "auto"
    """What describes a tile."""
    slide_descriptor: SlideDescriptor = "mean"
    """What describes the slide."""
    mosaic_tiles: int = 16
    """Tiles of a mosaic; fewer where the slide has fewer."""
    dtype: FeatureType = "float32"
    """How features are stored."""
    precision: Precision = "fp32"
    """Of the forward pass; ``bf16`` runs it under autocast."""
    stain: StainChoice = "none"
    """Stain normalisation, fitted on the tissue of each slide."""
    resample: bool = False
    """Whether tiles of another resolution than the encoder's are resized to it."""
    input_px: int | None = None
    """Side that tiles are resized to; None: as the encoder wants it."""
    seed: int = 0
    """Of the mosaic, and of the tiles that stain is fitted on."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        for name, value in (("mosaic_tiles", self.mosaic_tiles), ("input_px", self.input_px)):
            if value is not None and value < 1:
                raise SettingsError(f"{name} must be 1 or more, not {value}")
        if self.resample and self.input_px is not None:
            raise SettingsError(
                f"resample and input_px {self.input_px} both say how large tiles become; give one"
            )


_CHOICES: dict[str, tuple[str, ...]] = {
    "descriptor": get_args(DescriptorChoice),
    "slide_descriptor": get_args(SlideDescriptor),
    "dtype": get_args(FeatureType),
    "precision": get_args(Precision),
    "stain": ("none", *get_args(StainMethod)),
}


@dataclass(frozen=True, slots=True)
class ForwardSettings:
    """Where the network runs and how tiles reach it; changes features by rounding alone."""

    batch_size: int = 64
    """Tiles of a forward pass."""
    device: str = "auto"
    """``auto``: every GPU, or the CPU where there is none; ``cpu``; ``cuda``; ``cuda:1``."""
    threads: int = 0
    """Threads that read tiles ahead; 0: one for each core."""
    compile: bool = False
    """Whether torch.compile builds the network: minutes at the start for a faster pass."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SettingsError(f"batch_size must be 1 or more, not {self.batch_size}")
        if self.threads < 0:
            raise SettingsError(f"threads must be 0 (one a core) or more, not {self.threads}")
        family, _, number = self.device.partition(":")
        if self.device not in ("auto", "cpu", "cuda") and not (
            family == "cuda" and number.isdecimal()
        ):
            raise SettingsError(
                f"device must be auto, cpu, cuda or cuda:NUMBER, not {self.device!r}"
            )

    def devices(self) -> tuple[torch.device, ...]:
        """The devices that slides are shared out over.

        Raises:
            SettingsError: a GPU is asked for that torch does not see.
        """
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if self.device == "cpu" or (self.device == "auto" and not gpus):
            return (torch.device("cpu"),)
        number = self.device.partition(":")[2]
        if int(number or 0) >= gpus:
            raise SettingsError(
                f"device {self.device} was asked for, but torch sees {gpus or 'no'} GPU; take "
                f"device cpu, or install a torch build for this machine's driver"
            )
        if number:
            return (torch.device("cuda", int(number)),)
        return tuple(torch.device("cuda", index) for index in range(gpus))

    def reading_threads(self) -> int:
        """How many threads read tiles."""
        return self.threads or usable_cores()
