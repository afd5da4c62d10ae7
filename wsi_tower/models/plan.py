"""What an encoder is built from, weights apart; all of it fits into JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, Self

from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["EncoderPlan", "spread"]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class EncoderPlan:
    """What an encoder is built from, weights apart."""

    architecture: str
    """Name that timm knows, with its tag where it has one: ``vit_small_patch16_224.dino``."""
    in_channels: int = 3
    """Channels of its pictures: 3 for colour, 1 for grey."""
    mean: tuple[float, ...] = _IMAGENET_MEAN
    """What is taken from each channel of values in [0, 1]."""
    std: tuple[float, ...] = _IMAGENET_STD
    """What each channel is divided by after that."""
    input_px: int = 224
    """Side of the pictures that it was trained on."""
    model_args: dict[str, Any] = field(default_factory=dict)
    """What timm's ``create_model`` is told beside name, channels and ``num_classes=0``."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any], input_px: int) -> Self:
        """From plain values; whatever is wrong with them is a Python error."""
        return cls(
            values["architecture"],
            values["in_channels"],
            tuple(float(value) for value in values["mean"]),
            tuple(float(value) for value in values["std"]),
            input_px,
            values["model_args"],
        )

    def __post_init__(self) -> None:
        if self.in_channels < 1:
            raise SettingsError(f"in_channels must be 1 or more, not {self.in_channels}")
        if not len(self.mean) == len(self.std) == self.in_channels:
            raise SettingsError(
                f"mean and std need a value for each of {self.in_channels} channels, not "
                f"{self.mean} and {self.std}"
            )
        if not all(value > 0 for value in self.std):
            raise SettingsError(f"std must be above 0 in every channel, not {self.std}")
        if self.input_px < 1:
            raise SettingsError(f"input_px must be 1 or more, not {self.input_px}")


def spread(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """A model's mean or std for pictures of ``channels`` channels.

    Grey pictures have the mean over the colours: what a model expects of grey in colour is the
    same in each.
    """
    if len(values) == channels:
        return tuple(float(value) for value in values)
    return (fmean(values),) * channels
