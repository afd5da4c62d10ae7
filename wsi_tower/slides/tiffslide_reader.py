"""Slides through TiffSlide: TIFF files anywhere that fsspec opens, and OME-TIFF pyramids."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tiffslide

from wsi_tower.errors import SlideNotFoundError, UnreadableSlideError, UnsupportedSlideError
from wsi_tower.geometry import Level0Size, LevelSize, Mpp
from wsi_tower.slides.compressed import CompressedLevel, compressed_levels
from wsi_tower.slides.pixel_size import (
    chosen_pixel_size,
    is_ome,
    ome_objective_power,
    pixel_size_of_page,
)
from wsi_tower.slides.pixels import as_rgb
from wsi_tower.slides.port import PixelSizeOrigin, Rgb, Slide, SlideInfo, level_of
from wsi_tower.slides.tiff import TIFF_DAMAGE, TiffPage, pages_of

if TYPE_CHECKING:
    from wsi_tower.geometry import LevelBox

__all__ = ["TiffSlideSlide"]


class TiffSlideSlide(Slide):
    """A TIFF slide served by TiffSlide; JPEG tiles of local files are decoded directly."""

    def __init__(self, source: str, mpp_um: float | None) -> None:
        """Open a path or URL."""
        name = source.rstrip("/").rpartition("/")[2]
        self._handle = _opened(source, name)
        self._name = name
        try:
            pages = pages_of(self._handle.ts_tifffile, name)
            info = _info(self._handle, pages, source, mpp_um)
        except TIFF_DAMAGE as error:
            raise _unreadable(name, error) from error
        super().__init__(info)
        # Remote tiles have no file descriptor to read from.
        local = Path(source)
        self._compressed = compressed_levels(local, pages, info) if local.exists() else {}

    def compressed_level(self, level: int) -> CompressedLevel | None:
        """The file's own JPEG tiles of a level, or None."""
        return self._compressed.get(level)

    def close(self) -> None:
        """Give back the file."""
        for level in self._compressed.values():
            level.close()
        self._handle.close()

    def _read_level(self, level: int, box: LevelBox) -> Rgb:
        if level in self._compressed:
            return self._compressed[level].read_box(box)
        downsample = self._handle.level_downsamples[level]
        corner = (_source_of(box.x, downsample), _source_of(box.y, downsample))
        try:
            pixels = self._handle.read_region(
                corner, level, (box.width, box.height), as_array=True, padding=False
            )
        except (*TIFF_DAMAGE, RuntimeError, OSError) as error:
            raise _unreadable(self._name, error) from error
        if pixels.shape[:2] != (box.height, box.width):
            raise _unreadable(self._name, f"no pixels at {box}")
        return as_rgb(pixels, self._name)


def _opened(source: str, name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TiffSlide guesses aloud; the result is checked below
            return tiffslide.TiffSlide(source)
    except TIFF_DAMAGE as error:
        raise _unreadable(name, error) from error
    except ImportError as error:
        raise UnsupportedSlideError(
            f"slide {source} needs a package for its protocol ({error}); install it with "
            f"pip install 'wsi-tower[cloud]'"
        ) from error
    except OSError as error:
        raise SlideNotFoundError(
            f"slide {source} cannot be opened ({error or type(error).__name__}); check the "
            f"address and the permission to read it"
        ) from error


def _info(handle: Any, pages: list[TiffPage], source: str, mpp_um: float | None) -> SlideInfo:
    name = source.rstrip("/").rpartition("/")[2]
    size = Level0Size(*handle.dimensions)
    power = handle.properties.get("tiffslide.objective-power")
    if not power and is_ome(pages[0].description):
        power = ome_objective_power(pages[0].description, name)
    return SlideInfo(
        name=name,
        source=source,
        reader="tiffslide",
        vendor=handle.properties.get("tiffslide.vendor") or "generic-tiff",
        size=size,
        levels=tuple(level_of(LevelSize(*level), size) for level in handle.level_dimensions),
        pixel_size=chosen_pixel_size(name, mpp_um, _found(handle, pages, name)),
        objective_power=float(power) if power else None,
        bounds=None,
    )


def _found(handle: Any, pages: list[TiffPage], name: str) -> tuple[Mpp, PixelSizeOrigin] | None:
    """A scanner's own field, where TiffSlide knows the scanner; else what the page states."""
    x = handle.properties.get("tiffslide.mpp-x")
    y = handle.properties.get("tiffslide.mpp-y")
    is_scanner = bool(handle.properties.get("tiffslide.vendor"))
    if is_scanner and x and y:
        return Mpp(float(x), float(y)), "tiffslide"
    return pixel_size_of_page(pages[0], name)


def _source_of(position_px: int, downsample: float) -> int:
    """A level-0 coordinate that TiffSlide's division and truncation turns into ``position_px``."""
    position_l0 = int(position_px * downsample)
    while int(position_l0 / downsample) < position_px:
        position_l0 += 1
    return position_l0


def _unreadable(name: str, why: object) -> UnreadableSlideError:
    return UnreadableSlideError(
        f"slide {name} cannot be read ({why}); copy it again from its source, or try another "
        f"--reader"
    )
