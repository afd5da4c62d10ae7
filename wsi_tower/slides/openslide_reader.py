"""Slides through OpenSlide: the scanners' own formats, DICOM and generic tiled TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openslide

from wsi_tower.errors import UnreadableSlideError
from wsi_tower.geometry import Level0Box, Level0Size, LevelSize, Mpp
from wsi_tower.slides.compressed import compressed_levels
from wsi_tower.slides.info import PixelSizeOrigin, Rgb, SlideInfo, level_of
from wsi_tower.slides.pixel_size import chosen_pixel_size, pixel_size_of_page
from wsi_tower.slides.pixels import on_white
from wsi_tower.slides.port import Slide
from wsi_tower.slides.tiff import pages_of_levels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsi_tower.geometry import LevelBox
    from wsi_tower.slides.tiff import TiffPage

__all__ = ["OpenSlideSlide"]

# Vendors whose level is one TIFF page as it stands; others move, pad or overlap tiles.
_PLAIN_TIFF_VENDORS = frozenset({"aperio", "generic-tiff"})


class OpenSlideSlide(Slide):
    """A slide served by OpenSlide; JPEG tiles of plain TIFF levels are decoded directly."""

    reads_in_threads = True

    def __init__(self, path: Path, pages: list[TiffPage], mpp_um: float | None) -> None:
        """Open ``path``; ``pages`` are its TIFF pages, none where it is no TIFF file."""
        try:
            self._handle = openslide.OpenSlide(path)
            properties = self._handle.properties
        except openslide.OpenSlideError as error:
            raise _unreadable(path, error) from error
        vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
        size = Level0Size(*self._handle.dimensions)
        super().__init__(
            SlideInfo(
                name=path.name,
                source=str(path),
                reader="openslide",
                vendor=vendor,
                size=size,
                levels=tuple(
                    level_of(LevelSize(*level), size) for level in self._handle.level_dimensions
                ),
                pixel_size=chosen_pixel_size(path.name, mpp_um, _found(properties, pages, path)),
                objective_power=_number(properties, openslide.PROPERTY_NAME_OBJECTIVE_POWER),
                bounds=_bounds(properties),
            )
        )
        plain = pages if vendor in _PLAIN_TIFF_VENDORS else []
        sizes = [level.size for level in self.info.levels]
        self._compressed = compressed_levels(path, pages_of_levels(plain, sizes))
        self._is_closed = False

    def _close(self) -> None:
        # OpenSlide itself refuses to close a slide twice.
        if not self._is_closed:
            self._handle.close()
        self._is_closed = True

    def _read_level(self, level: int, box: LevelBox) -> Rgb:
        downsample = self._handle.level_downsamples[level]
        corner = (round(box.x * downsample), round(box.y * downsample))
        try:
            image = self._handle.read_region(corner, level, (box.width, box.height))
        except openslide.OpenSlideError as error:
            raise _unreadable(Path(self.info.source), error) from error
        return on_white(np.asarray(image))


def _found(
    properties: Mapping[str, str], pages: list[TiffPage], path: Path
) -> tuple[Mpp, PixelSizeOrigin] | None:
    """The pixel size that OpenSlide reports, or else what it leaves unread in the file."""
    x = _number(properties, openslide.PROPERTY_NAME_MPP_X)
    y = _number(properties, openslide.PROPERTY_NAME_MPP_Y)
    is_generic = properties.get(openslide.PROPERTY_NAME_VENDOR) == "generic-tiff"
    if is_generic and pages:
        # OpenSlide's numbers come from the resolution tags here; read once, by one rule.
        return pixel_size_of_page(pages[0], path.name)
    return (Mpp(x, y), "openslide") if x and y else None


def _number(properties: Mapping[str, str], name: str) -> float | None:
    try:
        return float(properties[name])
    except (KeyError, ValueError):
        return None


def _bounds(properties: Mapping[str, str]) -> Level0Box | None:
    names = (
        openslide.PROPERTY_NAME_BOUNDS_X,
        openslide.PROPERTY_NAME_BOUNDS_Y,
        openslide.PROPERTY_NAME_BOUNDS_WIDTH,
        openslide.PROPERTY_NAME_BOUNDS_HEIGHT,
    )
    values = [_number(properties, name) for name in names]
    if any(value is None for value in values):
        return None
    x, y, width, height = (round(value) for value in values if value is not None)
    return Level0Box(x, y, width, height)


def _unreadable(path: Path, error: openslide.OpenSlideError) -> UnreadableSlideError:
    return UnreadableSlideError(
        f"slide {path.name} cannot be read ({error}); copy it again from its source, or try "
        f"another --reader"
    )
