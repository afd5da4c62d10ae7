"""Slides through TiffSlide: TIFF files anywhere that fsspec opens, and OME-TIFF pyramids."""

from __future__ import annotations

import sys
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tiffslide

from wsi_tower.errors import (
    SlideNotFoundError,
    UnreadableSlideError,
    UnsupportedSlideError,
    WsiTowerError,
)
from wsi_tower.geometry import Level0Size, LevelSize, Mpp
from wsi_tower.slides.claims import refuse_false_claims
from wsi_tower.slides.compressed import compressed_levels
from wsi_tower.slides.info import PixelSizeOrigin, Rgb, SlideInfo, level_of
from wsi_tower.slides.pixel_size import (
    chosen_pixel_size,
    is_ome,
    number,
    ome_objective_power,
    pixel_size_of_page,
)
from wsi_tower.slides.pixels import as_rgb
from wsi_tower.slides.port import Slide
from wsi_tower.slides.sources import is_url, name_of, shown_source
from wsi_tower.slides.tiff import TIFF_DAMAGE, TiffPage, pages_of, pages_of_levels
from wsi_tower.slides.unscanned import unscanned_levels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from wsi_tower.geometry import LevelBox

__all__ = ["TiffSlideSlide"]


class TiffSlideSlide(Slide):
    """A TIFF slide served by TiffSlide; JPEG tiles of local files are decoded directly."""

    def __init__(self, source: str, mpp_um: float | None) -> None:
        """Open a path or URL."""
        name = self._name = name_of(source)
        with ExitStack() as on_failure:
            self._handle = _opened(source, name)
            on_failure.callback(self._handle.close)
            with _read_errors(name):
                pages = pages_of(self._handle.ts_tifffile, name)
                _refuse_other_colours(pages[0], name)
                super().__init__(_info(self._handle, pages, source, mpp_um))
                self._pages = pages_of_levels(pages, [level.size for level in self.info.levels])
                _refuse_missing_tiles(self._pages.values(), name)
                self._unscanned = unscanned_levels(self._pages)
                # Remote tiles have no file descriptor to read from.
                local = {} if is_url(source) else self._pages
                self._compressed = compressed_levels(Path(source), local)
            on_failure.pop_all()

    def _close(self) -> None:
        self._handle.close()

    def _read_level(self, level: int, box: LevelBox) -> Rgb:
        downsample = self._handle.level_downsamples[level]
        corner = (_source_of(box.x, downsample), _source_of(box.y, downsample))
        with _read_errors(self._name):
            if level in self._pages:
                refuse_false_claims(self._pages[level], box, self._name)
            pixels = self._handle.read_region(
                corner, level, (box.width, box.height), as_array=True, padding=False
            )
        if pixels.shape[:2] != (box.height, box.width):
            raise _unreadable(self._name, f"no pixels at {box}")
        rgb = as_rgb(pixels, self._name)
        if level in self._unscanned:
            self._unscanned[level].whiten(rgb, box)
        return rgb


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
    except _access_errors() as error:
        raise SlideNotFoundError(
            f"slide {source} cannot be opened ({error or type(error).__name__}); check the "
            f"address and the permission to read it"
        ) from error


@contextmanager
def _read_errors(name: str) -> Iterator[None]:
    damage: tuple[type[Exception], ...] = (*TIFF_DAMAGE, RuntimeError, *_access_errors())
    try:
        yield
    except WsiTowerError:
        raise
    except damage as error:
        raise _unreadable(name, error) from error


def _access_errors() -> tuple[type[Exception], ...]:
    """What the system and the packages of remote protocols raise, where fsspec has loaded these."""
    names = (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError"))
    loaded = [(sys.modules[module], name) for module, name in names if module in sys.modules]
    return (OSError, *(getattr(module, name) for module, name in loaded))


def _refuse_other_colours(page: TiffPage, name: str) -> None:
    if not page.has_plain_colour:
        raise UnsupportedSlideError(
            f"slide {name} stores colours that TiffSlide leaves as they are (a palette, CMYK, "
            f"YCbCr, inverted grey, more channels or not 8 bits each); try --reader openslide, or "
            f"convert it to RGB of 8 bits"
        )


def _refuse_missing_tiles(pages: Iterable[TiffPage], name: str) -> None:
    """Refuse pages that do not say of every tile where it lies: tifffile would fill in black."""
    for page in pages:
        if page.tile is None:
            continue
        tiles = -(-page.size.width // page.tile.width) * -(-page.size.height // page.tile.height)
        offsets, byte_counts = page.segments()
        if min(len(offsets), len(byte_counts)) < tiles:
            raise _unreadable(
                name, f"it places {min(len(offsets), len(byte_counts))} of {tiles} tiles"
            )


def _info(handle: Any, pages: list[TiffPage], source: str, mpp_um: float | None) -> SlideInfo:
    name = name_of(source)
    size = Level0Size(*handle.dimensions)
    power = number(handle.properties.get("tiffslide.objective-power"))
    if power is None and is_ome(pages[0].description):
        power = ome_objective_power(pages[0].description, name)
    return SlideInfo(
        name=name,
        source=shown_source(source),
        reader="tiffslide",
        vendor=handle.properties.get("tiffslide.vendor") or "generic-tiff",
        size=size,
        levels=tuple(level_of(LevelSize(*level), size) for level in handle.level_dimensions),
        pixel_size=chosen_pixel_size(name, mpp_um, _found(handle.properties, pages, name)),
        objective_power=power,
        bounds=None,
    )


def _found(
    properties: Mapping[str, Any], pages: list[TiffPage], name: str
) -> tuple[Mpp, PixelSizeOrigin] | None:
    """A scanner's own field, where TiffSlide knows the scanner; else what the page states."""
    vendor = properties.get("tiffslide.vendor")
    x, y = (number(properties.get(f"tiffslide.mpp-{axis}")) for axis in "xy")
    # An Aperio file without its own field gets TiffSlide's reading of the tags, printers' and all.
    is_own = "aperio.MPP" in properties if vendor == "aperio" else bool(vendor)
    if is_own and x and y:
        return Mpp(x, y), "tiffslide"
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
