"""One picture per slide: where the tissue is, and which tiles were taken from it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from wsi_tower.records import write_bytes_aside
from wsi_tower.report.caption import Caption, length_label, with_caption
from wsi_tower.report.wording import counted

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.geometry import Mpp
    from wsi_tower.slides import Overview

__all__ = ["Frame", "frame_for", "picture_facts", "resized", "tiling_picture", "write_picture"]

_Picture: TypeAlias = NDArray[np.uint8]
_Corners: TypeAlias = NDArray[np.int64]

# Yellow against blue is the pair that red-green blindness keeps apart, and neither is a common
# stain; the casing lifts the dark line off dark tissue.
OUTLINE = (0, 50, 120)
OUTLINE_CASING = (255, 255, 255)
TILE = (255, 200, 0)
TILE_OPACITY = 0.20
"""Of the fill where it stands alone."""
TILE_OPACITY_IN_GRID = 0.12
"""Of the fill where hairlines show the tiles too: the stain stays true."""
GRID_OPACITY = 0.55
MIN_GRID_PX = 8.0
"""Side of a tile in the picture below which its hairlines would hide the tissue: fill alone."""
SMALLEST_PX = 1000
"""Longer side that a smaller overview is enlarged to, so that lines have room."""
_SUBPIXEL_BITS = 4
_JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True)
class Frame:
    """How the picture lies on the slide."""

    width: int
    """Pixels of the picture."""
    height: int
    """Pixels of the picture."""
    x_scale: float
    """Pixels of the picture per level-0 pixel."""
    y_scale: float
    """Pixels of the picture per level-0 pixel."""

    def squares(self, xy_l0: _Corners, footprint_l0: int) -> _Corners:
        """Left, top, right and bottom of tiles in the picture: (N, 4).

        Both corners are rounded on their own, so that neighbours share their border exactly.
        """
        scale = np.array([self.x_scale, self.y_scale])
        starts = np.rint(xy_l0.reshape(-1, 2) * scale).astype(np.int64)
        ends = np.rint((xy_l0.reshape(-1, 2) + footprint_l0) * scale).astype(np.int64)
        ends = np.minimum(ends, [self.width, self.height])
        return np.hstack([starts, ends])


def tiling_picture(  # noqa: PLR0913 - a slide, what was found on it, and how to show it
    overview: Overview,
    outlines: shapely.MultiPolygon,
    xy_l0: NDArray[np.int64],
    footprint_l0: int,
    mpp: Mpp,
    *,
    title: str = "",
    max_px: int = 1600,
) -> Image.Image:
    """The slide with its tissue outlined, its tiles tinted, and a strip with name and scale bar.

    Args:
        overview: the whole slide; enlarged where it is small.
        outlines: tissue in level-0 pixels; may be empty.
        xy_l0: int64 (N, 2) top-left corners of the tiles in level-0 pixels; N may be 0.
        footprint_l0: side of a tile in level-0 pixels.
        mpp: pixel size of level 0.
        title: name of the slide.
        max_px: longer side of the slide's image in the picture; the strip comes on top.

    Returns:
        An RGB image, at least 760 pixels wide.
    """
    frame = frame_for(overview, max_px)
    picture = resized(overview.rgb, frame)
    _tint_tiles(picture, frame, xy_l0, footprint_l0)
    _draw_outlines(picture, frame, outlines)
    caption = Caption(
        title,
        picture_facts(len(xy_l0), footprint_l0 * mpp.mean, mpp),
        um_per_px=mpp.x / frame.x_scale,
    )
    return with_caption(Image.fromarray(picture), caption)


def write_picture(path: Path, image: Image.Image) -> None:
    """Write a JPEG, or a PNG by its name, so that it is complete or absent.

    Raises:
        StorageError: the disk refused.
    """
    encoded = io.BytesIO()
    if path.suffix == ".png":
        image.save(encoded, "PNG")
    else:
        # Full chroma: thin coloured lines blur at half of it.
        image.save(encoded, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    write_bytes_aside(path, encoded.getbuffer())


def picture_facts(tiles: int, side_um: float, mpp: Mpp) -> tuple[str, ...]:
    """What a picture's strip tells: its tiles and their side, and the slide's pixel size."""
    slide = f"slide at {mpp.mean:.4g} µm/px"
    return (f"{counted(tiles, 'tile')} of {length_label(side_um)}" if tiles else "no tile", slide)


def frame_for(overview: Overview, max_px: int) -> Frame:
    """How a picture lies on the slide whose longer side has at most so many pixels."""
    height, width = overview.rgb.shape[:2]
    longer = max(width, height)
    zoom = min(max_px, max(longer, SMALLEST_PX)) / longer
    shown_width, shown_height = max(1, round(width * zoom)), max(1, round(height * zoom))
    return Frame(
        width=shown_width,
        height=shown_height,
        x_scale=shown_width / (width * overview.pitch_l0),
        y_scale=shown_height / (height * overview.pitch_l0),
    )


def resized(rgb: _Picture, frame: Frame) -> _Picture:
    """A copy of the overview at the picture's size, free to be drawn on."""
    shrinks = frame.width <= rgb.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    shown = cv2.resize(rgb, (frame.width, frame.height), interpolation=method)
    return np.array(shown, np.uint8)


