"""What the pixel size of a slide is, and who says so.

In order: the user, the vendor's own fields as the reader finds them, OME-XML, the TIFF resolution
tags. The tags count only with a unit of length, and not where they hold a printer's resolution:
image editors write 72 or 300 dpi into every file.
"""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from wsi_tower.errors import UnreadableSlideError
from wsi_tower.geometry import Mpp
from wsi_tower.slides.info import PixelSize, PixelSizeOrigin

if TYPE_CHECKING:
    from wsi_tower.slides.tiff import TiffPage

__all__ = [
    "PixelSizeWarning",
    "chosen_pixel_size",
    "is_ome",
    "number",
    "ome_objective_power",
    "pixel_size_of_page",
]

_DISAGREEMENT = 0.10
_UM_PER_UNIT = {"inch": 25_400.0, "centimeter": 10_000.0}
_PRINT_DPI = (72, 75, 90, 96, 100, 120, 144, 150, 180, 200, 240, 250, 300, 360, 400, 600, 720, 1200)
_DPI_TOLERANCE = 0.02
_CM_PER_INCH = 2.54
# OME schema 2016-06, UnitsLength: the ones that microscopes write.
_UM_PER_OME_UNIT = {"pm": 1e-6, "nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4}
_MAX_XML_CHARACTERS = 8_000_000
"""OME-XML of a slide is far smaller; parsed, it takes some thirty times its size."""


class PixelSizeWarning(UserWarning):
    """A given pixel size disagrees with the file's."""


def chosen_pixel_size(
    name: str, given: float | None, found: tuple[Mpp, PixelSizeOrigin] | None
) -> PixelSize | None:
    """The pixel size to use: the given one, else the file's, checked; None where there is none.

    Args:
        name: the slide's name, for messages.
        given: micrometres per level-0 pixel from the user.
        found: the file's own and where it stands.

    Raises:
        ImpossiblePixelSizeError: no slide can have it.
    """
    if given is None:
        return PixelSize(found[0].checked(name), found[1]) if found else None
    mpp = Mpp(given, given).checked(name)
    if found and not _agree(given, found[0]):
        warnings.warn(
            f"slide {name}: the given pixel size of {given:g} µm/px is used, although the file "
            f"({found[1]}) says {found[0]}",
            PixelSizeWarning,
            stacklevel=2,
        )
    return PixelSize(mpp, "user")


def _agree(given: float, found: Mpp) -> bool:
    # The file may say anything, so no division and no root: NaN, zero and less disagree.
    mean = (found.x + found.y) / 2
    return abs(given - mean) <= _DISAGREEMENT * mean


def pixel_size_of_page(page: TiffPage, name: str) -> tuple[Mpp, PixelSizeOrigin] | None:
    """The pixel size that a TIFF page itself states, in OME-XML or in its tags.

    Raises:
        UnreadableSlideError: its OME-XML is damaged.
    """
    if is_ome(page.description):
        mpp = _ome_mpp(page.description, name)
        if mpp is not None:
            return mpp, "ome-xml"
    if page.resolution is None or is_print_resolution(*page.resolution):
        return None
    unit, x, y = page.resolution
    return Mpp(_UM_PER_UNIT[unit] / x, _UM_PER_UNIT[unit] / y), "tiff tags"


def is_print_resolution(unit: str, x: float, y: float) -> bool:
    """Whether a resolution is one that image editors write for printers: 72 dpi and its like."""
    return all(_is_print_dpi(value, per_cm=unit == "centimeter") for value in (x, y))


def _is_print_dpi(value: float, *, per_cm: bool) -> bool:
    if per_cm and value == round(value):
        # 300 dpi is 118.11 px/cm, and some writers keep the whole number alone.
        return any(
            value in (int(dpi / _CM_PER_INCH), round(dpi / _CM_PER_INCH)) for dpi in _PRINT_DPI
        )
    dpi = value * _CM_PER_INCH if per_cm else value
    return any(abs(dpi - known) < _DPI_TOLERANCE for known in _PRINT_DPI)


def is_ome(description: str) -> bool:
    """Whether an ImageDescription is OME-XML."""
    return description[:4096].lstrip().startswith("<") and "<OME" in description[:4096]


def ome_objective_power(description: str, name: str) -> float | None:
    """Nominal magnification that OME-XML states, or None."""
    for element in _ome_elements(description, name, "Objective"):
        power = number(element.get("NominalMagnification"))
        if power:
            return power
    return None


def number(text: object) -> float | None:
    """The number that a file's field holds, or None where it holds none."""
    try:
        return float(str(text))
    except ValueError:
        return None


def _ome_mpp(description: str, name: str) -> Mpp | None:
    """PhysicalSizeX and -Y of the first image, whose default unit is the micrometre."""
    for pixels in _ome_elements(description, name, "Pixels"):
        sides = [_ome_length(pixels, axis) for axis in "XY"]
        return Mpp(sides[0], sides[1]) if sides[0] and sides[1] else None
    return None


def _ome_length(pixels: ET.Element, axis: str) -> float | None:
    value = number(pixels.get(f"PhysicalSize{axis}"))
    factor = _UM_PER_OME_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    return value * factor if value and factor else None


def _ome_elements(description: str, name: str, tag: str) -> list[ET.Element]:
    # Entities could blow the text up; OME-XML has no document type, so one that has is not it.
    if "<!DOCTYPE" in description or len(description) > _MAX_XML_CHARACTERS:
        return []
    try:
        root = ET.fromstring(description)
    except ET.ParseError as error:
        raise UnreadableSlideError(
            f"slide {name} has damaged OME-XML ({error}); give its pixel size with "
            f"--mpp-of {name}=0.25 and its reader with --reader"
        ) from error
    return [element for element in root.iter() if element.tag.rpartition("}")[2] == tag]
