"""What is known of a slide: plain records that readers fill in and everybody reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from wsi_tower.geometry import Level0Box, Level0Size, LevelSize, Mpp

__all__ = [
    "BACKGROUND",
    "MAX_SIDE_PX",
    "Level",
    "Overview",
    "PixelSize",
    "PixelSizeOrigin",
    "Rgb",
    "SlideInfo",
    "level_of",
]

Rgb: TypeAlias = NDArray[np.uint8]
"""An image: height × width × 3, 8 bits a channel, red first."""

PixelSizeOrigin: TypeAlias = Literal["openslide", "tiffslide", "ome-xml", "tiff tags", "user"]
"""Who said what the pixel size is."""

BACKGROUND = 255
"""Grey level of what lies outside the slide or was never scanned."""
MAX_SIDE_PX = 4_000_000
"""A slide of 1 m at 0.25 µm/px: more is no microscope slide."""


@dataclass(frozen=True, slots=True)
class PixelSize:
    """Pixel size of level 0 and where it came from."""

    mpp: Mpp
    """Micrometres per level-0 pixel."""
    origin: PixelSizeOrigin
    """Who said so."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of the pyramid."""

    size: LevelSize
    """Width and height in its own pixels."""
    downsample: float
    """Level-0 pixels per pixel of this level: the whole number that the writer meant where both
    axes fit one (floor or ceiling of the division), else the mean ratio of the sizes."""


@dataclass(frozen=True, slots=True)
class SlideInfo:
    """What a slide says of itself."""

    name: str
    """File name, as the user knows the slide."""
    source: str
    """Path or URL that it was opened from."""
    reader: str
    """Reader that serves it: ``openslide``, ``tiffslide`` or ``flat``."""
    vendor: str
    """Scanner vendor or format, as the reader names it; ``unknown`` where it says nothing."""
    size: Level0Size
    """Width and height of level 0."""
    levels: tuple[Level, ...]
    """Finest first."""
    pixel_size: PixelSize | None
    """Pixel size, or None where nobody said."""
    objective_power: float | None
    """Nominal magnification of the objective, or None."""
    bounds: Level0Box | None
    """Part of level 0 that was scanned, where the format says so (MIRAX and others)."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole slide as one small image of known scale."""

    rgb: Rgb
    """The image; its first pixel starts at the slide's origin."""
    pitch_l0: float
    """Level-0 pixels per pixel of the image, the same along x and y."""


def level_of(size: LevelSize, size_l0: Level0Size) -> Level:
    """A level with the downsample that its writer meant.

    Writers halve sizes and drop or keep the odd pixel: 2967 rows become 1483, and the ratio 2.0007
    would drift by two pixels over the slide. A whole number that explains both sizes wins.
    """
    # Readers refuse sizes below 1 and levels finer than the first by name; here they pass.
    ratio_x, ratio_y = size_l0.width / max(size.width, 1), size_l0.height / max(size.height, 1)
    # The longer side tells best: on few pixels, the odd one dropped is a large part.
    whole = max(1, round(ratio_x if size_l0.width > size_l0.height else ratio_y))
    explained = all(
        small in (large // whole, -(-large // whole))
        for small, large in ((size.width, size_l0.width), (size.height, size_l0.height))
    )
    return Level(size, float(whole) if explained else (ratio_x + ratio_y) / 2)
