"""Tissue masks that a person gives: pictures, or polygons from QuPath."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import shapely
from PIL import Image, UnidentifiedImageError

from wsi_tower.annotations import read_geojson_polygons
from wsi_tower.errors import AnnotationError, MaskError
from wsi_tower.geometry import Level0Box
from wsi_tower.tissue.colour import read_colours
from wsi_tower.tissue.finding import pen_mask
from wsi_tower.tissue.mask import TissueMask
from wsi_tower.tissue.raster import draw_polygon

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.annotations import NamedArea
    from wsi_tower.geometry import Level0Size, Mpp
    from wsi_tower.slides import Overview
    from wsi_tower.tissue.mask import Mask
    from wsi_tower.tissue.settings import TissueSettings

__all__ = ["given_mask"]

_GEOJSON_SUFFIXES = (".geojson", ".json")
_MAX_ASPECT_ERROR = 0.01
_JPEG_RINGING = 32
"""Grey level below which a JPEG's pixel is black: compression leaves ringing around edges."""
_CUT_OUT_CLASSES = frozenset(
    {"pen", "artefact", "artifact", "background", "glass", "ignore", "fold", "blur", "dust"}
)
"""Classes of areas that are no tissue, in lower case."""
_IGNORED_MARK = "*"
"""How QuPath ends the names of classes that it leaves out of measurements, as in ``Ignore*``."""


def given_mask(
    path: Path,
    size: Level0Size,
    bounds: Level0Box | None,
    mpp: Mpp,
    overview: Overview,
    settings: TissueSettings,
) -> TissueMask:
    """Take a person's word for where tissue is.

    Pen and density are still read from the overview, but pen is not taken out of the mask.

    Polygons are tissue, those without a class too, except those whose class is pen, artefact,
    artifact, background, glass, ignore, fold, blur or dust (in any case) or ends with ``*``, which
    is QuPath's mark for ignored classes: these are cut out, whatever lies under them. A mask pixel
    is tissue if its centre is.

    Args:
        path: GeoJSON polygons as QuPath writes them, or a picture: tissue where its first channel
            is not 0 (JPEG: 32 or more). It shows the whole slide or, if it has not the slide's
            shape but that of ``bounds``, those.
        size: the slide's.
        bounds: the slide's scanned part, where it says so; polygons count from its corner.
        mpp: micrometres per level-0 pixel.
        overview: the whole slide.
        settings: thresholds for pen.

    Raises:
        MaskError: the file cannot be read, has another shape than the slide and its bounds, holds
            no polygon of tissue, or none that touches the slide.
    """
    if path.suffix.lower() in _GEOJSON_SUFFIXES:
        tissue = _from_polygons(path, size, bounds, overview)
    else:
        tissue = _from_picture(path, size, bounds, overview)
    signs, density = read_colours(overview.rgb, settings)
    pixel_um = overview.pitch_l0 * mpp.mean
    pen = pen_mask(signs, settings.min_pen_um2 / pixel_um**2)
    return TissueMask(tissue, pen, density, overview.pitch_l0, mpp)


def _from_polygons(
    path: Path, size: Level0Size, bounds: Level0Box | None, overview: Overview
) -> Mask:
    tissue, cut_out = _sorted_by_class(path, bounds)
    _check_on_slide(path, tissue, size)
    mask = _drawn(tissue, size, overview)
    if cut_out:
        mask &= ~_drawn(cut_out, size, overview)
    return mask


def _sorted_by_class(
    path: Path, bounds: Level0Box | None
) -> tuple[list[NamedArea], list[NamedArea]]:
    """Areas of tissue, and those to be cut out of it."""
    try:
        areas = read_geojson_polygons(path, bounds)
    except AnnotationError as error:
        raise MaskError(f"tissue mask {path} cannot be used: {error}") from error
    if not areas:
        raise MaskError(
            f"tissue mask {path} holds no polygon; outline the tissue in QuPath and export it as "
            f"GeoJSON, or give a black and white picture"
        )
    tissue = [area for area in areas if not _is_cut_out(area.name)]
    if not tissue:
        classes = ", ".join(sorted({area.name or "" for area in areas}))
        raise MaskError(
            f"tissue mask {path} holds no tissue, only areas of classes that are cut out of it "
            f"({classes}); outline the tissue as well, or rename their class to Tissue"
        )
    return tissue, [area for area in areas if _is_cut_out(area.name)]


def _is_cut_out(name: str | None) -> bool:
    plain = (name or "").strip().lower()
    return plain in _CUT_OUT_CLASSES or plain.endswith(_IGNORED_MARK)


