"""One slide's segmentation: where its objects lie, and their outlines on a few fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import shapely
from PIL import Image, ImageDraw

from wsi_tower.report.caption import (
    Caption,
    caption_font,
    length_label,
    round_length_um,
    with_caption,
)
from wsi_tower.report.picture import frame_for, resized
from wsi_tower.report.wording import counted, number
from wsi_tower.tissue import mask_outlines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.geometry import Mpp
    from wsi_tower.report.picture import Frame
    from wsi_tower.segment import ObjectCover, SegmentationRecord, SegmentedField
    from wsi_tower.slides import Overview

__all__ = ["segmentation_picture"]

_WIDTH_PX, _HEIGHT_PX = 1500, 900
"""Room for the whole slide."""
_GAP_PX = 12
_COVER = (0, 90, 220)
_COVER_OPACITY = 0.85
_FULL_COVER = 0.35
"""Part of a place that is object from which its colour is full: nuclei seldom cover more."""
_LINE = (0, 255, 120)
_SUBPIXEL_BITS = 4
_LEAST_ZOOM = 1.0


def segmentation_picture(
    overview: Overview,
    record: SegmentationRecord,
    cover: ObjectCover,
    fields: Sequence[SegmentedField],
    mpp: Mpp,
) -> Image.Image:
    """The slide tinted by how much of it is object; below, fields with every object outlined.

    Args:
        overview: the whole slide.
        record: of the segmentation.
        cover: where objects lie.
        fields: to show in detail, up to three; may be none.
        mpp: pixel size of level 0.

    Returns:
        An RGB image with a strip below that names the slide and what was found.
    """
    height, width = overview.rgb.shape[:2]
    longest = min(_WIDTH_PX, int(_HEIGHT_PX * max(1.0, width / height)))
    frame = frame_for(overview, longest)
    slide = Image.fromarray(_tinted(resized(overview.rgb, frame), cover, frame))
    _mark_fields(slide, fields, frame)
    shown = [_field_picture(field, _WIDTH_PX // 3 - _GAP_PX) for field in fields]
    across = max(slide.width, sum(one.width + _GAP_PX for one in shown) - _GAP_PX)
    below = max((one.height + _GAP_PX for one in shown), default=0)
    canvas = Image.new("RGB", (across, slide.height + below), "white")
    canvas.paste(slide, ((across - slide.width) // 2, 0))
    for place, picture in enumerate(shown):
        canvas.paste(picture, (place * (picture.width + _GAP_PX), slide.height + _GAP_PX))
        corner = place * (picture.width + _GAP_PX), slide.height + _GAP_PX
        _letter(ImageDraw.Draw(canvas), corner, place)
    return with_caption(canvas, _caption(record, mpp.x / frame.x_scale))


def _caption(record: SegmentationRecord, um_per_px: float) -> Caption:
    facts = (
        f"{counted(record.objects, 'object')} ({', '.join(record.classes)})",
        f"{number(record.density_per_mm2, 3)} a mm² of tissue",
        f"{100 * record.area_fraction:.3g} % of its area",
        f"at {record.mpp:.3g} µm/px",
    )
    return Caption(record.slide_id, facts, um_per_px)


def _tinted(picture: NDArray[np.uint8], cover: ObjectCover, frame: Frame) -> NDArray[np.uint8]:
    """The slide, bluer the more of a place is object."""
    rows, columns = cover.fraction.shape
    # Cells reach beyond the slide; the map from picture to cells keeps both in place.
    scale = np.array(
        [
            [1 / (cover.pitch_l0 * frame.x_scale), 0, 0.5 / (cover.pitch_l0 * frame.x_scale) - 0.5],
            [0, 1 / (cover.pitch_l0 * frame.y_scale), 0.5 / (cover.pitch_l0 * frame.y_scale) - 0.5],
        ]
    )
    smooth = cv2.warpAffine(
        cover.fraction,
        scale,
        (frame.width, frame.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    assert rows and columns
    opacity = (_COVER_OPACITY * np.sqrt(np.clip(smooth / _FULL_COVER, 0, 1)))[..., None]
    mixed = picture * (1 - opacity) + np.array(_COVER) * opacity
    return np.asarray(np.rint(mixed), np.uint8)


def _mark_fields(slide: Image.Image, fields: Sequence[SegmentedField], frame: Frame) -> None:
    draw = ImageDraw.Draw(slide)
    for place, field in enumerate(fields):
        box = field.box_l0
        left, top = box.x * frame.x_scale, box.y * frame.y_scale
        right, bottom = left + box.width * frame.x_scale, top + box.height * frame.y_scale
        draw.rectangle([left - 1, top - 1, right + 1, bottom + 1], outline=(255, 255, 255), width=4)
        draw.rectangle([left, top, right, bottom], outline=(20, 20, 20), width=2)
        _letter(draw, (round(left), round(top)), place)


def _letter(draw: ImageDraw.ImageDraw, corner: tuple[int, int], place: int) -> None:
    """A, B or C in the corner of a field."""
    left, top = corner
    draw.rectangle([left, top, left + 26, top + 28], fill=(20, 20, 20))
    font = caption_font("DejaVuSans-Bold")
    draw.text((left + 13, top + 14), "ABC"[place], fill=(255, 255, 255), font=font, anchor="mm")


def _field_picture(field: SegmentedField, side_px: int) -> Image.Image:
    """A field with the outlines of its objects, and how long some µm are."""
    height, width = field.rgb.shape[:2]
    zoom = max(_LEAST_ZOOM, side_px / max(height, width))
    size = round(width * zoom), round(height * zoom)
    pixels = np.array(cv2.resize(field.rgb, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    factor = zoom * (1 << _SUBPIXEL_BITS)
    rims = [
        np.rint(ring * factor - (1 << _SUBPIXEL_BITS) / 2).astype(np.int32)
        for ring in _rings(field.ids)
    ]
    cv2.polylines(
        pixels,
        rims,
        isClosed=True,
        color=_LINE,
        thickness=2,
        lineType=cv2.LINE_AA,
        shift=_SUBPIXEL_BITS,
    )
    picture = Image.fromarray(pixels)
    _draw_bar(picture, field.pixel_um / zoom)
    return picture


def _rings(ids: NDArray[np.uint32]) -> list[NDArray[np.float64]]:
    """Outlines of every object, each as points x, y from the field's corner."""
    rings = []
    for one in np.unique(ids[ids > 0]).tolist():
        rows, columns = np.nonzero(ids == one)
        top, left = int(rows.min()), int(columns.min())
        own = ids[top : rows.max() + 1, left : columns.max() + 1] == one
        for ring in shapely.get_rings(shapely.get_parts(mask_outlines(own))):
            rings.append(shapely.get_coordinates(ring) + (left, top))
    return rings


def _draw_bar(picture: Image.Image, um_per_px: float) -> None:
    length_um = round_length_um(um_per_px * picture.width / 4)
    right, bottom = picture.width - 12, picture.height - 12
    left = right - round(length_um / um_per_px)
    draw = ImageDraw.Draw(picture)
    font = caption_font("DejaVuSans-Bold", 15)
    label = length_label(length_um)
    room = max(font.getlength(label), right - left)
    draw.rectangle([right - room - 8, bottom - 28, right + 8, bottom + 8], fill=(255, 255, 255))
    draw.rectangle([left, bottom - 3, right, bottom], fill=(20, 20, 20))
    draw.text(((left + right) / 2, bottom - 14), label, fill=(20, 20, 20), font=font, anchor="mm")