def _tint_tiles(
    picture: _Picture, frame: Frame, xy_l0: NDArray[np.int64], footprint_l0: int
) -> None:
    squares = np.unique(frame.squares(xy_l0, footprint_l0), axis=0)
    has_grid = footprint_l0 * min(frame.x_scale, frame.y_scale) >= MIN_GRID_PX
    _blend(picture, _filled(picture, squares), TILE_OPACITY_IN_GRID if has_grid else TILE_OPACITY)
    if has_grid:
        _blend(picture, _bordered(picture, squares), GRID_OPACITY)


def _filled(picture: _Picture, squares: _Corners) -> _Picture:
    mask = np.zeros(picture.shape[:2], np.uint8)
    for left, top, right, bottom in squares.tolist():
        mask[top : max(bottom, top + 1), left : max(right, left + 1)] = 255
    return mask


def _bordered(picture: _Picture, squares: _Corners) -> _Picture:
    mask = np.zeros(picture.shape[:2], np.uint8)
    height, width = picture.shape[:2]
    for left, top, right, bottom in squares.tolist():
        # The far border is the next tile's near one; at the edge of the slide it stays inside.
        corner = (min(right, width - 1), min(bottom, height - 1))
        cv2.rectangle(mask, (left, top), corner, 255, thickness=1)
    return mask


def _blend(picture: _Picture, mask: _Picture, opacity: float) -> None:
    """Mix the tile colour into the picture, in place, where the mask is set."""
    colour = np.full_like(picture, TILE)
    mixed = cv2.addWeighted(picture, 1 - opacity, colour, opacity, 0)
    cv2.copyTo(mixed, mask, picture)


def _draw_outlines(picture: _Picture, frame: Frame, outlines: shapely.MultiPolygon) -> None:
    """Draw the rims of tissue and of its holes: a dark line on a light casing."""
    scale = np.array([frame.x_scale, frame.y_scale]) * (1 << _SUBPIXEL_BITS)
    # OpenCV counts from the centre of the first pixel, level-0 coordinates from its corner.
    rims = [
        np.rint(shapely.get_coordinates(ring) * scale - (1 << _SUBPIXEL_BITS) / 2).astype(np.int32)
        for ring in shapely.get_rings(shapely.get_parts(outlines))
    ]
    for colour, thickness in ((OUTLINE_CASING, 5), (OUTLINE, 2)):
        cv2.polylines(
            picture,
            rims,
            isClosed=True,
            color=colour,
            thickness=thickness,
            lineType=cv2.LINE_AA,
            shift=_SUBPIXEL_BITS,
        )