def _drawn(areas: Iterable[NamedArea], size: Level0Size, overview: Overview) -> Mask:
    canvas = np.zeros(overview.rgb.shape[:2], np.bool_)
    # The last row and column may be centred beyond the slide, where nothing is tissue.
    rows, columns = (
        math.ceil(side / overview.pitch_l0 - 0.5) for side in (size.height, size.width)
    )
    for _, area in areas:
        for polygon in shapely.get_parts(area):
            draw_polygon(canvas[:rows, :columns], polygon, overview.pitch_l0)
    return canvas


def _check_on_slide(path: Path, areas: list[NamedArea], size: Level0Size) -> None:
    slide = shapely.box(0, 0, size.width, size.height)
    if any(area.intersects(slide) for _, area in areas):
        return
    left, top, right, bottom = shapely.total_bounds([area for _, area in areas])
    raise MaskError(
        f"tissue mask {path} lies wholly outside the slide: its polygons span x {left:.0f} to "
        f"{right:.0f} and y {top:.0f} to {bottom:.0f}, the slide is {size}; coordinates must be "
        f"level-0 pixels of this slide"
    )


def _from_picture(
    path: Path, size: Level0Size, bounds: Level0Box | None, overview: Overview
) -> Mask:
    picture = _load(path)
    height, width = picture.shape
    box = _place(path, width, height, size, bounds)
    cells_y, cells_x = overview.rgb.shape[:2]
    rows, row_inside = _nearest(cells_y, overview.pitch_l0, (box.y, box.height), height)
    columns, column_inside = _nearest(cells_x, overview.pitch_l0, (box.x, box.width), width)
    tissue: Mask = picture[rows[:, None], columns] & row_inside[:, None] & column_inside
    return tissue


def _load(path: Path) -> Mask:
    try:
        with Image.open(path) as image:
            threshold = _JPEG_RINGING if image.format == "JPEG" else 1
            values = np.asarray(image)
    except UnidentifiedImageError as error:
        raise MaskError(
            f"tissue mask {path} is no picture that can be read; give PNG, TIFF, JPEG or GeoJSON"
        ) from error
    except Image.DecompressionBombError as error:
        raise MaskError(
            f"tissue mask {path} is too large ({error}); save it smaller, 1 pixel per 8 µm will do"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise MaskError(
            f"tissue mask {path} cannot be read ({error}); check the path, or save it again as PNG"
        ) from error
    first: Mask = (values if values.ndim == 2 else values[..., 0]) >= threshold
    return first


def _place(
    path: Path, width: int, height: int, size: Level0Size, bounds: Level0Box | None
) -> Level0Box:
    """The part of the slide that a picture shows, by its shape."""
    whole = Level0Box(0, 0, size.width, size.height)
    for box in (whole, bounds):
        if box is not None and _fits(width, height, box):
            return box
    expected, examples = f"the slide, {size}", f"the whole slide, for example {_like(width, whole)}"
    if bounds is not None:
        expected += f", nor of its scanned part, {bounds.width} × {bounds.height} px"
        examples += f", or of the scanned part, for example {_like(width, bounds)}"
    raise MaskError(
        f"tissue mask {path} is {width} × {height} px, which is not the shape of {expected}; give "
        f"a mask of {examples}"
    )


def _fits(width: int, height: int, box: Level0Box) -> bool:
    wrong_px = min(
        abs(height - width * box.height / box.width), abs(width - height * box.width / box.height)
    )
    return wrong_px <= max(1.0, _MAX_ASPECT_ERROR * min(width, height))


def _like(width: int, box: Level0Box) -> str:
    """The size of a picture of a box, given its width."""
    return f"{width} × {max(1, round(width * box.height / box.width))} px"


def _nearest(
    cells: int, pitch_l0: float, span_l0: tuple[int, int], pixels: int
) -> tuple[NDArray[np.int64], Mask]:
    """The picture's pixel under the centre of each cell, and whether the picture reaches there.

    Args:
        cells: number of cells from the slide's corner.
        pitch_l0: side of a cell.
        span_l0: start and length of what the picture shows.
        pixels: of the picture along that length.
    """
    start_l0, length_l0 = span_l0
    offsets_l0 = (np.arange(cells) + 0.5) * pitch_l0 - start_l0
    index = np.floor(offsets_l0 * pixels / length_l0).astype(np.int64)
    inside: Mask = (offsets_l0 >= 0) & (offsets_l0 < length_l0)
    return np.clip(index, 0, pixels - 1), inside
