"""Tissue masks that a person gives: pictures, or polygons from QuPath."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import shapely
from PIL import Image, UnidentifiedImageError

from wsi_tower.annotations import read_geojson_polygons
from wsi_tower.errors import AnnotationError, MaskError
from wsi_tower.tissue.colour import read_colours
from wsi_tower.tissue.finding import pen_mask
from wsi_tower.tissue.mask import TissueMask

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.annotations import NamedArea
    from wsi_tower.geometry import Level0Box, Level0Size, Mpp
    from wsi_tower.slides import Overview
    from wsi_tower.tissue.mask import Mask
    from wsi_tower.tissue.settings import TissueSettings

__all__ = ["given_mask"]

_GEOJSON_SUFFIXES = (".geojson", ".json")
_MAX_ASPECT_ERROR = 0.01
_JPEG_RINGING = 32
"""Grey level below which a JPEG's pixel is black: compression leaves ringing around edges."""
_SUBPIXEL_BITS = 6


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

    Args:
        path: a picture (tissue where its first channel is not 0; it shows the whole slide), or
            GeoJSON polygons as QuPath writes them.
        size: the slide's.
        bounds: the slide's scanned part, where it says so; polygons count from its corner.
        mpp: micrometres per level-0 pixel.
        overview: the whole slide.
        settings: thresholds for pen.

    Raises:
        MaskError: the file cannot be read, has another shape than the slide, holds no polygon, or
            none that touches the slide.
    """
    if path.suffix.lower() in _GEOJSON_SUFFIXES:
        tissue = _from_polygons(path, size, bounds, overview)
    else:
        tissue = _from_picture(path, size, overview)
    signs, density = read_colours(overview.rgb, settings)
    pixel_um = overview.pitch_l0 * mpp.mean
    pen = pen_mask(signs, settings.min_pen_um2 / pixel_um**2)
    return TissueMask(tissue, pen, density, overview.pitch_l0, mpp)


def _from_polygons(
    path: Path, size: Level0Size, bounds: Level0Box | None, overview: Overview
) -> Mask:
    try:
        areas = read_geojson_polygons(path, bounds)
    except AnnotationError as error:
        raise MaskError(f"tissue mask {path} cannot be used: {error}") from error
    if not areas:
        raise MaskError(
            f"tissue mask {path} holds no polygon; outline the tissue in QuPath and export it as "
            f"GeoJSON, or give a black and white picture"
        )
    _check_on_slide(path, areas, size)
    canvas = np.zeros(overview.rgb.shape[:2], np.uint8)
    for _, area in areas:
        for polygon in shapely.get_parts(area):
            _draw(canvas, polygon, overview.pitch_l0)
    return canvas.view(np.bool_)


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


def _draw(canvas: NDArray[np.uint8], polygon: shapely.Polygon, pitch_l0: float) -> None:
    """Add a polygon in level-0 pixels to a canvas of 0 and 1."""
    # Drawn apart, so that its holes do not erase polygons drawn before.
    height, width = canvas.shape
    left, top, right, bottom = np.array(polygon.bounds) / pitch_l0
    x0, y0 = (int(np.clip(v, 0, m)) for v, m in ((left, width), (top, height)))
    x1, y1 = (int(np.clip(np.ceil(v), 0, m)) for v, m in ((right, width), (bottom, height)))
    if x0 >= x1 or y0 >= y1:
        return
    patch = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for ring, value in ((polygon.exterior, 1), *((hole, 0) for hole in polygon.interiors)):
        points = shapely.get_coordinates(ring) / pitch_l0 - (x0 + 0.5, y0 + 0.5)
        fixed = np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(patch, [fixed], value, shift=_SUBPIXEL_BITS)
    canvas[y0:y1, x0:x1] |= patch


def _from_picture(path: Path, size: Level0Size, overview: Overview) -> Mask:
    picture = _load(path)
    height, width = picture.shape
    _check_shape(path, width, height, size)
    rows, row_inside = _nearest(overview.rgb.shape[0], overview.pitch_l0, size.height, height)
    columns, column_inside = _nearest(overview.rgb.shape[1], overview.pitch_l0, size.width, width)
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


def _check_shape(path: Path, width: int, height: int, size: Level0Size) -> None:
    expected_height = width * size.height / size.width
    expected_width = height * size.width / size.height
    wrong_px = min(abs(height - expected_height), abs(width - expected_width))
    if wrong_px > max(1.0, _MAX_ASPECT_ERROR * min(width, height)):
        raise MaskError(
            f"tissue mask {path} is {width} × {height} px, which is not the shape of the slide, "
            f"{size}; give a mask of the whole slide, for example {width} × "
            f"{round(expected_height)} px"
        )


def _nearest(
    cells: int, pitch_l0: float, size_l0: int, pixels: int
) -> tuple[NDArray[np.int64], Mask]:
    """The picture's pixel under the centre of each cell, and whether that is on the slide."""
    centres_l0 = (np.arange(cells) + 0.5) * pitch_l0
    index = (centres_l0 * pixels / size_l0).astype(np.int64)
    return np.minimum(index, pixels - 1), centres_l0 < size_l0
