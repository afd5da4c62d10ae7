"""A slide as one picture of one resolution, read by boxes that fit together.

What a box holds does not depend on where other boxes lie: a pixel is the same in every window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from wsi_tower.errors import OtherResolutionError
from wsi_tower.geometry import LevelBox, LevelSize
from wsi_tower.tiles import TileSettings, source_for_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.slides import Rgb, Slide
    from wsi_tower.tiles import PixelSource

__all__ = ["SlideRaster"]


@dataclass(frozen=True, slots=True)
class SlideRaster:
    """How the picture lies on its slide: from the slide's corner, ``pitch_l0`` a pixel."""

    source: PixelSource
    """Level that is read, and how it is reduced."""
    ratio: float
    """Pixels of the source per pixel of the picture: 1 where it is used as it is."""
    pitch_l0: float
    """Level-0 pixels per pixel of the picture, the same along x and y."""
    size: LevelSize
    """Of the picture, so that it covers the slide."""
    pixel_um: tuple[float, float]
    """Micrometres per pixel of the picture along x and y."""

    @classmethod
    def of(cls, slide: Slide, target_mpp: float, *, resample: bool) -> Self:
        """The picture of a slide at a resolution, or within 5 % of it.

        Args:
            slide: to read from.
            target_mpp: µm per pixel.
            resample: whether a slide without such a level is brought to it: area-averaged from a
                finer level, or interpolated where it has none.

        Raises:
            OtherResolutionError: it has no such level, and ``resample`` is off.
        """
        info, mpp = slide.info, slide.mpp
        source = source_for_target(info, mpp, TileSettings(mpp=target_mpp, allow_upsample=True))
        if source.is_resampled and not resample:
            raise OtherResolutionError(
                f"slide {info.name} has no level of {target_mpp:.4g} µm/px (its finest has "
                f"{mpp.mean:.4g}), at which the model was trained, so its structures have another "
                f"size; let --resample bring it there, or take another model"
            )
        ratio = target_mpp / source.mpp if source.is_resampled else 1.0
        pitch_l0 = info.levels[source.level].downsample * source.reduction * ratio
        size = LevelSize(
            max(1, math.ceil(info.size.width / pitch_l0)),
            max(1, math.ceil(info.size.height / pitch_l0)),
        )
        return cls(source, ratio, pitch_l0, size, (pitch_l0 * mpp.x, pitch_l0 * mpp.y))

    @property
    def mpp(self) -> float:
        """Micrometres per pixel: the geometric mean of both axes."""
        return math.sqrt(self.pixel_um[0] * self.pixel_um[1])

    def read(self, slide: Slide, box: LevelBox) -> Rgb:
        """The pixels of a box of the picture; what lies beyond the slide is white.

        Raises:
            UnreadableSlideError: the slide is damaged there.
        """
        level, reduction = self.source.level, self.source.reduction
        if self.ratio == 1:
            return slide.read_level_box(level, box, reduction)
        left, across = mixing(box.x, box.width, self.ratio)
        top, down = mixing(box.y, box.height, self.ratio)
        place = LevelBox(left, top, across.shape[1], down.shape[1])
        pixels = slide.read_level_box(level, place, reduction).astype(np.float32)
        mixed = np.einsum("ys,sxc->yxc", down, across @ pixels, optimize=True)
        return np.asarray(np.rint(mixed), np.uint8)


def mixing(first: int, count: int, ratio: float) -> tuple[int, NDArray[np.float32]]:
    """How pixels along one axis are made from those of the source.

    Where they are larger, of what they cover, by area; where smaller, linearly of the two whose
    middles are nearest.

    Args:
        first: number of the first pixel.
        count: how many.
        ratio: pixels of the source per pixel.

    Returns:
        Number of the first source pixel, and the part that each source pixel has in each pixel:
        (count, sources), rows summing to 1.
    """
    numbers = first + np.arange(count)
    if ratio >= 1:
        starts, ends = numbers * ratio, (numbers + 1) * ratio
        sources = np.arange(math.floor(starts[0]), math.ceil(ends[-1]))
        parts = np.minimum(ends[:, None], sources + 1) - np.maximum(starts[:, None], sources)
        parts /= ratio
    else:
        middles = (numbers + 0.5) * ratio - 0.5
        sources = np.arange(math.floor(middles[0]), math.floor(middles[-1]) + 2)
        parts = 1 - np.abs(middles[:, None] - sources)
    return int(sources[0]), np.maximum(parts, 0).astype(np.float32)
