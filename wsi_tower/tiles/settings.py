"""Settings of the tiling stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from wsi_tower.errors import SettingsError

__all__ = ["PixelMode", "TileSettings"]

PixelMode: TypeAlias = Literal["auto", "native", "jpeg", "lossless", "none"]
"""How a store holds its tiles' pixels."""


@dataclass(frozen=True, slots=True)
class TileSettings:
    """Which tiles are cut, and how their pixels are stored."""

    mpp: float = 0.5
    """Target resolution in µm per tile pixel. A level within 5 % of it is used as it is."""
    tile_px: int | Literal["native"] = 256
    """Side of a tile in its own pixels; ``native`` takes the file's own tile size."""
    overlap_px: int = 0
    """Pixels that neighbouring tiles share."""
    min_tissue: float = 0.25
    """Least fraction of a tile that the tissue mask must cover."""
    max_pen: float = 1.0
    """Largest fraction of a tile that pen may cover."""
    min_optical_density: float = 0.0
    """Least mean optical density of a tile."""
    min_focus: float = 0.0
    """Least variance of the Laplacian at 2 µm/px; needs ``focus``."""
    focus: bool = False
    """Whether to measure focus: reads every tissue tile once more."""
    pixels: PixelMode = "auto"
    """``native`` copies the file's own JPEG tiles, ``jpeg`` and ``lossless`` store resampled ones,
    ``none`` stores coordinates only; ``auto`` is native where possible, else jpeg."""
    jpeg_quality: int = 90
    """Quality of ``jpeg`` pixels, 1 to 100."""
    allow_upsample: bool = False
    """Whether tiles finer than the slide may be made by interpolation."""

    def __post_init__(self) -> None:
        self._check_geometry()
        self._check_filters()
        _check_choice("pixels", self.pixels, get_args(PixelMode))
        _check_range("jpeg_quality", self.jpeg_quality, 1, 100)

    def _check_geometry(self) -> None:
        if not (math.isfinite(self.mpp) and self.mpp > 0):
            raise SettingsError(f"mpp must be above 0 µm/px, not {self.mpp}")
        if self.tile_px != "native":
            _check_range("tile_px", self.tile_px, 1, 16_384)
        if self.overlap_px < 0:
            raise SettingsError(f"overlap must be 0 px or more, not {self.overlap_px}")
        if self.tile_px != "native" and self.overlap_px >= self.tile_px:
            raise SettingsError(
                f"overlap of {self.overlap_px} px must be smaller than the tile of {self.tile_px} "
                f"px: tiles would never move on"
            )

    def _check_filters(self) -> None:
        _check_range("min_tissue", self.min_tissue, 0, 1)
        _check_range("max_pen", self.max_pen, 0, 1)
        _check_range("min_optical_density", self.min_optical_density, 0, 10)
        if self.min_focus and not self.focus:
            raise SettingsError(f"min_focus of {self.min_focus} needs --focus to be measured")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SettingsError(f"{name} must lie between {low:g} and {high:g}, not {value}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
