"""Which reader serves a slide, and the one function that opens it."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import openslide

from wsi_tower.errors import (
    SettingsError,
    SlideNotFoundError,
    UnreadableSlideError,
    UnsupportedSlideError,
)
from wsi_tower.slides.flat_reader import FlatSlide
from wsi_tower.slides.openslide_reader import OpenSlideSlide
from wsi_tower.slides.pixel_size import is_ome
from wsi_tower.slides.sources import is_url
from wsi_tower.slides.tiff import is_tiff, read_tiff_pages
from wsi_tower.slides.tiffslide_reader import TiffSlideSlide

if TYPE_CHECKING:
    from wsi_tower.slides.port import Slide
    from wsi_tower.slides.tiff import TiffPage

__all__ = ["READERS", "ReaderInfo", "ReaderName", "open_slide"]

ReaderName: TypeAlias = Literal["auto", "openslide", "tiffslide", "flat"]
"""What ``--reader`` takes."""

# None, LZW, JPEG, deflate (two numbers), PackBits, Zstandard.
_OPENSLIDE_COMPRESSIONS = frozenset({1, 5, 7, 8, 32946, 32773, 50000})
FLAT_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})


@dataclass(frozen=True, slots=True)
class ReaderInfo:
    """What a reader covers."""

    name: ReaderName
    """Its name for ``--reader``."""
    formats: str
    """The formats it reads, for people."""


READERS = (
    ReaderInfo(
        "openslide",
        "Aperio SVS, Hamamatsu NDPI/VMS/VMU, Leica SCN, MIRAX, Philips TIFF, Sakura, Trestle, "
        "Ventana BIF/TIFF, Zeiss CZI, DICOM WSI, generic tiled TIFF",
    ),
    ReaderInfo(
        "tiffslide",
        "TIFF pyramids (OME-TIFF, SVS, SCN, NDPI, generic) on local disk or any fsspec URL: "
        "https://, s3://, gs://, memory://",
    ),
    ReaderInfo("flat", "PNG, JPEG, BMP, TIFF in strips; up to 100 megapixels"),
)


def open_slide(
    source: str | Path, *, reader: ReaderName = "auto", mpp_um: float | None = None
) -> Slide:
    """Open a slide for reading.

    Args:
        source: path or URL; of a DICOM series any file, of a MIRAX slide the ``.mrxs`` file.
        reader: who serves it; ``auto`` takes OpenSlide where it knows the format, TiffSlide for
            URLs and OME-TIFF pyramids, the flat reader for the rest.
        mpp_um: micrometres per level-0 pixel; wins over what the file says.

    Raises:
        SettingsError: no such reader.
        SlideNotFoundError: it does not exist or may not be read.
        UnreadableSlideError: it is damaged, or is not what its name says.
        UnsupportedSlideError: no reader covers its format.
        ImpossiblePixelSizeError: no slide can have its pixel size.
    """
    if reader not in get_args(ReaderName):
        raise SettingsError(f"no reader {reader!r}; there are {', '.join(get_args(ReaderName))}")
    if is_url(str(source)):
        if reader not in ("auto", "tiffslide"):
            raise SettingsError(f"reader {reader} opens no URL such as {source}; use tiffslide")
        return TiffSlideSlide(str(source), mpp_um)
    path = Path(source)
    pages = _checked_pages(path)
    chosen = _chosen(path, pages) if reader == "auto" else reader
    if chosen == "flat":
        return FlatSlide(path, pages, mpp_um)
    if chosen == "tiffslide":
        return TiffSlideSlide(str(path), mpp_um)
    return OpenSlideSlide(path, pages, mpp_um)


def _checked_pages(path: Path) -> list[TiffPage]:
    """The TIFF pages of a file that exists, can be read and is sound; none for other formats."""
    if path.suffix.lower() == ".zarr":
        raise UnsupportedSlideError(
            f"slide {path.name} is OME-Zarr, which wsi-tower does not read yet; give the file it "
            f"was made from, or export it as OME-TIFF"
        )
    try:
        kind = path.stat()
        if stat.S_ISDIR(kind.st_mode):
            next(path.iterdir(), None)
            raise UnsupportedSlideError(
                f"{path} is a folder, not a slide; name the files in it, or a tile store (….zarr)"
            )
        if not stat.S_ISREG(kind.st_mode):
            # Reading a pipe would wait for its writer, and a device may have no end.
            raise UnreadableSlideError(f"slide {path} is a pipe or device; give it as a file")
        is_tiff_file = is_tiff(path)
    except FileNotFoundError as error:
        raise SlideNotFoundError(f"slide {path} does not exist; check the path") from error
    except PermissionError as error:
        raise SlideNotFoundError(
            f"slide {path} may not be read by this user; change its permission"
        ) from error
    except (OSError, ValueError) as error:
        raise SlideNotFoundError(f"slide {path} cannot be opened ({error}); check it") from error
    if kind.st_size == 0:
        raise UnreadableSlideError(
            f"slide {path.name} is empty (0 bytes); copy it again from its source"
        )
    return read_tiff_pages(path) if is_tiff_file else []


def _chosen(path: Path, pages: list[TiffPage]) -> ReaderName:
    if path.suffix.lower() in FLAT_SUFFIXES:
        return "flat"
    # OpenSlide takes an OME-TIFF for a generic one: it sees neither SubIFD levels nor pixel size.
    if pages and is_ome(pages[0].description):
        return "tiffslide" if pages[0].tile else "flat"
    vendor = openslide.OpenSlide.detect_format(path)
    # OpenSlide recognises any tiled TIFF, also those whose compression it then refuses.
    is_left_over = (
        vendor == "generic-tiff"
        and bool(pages)
        and pages[0].compression not in _OPENSLIDE_COMPRESSIONS
    )
    if vendor is not None and not is_left_over:
        return "openslide"
    if pages:
        return "tiffslide" if pages[0].tile else "flat"
    if path.suffix.lower() in (".dcm", ""):
        raise UnsupportedSlideError(
            f"slide {path.name} is not a whole-slide image that OpenSlide reads; a DICOM file must "
            f"hold the VL Whole Slide Microscopy Image class"
        )
    raise UnreadableSlideError(
        f"slide {path.name} is not what its name says: no reader recognises its contents; copy it "
        f"again from its source, or convert it"
    )
