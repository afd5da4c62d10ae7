"""What drawing pairs can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from wsi_tower.errors import SettingsError

__all__ = ["PairKind", "PairSettings"]

PairKind: TypeAlias = Literal["near", "distant"]
"""How the two tiles of a pair lie to each other."""


@dataclass(frozen=True, slots=True)
class PairSettings:
    """Which tiles may be paired. Distances are Euclidean, in micrometres, from centre to centre.

    The defaults are the published ones of Gildenblat and Klaiman (arXiv 1905.08139): closer than
    2 mm is similar, farther than 10 mm is not, and what lies between is not used.
    """

    near_um: float = 2000.0
    """Largest distance of a near pair; this very distance is near."""
    far_um: float = 10_000.0
    """Distance that a distant pair exceeds; this very distance is not distant."""
    cross_slide: float = 0.0
    """Share of distant partners taken from another slide, 0 to 1: there every tile of all other
    slides is equally likely."""

    def __post_init__(self) -> None:
        if not 0 < self.near_um < math.inf:
            raise SettingsError(
                f"near must be above 0 µm and finite, not {self.near_um:g} µm; the published value "
                f"is 2mm"
            )
        if not self.near_um <= self.far_um < math.inf:
            raise SettingsError(
                f"far must be finite and at least near ({self.near_um:g} µm), not "
                f"{self.far_um:g} µm; the published values are 2mm and 10mm"
            )
        if not 0 <= self.cross_slide <= 1:
            raise SettingsError(
                f"cross_slide is a share from 0 to 1, not {self.cross_slide:g}; 0 keeps every pair "
                f"on one slide"
            )
