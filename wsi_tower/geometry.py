"""Points, sizes and boxes in their three frames, lengths with units, and pixel size.

The frames, and the suffix of a plain number in each:

- level-0 pixels (``_l0``): integers from the top-left corner of the slide's finest level;
- level pixels (``_px``): integers from the top-left corner of one level, or of a tile;
- micrometres (``_um``): floats from the same corner.

A function takes one frame and says which. Pure arithmetic: nothing here knows of files.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from wsi_tower.errors import ImpossiblePixelSizeError, SettingsError

__all__ = [
    "MAX_ANISOTROPY",
    "MAX_MPP",
    "MIN_MPP",
    "Level0Box",
    "Level0Point",
    "Level0Size",
    "LevelBox",
    "LevelSize",
    "Mpp",
    "parse_extent_um",
    "parse_length_um",
]

MIN_MPP = 0.05
"""Micrometres per pixel at or below which a pixel size is refused: finer than light resolves."""
MAX_MPP = 100.0
"""Micrometres per pixel above which a pixel size is refused: coarser than a slide's macro image."""
MAX_ANISOTROPY = 0.05
"""Relative difference of the two axes above which a pixel size is refused."""


@dataclass(frozen=True, slots=True)
class Level0Point:
    """A point in level-0 pixels."""

    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Level0Size:
    """Width and height in level-0 pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width} × {self.height} px"


@dataclass(frozen=True, slots=True)
class Level0Box:
    """A rectangle in level-0 pixels; ``x``, ``y`` is its top-left corner."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class LevelSize:
    """Width and height in the pixels of one level."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width} × {self.height} px"


@dataclass(frozen=True, slots=True)
class LevelBox:
    """A rectangle in the pixels of one level; ``x``, ``y`` is its top-left corner."""

    x: int
    y: int
    width: int
    height: int

    def clipped(self, size: LevelSize) -> LevelBox:
        """The part inside a level of ``size``; width or height is 0 where nothing is left."""
        left, top = max(self.x, 0), max(self.y, 0)
        right = min(self.x + self.width, size.width)
        bottom = min(self.y + self.height, size.height)
        return LevelBox(left, top, max(right - left, 0), max(bottom - top, 0))


@dataclass(frozen=True, slots=True)
class Mpp:
    """Pixel size: micrometres per level-0 pixel along x and y."""

    x: float
    y: float

    @property
    def mean(self) -> float:
        """Geometric mean of both axes, so that areas come out right."""
        return math.sqrt(self.x * self.y)

    def __str__(self) -> str:
        return f"{self.x:g} µm/px" if self.x == self.y else f"{self.x:g} × {self.y:g} µm/px"

    def checked(self, name: str) -> Mpp:
        """Return this pixel size if a slide can have it.

        Raises:
            ImpossiblePixelSizeError: at or below 0.05, above 100 µm/px, not finite, or with axes
                more than 5 % apart.
        """
        remedy = f"give the right one with --mpp-of {name}=VALUE or in the slide list's mpp column"
        for value in (self.x, self.y):
            if not (math.isfinite(value) and MIN_MPP < value <= MAX_MPP):
                raise ImpossiblePixelSizeError(
                    f"slide {name} has an impossible pixel size of {value:g} µm/px (possible: "
                    f"above {MIN_MPP:g} and up to {MAX_MPP:g}); {remedy}"
                )
        if abs(self.x - self.y) > MAX_ANISOTROPY * max(self.x, self.y):
            raise ImpossiblePixelSizeError(
                f"slide {name} has pixels of {self.x:g} × {self.y:g} µm: the axes differ by more "
                f"than {MAX_ANISOTROPY:.0%}; {remedy}"
            )
        return self


_UNITS_UM = {"nm": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4}
_LENGTH = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-zµμ]*)\s*", re.IGNORECASE)


def parse_length_um(text: str) -> float:
    """Micrometres of a length such as ``2mm``, ``1792um`` or ``3.5 µm``.

    Raises:
        SettingsError: no number, no unit, an unknown unit, or a number without end.
    """
    match = _LENGTH.fullmatch(text)
    unit = match.group(2).lower() if match else ""
    if match is None or unit not in _UNITS_UM:
        known = ", ".join(("nm", "um", "µm", "mm", "cm"))
        raise SettingsError(f"length {text!r} is not a number with a unit ({known}), as in 2mm")
    length_um = float(match.group(1)) * _UNITS_UM[unit]
    if not math.isfinite(length_um):
        raise SettingsError(f"length {text!r} is too large to be one; give it as in 2mm")
    return length_um


def parse_extent_um(text: str) -> tuple[float, float]:
    """Width and height in micrometres of an extent such as ``14mm×10mm`` or ``14mmx10mm``.

    Raises:
        SettingsError: not two lengths.
    """
    parts = re.split(r"[×x*]", text)
    if len(parts) != 2:
        raise SettingsError(f"extent {text!r} is not WIDTH×HEIGHT, as in 14mm×10mm")
    width, height = (parse_length_um(part) for part in parts)
    return width, height
