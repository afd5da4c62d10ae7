"""Flat images: PNG, JPEG, BMP, and TIFF files in strips, of a region or a small slide.

Pillow decodes them all. For TIFF it uses libtiff, as OpenSlide does: palettes, inverted grey, CMYK
and separate planes come out as the colours they mean, and a strip never decodes to more than the
page says.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from wsi_tower.errors import UnreadableSlideError, UnsupportedSlideError, WsiTowerError
from wsi_tower.geometry import Level0Size, LevelSize, Mpp
from wsi_tower.slides.info import PixelSizeOrigin, Rgb, SlideInfo, level_of
from wsi_tower.slides.pixel_size import chosen_pixel_size, pixel_size_of_page
from wsi_tower.slides.pixels import as_rgb
from wsi_tower.slides.port import Slide
from wsi_tower.slides.tiff import TIFF_DAMAGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsi_tower.geometry import LevelBox
    from wsi_tower.slides.tiff import TiffPage

__all__ = ["FlatSlide"]

_MAX_PIXELS = 100_000_000
"""Decoded whole, at 4 bytes a pixel by Pillow and 3 by us: what fits a worker's gigabyte."""
_DAMAGE: tuple[type[Exception], ...] = (*TIFF_DAMAGE, RuntimeError, OSError, SyntaxError)
"""What Pillow raises on files that are damaged."""
_UP_TO_8_BITS = frozenset({1, 2, 4, 8})
_BAND_PX = 4_000_000
"""Pixels converted at a time, so that no third copy of the image is held."""


class FlatSlide(Slide):
    """An image without a pyramid, decoded whole when it is first read."""

    def __init__(self, path: Path, pages: list[TiffPage], mpp_um: float | None) -> None:
        """Open ``path``; ``pages`` are its TIFF pages, none where it is no TIFF file."""
        self._path = path
        size = _size(path, pages)
        if size.width * size.height > _MAX_PIXELS:
            raise _too_large(path, size)
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

    def _close(self) -> None:
        self.__dict__.pop("_pixels", None)

    def _read_level(self, level: int, box: LevelBox) -> Rgb:
        del level
        # A copy: what was read is the reader's own, the image is not.
        return self._pixels[box.y : box.y + box.height, box.x : box.x + box.width].copy()

    @cached_property
    def _pixels(self) -> Rgb:
        with _opened(self._path) as image:
            image.load()
            return _converted(image, self._path.name)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with warnings.catch_warnings():
            # Large images are refused below by our own limit; odd tags do not matter.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                yield image
    except Image.DecompressionBombError as error:
        raise _too_large(path, "more than 178 megapixels") from error
    except WsiTowerError:
        raise
    except _DAMAGE as error:
        raise UnreadableSlideError(
            f"slide {path.name} cannot be read ({error}); copy it again from its source"
        ) from error


def _converted(image: Image.Image, name: str) -> Rgb:
    """The pixels of a decoded image of any mode as RGB."""
    mode = "RGBA" if "A" in image.mode or "transparency" in image.info else "RGB"
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _BAND_PX // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        rgb[top : top + rows] = as_rgb(np.asarray(band.convert(mode)), name)
    return rgb


def _size(path: Path, pages: list[TiffPage]) -> Level0Size:
    """Size of the image, which has 8 bits a channel.

    Pillow would cut more bits off, or clip them, without a word.
    """
    if pages and pages[0].bits not in _UP_TO_8_BITS:
        raise _too_deep(path, f"{pages[0].bits} bits")
    with _opened(path) as image:
        if image.mode.startswith(("I", "F")):
            raise _too_deep(path, f"mode {image.mode}")
        return Level0Size(*image.size)


def _too_deep(path: Path, depth: str) -> UnsupportedSlideError:
    return UnsupportedSlideError(
        f"slide {path.name} has more than 8 bits a channel ({depth}); convert it to 8 bits first"
    )


def _too_large(path: Path, size: object) -> UnsupportedSlideError:
    return UnsupportedSlideError(
        f"slide {path.name} is a flat image of {size}, too large to decode whole; make a tiled "
        f"pyramid of it (for example `vips tiffsave IN OUT --tile --pyramid --compression jpeg`)"
    )


def _found(pages: list[TiffPage], name: str) -> tuple[Mpp, PixelSizeOrigin] | None:
    # PNG and JPEG state print resolutions only.
    return pixel_size_of_page(pages[0], name) if pages else None
