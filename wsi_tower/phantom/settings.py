"""What is asked of the phantom generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from wsi_tower.errors import SettingsError
from wsi_tower.geometry import MAX_MPP, MIN_MPP, Level0Size

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PenColour", "PhantomSettings"]

PenColour: TypeAlias = Literal["green", "red", "blue", "black"]
"""Colour of a felt pen."""

MAX_SIDE_UM = 400_000.0
"""Longest side of a slide: no scanner takes larger glass."""
TILE_SIDES_PX = (64, 128, 256, 512, 1024)
"""Powers of two: every level and the thumbnail then average whole blocks of a tile."""


@dataclass(frozen=True, slots=True)
class PhantomSettings:
    """What the slides of one folder have in common."""

    slides: int = 3
    """How many slides."""
    width_um: float = 14_000.0
    """Width of a slide in micrometres."""
    height_um: float = 11_000.0
    """Height of a slide in micrometres."""
    mpp: float = 1.0
    """Micrometres per level-0 pixel, along x and y."""
    tile_px: int = 256
    """Side of the file's tiles in pixels: 64, 128, 256, 512 or 1024."""
    jpeg_quality: int = 85
    """libjpeg quality of the tiles, 1 to 100."""
    seed: int = 1
    """Same seed, same bytes; 0 or more. Slide i is the same however many others are written."""
    pen_every: int = 3
    """Every n-th slide carries a pen stroke, 1 all of them, 0 none."""
    pen_colours: tuple[PenColour, ...] = ("green", "red", "blue", "black")
    """Colours of the pen strokes, taken in turn."""
    tumour_outlines: Path | None = None
    """GeoJSON of real outlines to lay onto the slides in place of generated tumour; the property
    ``slide`` of a feature says which belong together. Its contents then shape the bytes, too."""
    tumour_outlines_mpp: float | None = None
    """Micrometres per unit of that file's coordinates: the pixel size they were drawn at."""
    nuclei: bool = False
    """Whether every nucleus is labelled in an image of its own, as large as the slide."""

    def __post_init__(self) -> None:
        self._check_counts()
        self._check_extent()
        self._check_pen()
        self._check_outlines()

    @property
    def size(self) -> Level0Size:
        """Size of a slide in level-0 pixels."""
        return Level0Size(round(self.width_um / self.mpp), round(self.height_um / self.mpp))

    def pen_colour(self, index: int) -> PenColour | None:
        """Colour of the pen on the slide of this 0-based index, or None where it has no stroke."""
        if self.pen_every == 0 or (index + 1) % self.pen_every:
            return None
        return self.pen_colours[index // self.pen_every % len(self.pen_colours)]

    def _check_counts(self) -> None:
        if self.slides < 1:
            raise SettingsError(f"cannot write {self.slides} phantom slides; ask for 1 or more")
        if self.seed < 0:
            raise SettingsError(f"phantom seed is {self.seed}; give 0 or a positive whole number")
        if self.tile_px not in TILE_SIDES_PX:
            known = ", ".join(map(str, TILE_SIDES_PX))
            raise SettingsError(f"phantom tiles of {self.tile_px} px; choose one of {known}")
        if not 1 <= self.jpeg_quality <= 100:
            raise SettingsError(f"JPEG quality is {self.jpeg_quality}; choose 1 to 100")

    def _check_extent(self) -> None:
        for name, side_um in (("width", self.width_um), ("height", self.height_um)):
            if not (math.isfinite(side_um) and 0 < side_um <= MAX_SIDE_UM):
                raise SettingsError(
                    f"phantom {name} is {side_um / 1000:g} mm; choose more than 0 and up to "
                    f"{MAX_SIDE_UM / 1000:g} mm"
                )
        if not (math.isfinite(self.mpp) and MIN_MPP < self.mpp <= MAX_MPP):
            raise SettingsError(
                f"phantom pixel size is {self.mpp:g} µm/px; choose more than {MIN_MPP:g} and up "
                f"to {MAX_MPP:g}"
            )
        if min(self.size.width, self.size.height) < self.tile_px:
            raise SettingsError(
                f"a phantom of {self.size} at {self.mpp:g} µm/px is smaller than one tile of "
                f"{self.tile_px} px; ask for a larger slide, a finer pixel size or smaller tiles"
            )

    def _check_pen(self) -> None:
        if self.pen_every < 0:
            raise SettingsError(
                f"a pen on every {self.pen_every}th slide; give 0 for none, or more"
            )
        unknown = [colour for colour in self.pen_colours if colour not in get_args(PenColour)]
        if unknown or not self.pen_colours:
            raise SettingsError(
                f"pen colours {self.pen_colours!r}; give one or more of "
                f"{', '.join(get_args(PenColour))}"
            )

    def _check_outlines(self) -> None:
        mpp = self.tumour_outlines_mpp
        if self.tumour_outlines is None and mpp is not None:
            raise SettingsError(
                f"tumour outlines have a pixel size of {mpp:g} µm/px but no file; give the GeoJSON "
                f"file, or leave the pixel size out"
            )
        if self.tumour_outlines is not None and mpp is None:
            raise SettingsError(
                f"tumour outlines {self.tumour_outlines} have no pixel size; give that of the "
                f"slides they were drawn on (0.243 µm/px for Camelyon16)"
            )
        if mpp is not None and not (math.isfinite(mpp) and MIN_MPP < mpp <= MAX_MPP):
            raise SettingsError(
                f"pixel size of the tumour outlines is {mpp:g} µm/px; choose more than "
                f"{MIN_MPP:g} and up to {MAX_MPP:g}"
            )
