"""What finding tissue can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wsi_tower.errors import SettingsError

__all__ = ["TissueSettings"]


@dataclass(frozen=True, slots=True)
class TissueSettings:
    """How tissue is found, in physical units so that every slide is treated alike."""

    mask_um: float = 8.0
    """Side of a mask pixel in micrometres; smaller follows outlines closer and costs memory."""
    min_tissue_um2: float = 10_000.0
    """Smallest piece of tissue in square micrometres; what is smaller is debris. Never more than a
    twentieth of the picture, so that a small crop keeps its tissue."""
    max_hole_um2: float = 20_000.0
    """Largest hole in square micrometres that still counts as tissue: lumens, cracks, fat cells."""
    min_pen_um2: float = 2_000.0
    """Smallest piece of pen in square micrometres; smaller specks of its colour are tissue."""
    faint_stain: float = 0.015
    """Palest stain that belongs to tissue: optical density of green beyond the mean of red and
    blue, twice over. No shade of grey has any."""
    sure_stain: float = 0.03
    """Stain that a piece must reach somewhere to be tissue at all."""

    def __post_init__(self) -> None:
        _check_positive("mask_um", self.mask_um, "8 suits most slides")
        for name in ("min_tissue_um2", "max_hole_um2", "min_pen_um2"):
            _check_not_negative(name, getattr(self, name))
        _check_positive("faint_stain", self.faint_stain, "0.02 finds all but the palest tissue")
        if not self.faint_stain <= self.sure_stain < math.inf:
            raise SettingsError(
                f"sure_stain must be at least faint_stain ({self.faint_stain:g}), not "
                f"{self.sure_stain:g}; raise it, or lower faint_stain"
            )


def _check_positive(name: str, value: float, advice: str) -> None:
    if not 0 < value < math.inf:
        raise SettingsError(f"{name} must be above 0, not {value:g}; {advice}")


def _check_not_negative(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise SettingsError(f"{name} must be 0 or more, not {value:g}; 0 turns it off")
