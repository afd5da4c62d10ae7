"""Augmented views of a batch, made where the batch lies, every sample by draws of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from wsi_tower.errors import SettingsError
from wsi_tower.training.colour import (
    blurred,
    greyed,
    with_brightness,
    with_contrast,
    with_hue,
    with_saturation,
    with_stain,
)
from wsi_tower.training.cropping import cropped

if TYPE_CHECKING:
    from torch import Tensor

    from wsi_tower.training.objective import TensorDraws

__all__ = ["AugmentSettings", "augmented", "augmented_with_masks"]


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """What may happen to a tile on its way into a view. Tissue has no up, down or left."""

    crop_px: int = 224
    """Side of a view."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Least and largest area of the tile that a view shows, over crop_px². 1 keeps the tile's own
    resolution, below 1 magnifies. Windows are square: cells do not stretch."""
    local_scale: tuple[float, float] = (1.0, 1.0)
    """The same for local views, over their own area."""
    flips: bool = True
    """Whether half of the views are mirrored, and half upside down."""
    quarter_turns: bool = True
    """Whether views are turned by 0, 90, 180 or 270°."""
    rotate_deg: float = 0.0
    """Largest further rotation, either way."""
    brightness: float = 0.0
    """Brightness is multiplied by 1 ± up to this."""
    contrast: float = 0.0
    """Distances from the mean are multiplied by 1 ± up to this."""
    saturation: float = 0.0
    """Distances from grey are multiplied by 1 ± up to this."""
    hue: float = 0.0
    """Hue moves by ± up to this part of the circle, at most 0.5."""
    jitter_chance: float = 1.0
    """Chance that a view's brightness, contrast, saturation and hue change, in this order."""
    stain: float = 0.0
    """Haematoxylin, eosin and DAB are multiplied by 1 ± up to this, and moved by ± up to this in
    optical density. 0.05 is weak, 0.2 strong."""
    grey_chance: float = 0.0
    """Chance that a view loses its colour."""
    blur_chance: float = 0.0
    """Chance that a view is blurred."""
    blur_sigma_px: tuple[float, float] = (0.1, 2.0)
    """Least and largest deviation of the Gaussian, in pixels of the view."""

    def __post_init__(self) -> None:
        if self.crop_px < 1:
            raise SettingsError(f"crop_px must be 1 or more, not {self.crop_px}")
        for name in ("scale", "local_scale", "blur_sigma_px"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise SettingsError(f"{name} must rise from above 0, not {low:g} to {high:g}")
        for name, most in _MOST.items():
            if not 0 <= getattr(self, name) <= most:
                raise SettingsError(
                    f"{name} must lie between 0 and {most:g}, not {getattr(self, name):g}"
                )

    @property
    def moves_whole_pixels(self) -> bool:
        """Whether views show pixels of the tile as they are."""
        return self.scale == (1.0, 1.0) and self.rotate_deg == 0

    @property
    def largest_window_px(self) -> int:
        """Side of the largest part of a tile that a view shows."""
        return math.ceil(self.crop_px * math.sqrt(self.scale[1]))


_MOST = {
    "rotate_deg": 180.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "hue": 0.5,
    "jitter_chance": 1.0,
    "stain": 1.0,
    "grey_chance": 1.0,
    "blur_chance": 1.0,
}
"""Largest value of each; the least is 0."""


@torch.no_grad()
def augmented(images: Tensor, settings: AugmentSettings, draws: TensorDraws, view: str) -> Tensor:
    """A view of each picture: float32 (B, C, crop, crop), values in [0, 1].

    Nothing depends on a sample's place in the batch, or on what else is in it.

    Args:
        images: uint8 (B, C, H, W) with 1 or 3 channels, at least `largest_window_px` a side.
        settings: what may happen.
        draws: of the batch, on the device of ``images``.
        view: name of the view: two views of one name are the same.
    """
    view = f"view/{view}"
    return _recoloured(cropped(images, settings, draws, view) / 255, settings, draws, view)


@torch.no_grad()
def augmented_with_masks(
    images: Tensor, masks: Tensor, settings: AugmentSettings, draws: TensorDraws, view: str
) -> tuple[Tensor, Tensor]:
    """A view of each picture as `augmented` makes it, and of its masks, moved alike.

    Args:
        images: as `augmented` takes them: (B, C, H, W).
        masks: uint8 (B, K, H, W), 0 or 255.
        settings: what may happen; colours of masks stay.
        draws: of the batch, on the device of ``images``.
        view: name of the view.

    Returns:
        The views, and float32 (B, K, crop, crop) of 0 and 1: what half a pixel or more is.
    """
    view, channels = f"view/{view}", images.shape[1]
    both = cropped(torch.cat((images, masks), dim=1), settings, draws, view)
    views = _recoloured(both[:, :channels] / 255, settings, draws, view)
    return views, (both[:, channels:] >= 127.5).float()


def _recoloured(views: Tensor, settings: AugmentSettings, draws: TensorDraws, view: str) -> Tensor:
    views = _jittered(views, settings, draws, view)
    if settings.stain > 0:
        reach = settings.stain
        factors = draws.uniform(f"{view}/stain-factor", 3, low=1 - reach, high=1 + reach)
        shifts = draws.uniform(f"{view}/stain-shift", 3, low=-reach, high=reach)
        views = with_stain(views, factors, shifts)
    if settings.grey_chance > 0:
        views = greyed(views, draws.chance(f"{view}/grey", settings.grey_chance))
    if settings.blur_chance > 0:
        low, high = settings.blur_sigma_px
        sigmas_px = draws.uniform(f"{view}/sigma", low=low, high=high)
        sigmas_px = sigmas_px * draws.chance(f"{view}/blur", settings.blur_chance)
        views = blurred(views, sigmas_px, high)
    return views


def _jittered(views: Tensor, settings: AugmentSettings, draws: TensorDraws, view: str) -> Tensor:
    happens = draws.chance(f"{view}/jitter", settings.jitter_chance)
    for name, change in (
        ("brightness", with_brightness),
        ("contrast", with_contrast),
        ("saturation", with_saturation),
    ):
        reach = getattr(settings, name)
        if reach > 0:
            factors = draws.uniform(f"{view}/{name}", low=1 - reach, high=1 + reach)
            views = change(views, torch.where(happens, factors, torch.ones_like(factors)))
    if settings.hue > 0:
        turns = draws.uniform(f"{view}/hue", low=-settings.hue, high=settings.hue)
        views = torch.where(happens[:, None, None, None], with_hue(views, turns), views)
    return views
