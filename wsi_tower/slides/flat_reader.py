"""Flat images: PNG, JPEG, and TIFF files in strips, of a region or a small slide."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from PIL import Image

from wsi_tower.errors import UnreadableSlideError, UnsupportedSlideError
from wsi_tower.geometry import Level0Size, LevelSize, Mpp
from wsi_tower.slides.pixel_size import chosen_pixel_size, pixel_size_of_page
from wsi_tower.slides.pixels import as_rgb
from wsi_tower.slides.port import PixelSizeOrigin, Rgb, Slide, SlideInfo, level_of
from wsi_tower.slides.tiff import TIFF_DAMAGE

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.geometry import LevelBox
    from wsi_tower.slides.tiff import TiffPage

__all__ = ["FlatSlide"]

_MAX_PIXELS = 200_000_000
"""Decoded whole: 600 MB, the most that fits a worker's gigabyte."""


class FlatSlide(Slide):
    """An image without a pyramid, decoded whole when it is first read."""

    def __init__(self, path: Path, pages: list[TiffPage], mpp_um: float | None) -> None:
        """Open ``path``; ``pages`` are its TIFF pages, none where it is no TIFF file."""
        self._path = path
        self._is_tiff = bool(pages)
        size = _size(path, pages)
        if size.width * size.height > _MAX_PIXELS:
            raise UnsupportedSlideError(
                f"slide {path.name} is a flat image of {size}, too large to decode whole; make a "
                f"tiled pyramid of it (for example `vips tiffsave IN OUT --tile --pyramid "
                f"--compression jpeg`)"
            )
        found = _found(pages, path.name)
        super().__init__(
            SlideInfo(
                name=path.name,
                source=str(path),
                reader="flat",
                vendor=path.suffix.lower().lstrip(".") or "unknown",
                size=size,
                levels=(level_of(LevelSize(size.width, size.height), size),),
                pixel_size=chosen_pixel_size(path.name, mpp_um, found),
                objective_power=None,
                bounds=None,
            )
        )

    def close(self) -> None:
        """Give back the pixels."""
        self.__dict__.pop("_pixels", None)

    def _read_level(self, level: int, box: LevelBox) -> Rgb:
        del level
        return self._pixels[box.y : box.y + box.height, box.x : box.x + box.width]

    @cached_property
    def _pixels(self) -> Rgb:
        try:
            if self._is_tiff:
                return as_rgb(tifffile.imread(self._path, key=0), self._path.name)
            with Image.open(self._path) as image:
                mode = "RGBA" if "A" in image.mode or "transparency" in image.info else "RGB"
                return as_rgb(np.asarray(image.convert(mode)), self._path.name)
        except (*TIFF_DAMAGE, RuntimeError, OSError) as error:
            raise _unreadable(self._path, error) from error


def _size(path: Path, pages: list[TiffPage]) -> Level0Size:
    if pages:
        return Level0Size(pages[0].size.width, pages[0].size.height)
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise UnsupportedSlideError(
                    f"slide {path.name} has more than 8 bits a channel (mode {image.mode}); "
                    f"convert it to 8 bits first"
                )
            return Level0Size(*image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _found(pages: list[TiffPage], name: str) -> tuple[Mpp, PixelSizeOrigin] | None:
    # PNG and JPEG state print resolutions only.
    return pixel_size_of_page(pages[0], name) if pages else None


def _unreadable(path: Path, error: Exception) -> UnreadableSlideError:
    return UnreadableSlideError(
        f"slide {path.name} cannot be read ({error}); copy it again from its source"
    )
