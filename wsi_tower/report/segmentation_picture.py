"""One slide's segmentation: where its objects lie, and their outlines on a few fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import shapely
from PIL import Image, ImageDraw

from wsi_tower.report.caption import (
    INK,
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

_WIDTH_PX, _HEIGHT_PX = 1500, 1000
"""Of the picture, and the height of the slide at most."""
_WIDE = 2.0
"""Width to height from which two slides fit better one above the other."""
_GAP_PX = 12
_COVER = (0, 90, 220)
_COVER_OPACITY = 0.85
_PALER = 0.35
_FULL_COVER = 0.35
"""Part of a place that is object from which its colour is full: nuclei seldom cover more."""
_LINE = (0, 255, 120)
_SUBPIXEL_BITS = 4
_SMALL_PX = 15


def segmentation_picture(
    overview: Overview,
    record: SegmentationRecord,
    cover: ObjectCover,
    fields: Sequence[SegmentedField],
    mpp: Mpp,
) -> Image.Image:
    """The slide, and where on it objects lie; below, fields without and with their outlines.

    Args:
        overview: the whole slide.
        record: of the segmentation.
        cover: where objects lie.
        fields: to show in detail, up to three; may be none.
        mpp: pixel size of level 0.

    Returns:
        An RGB image with a strip below that names the slide and what was found.
    """
    slide, frame = _whole_slide(overview, cover, fields)
    side_px = (_WIDTH_PX - 2 * _GAP_PX) // 3
    shown = [_field_pictures(field, place, side_px) for place, field in enumerate(fields)]
    below = _pasted(shown, across=True) if shown else None
    picture = slide if below is None else _pasted([slide, below], across=False)
    return with_caption(picture, _caption(record, mpp.x / frame.x_scale))


def _whole_slide(
    overview: Overview, cover: ObjectCover, fields: Sequence[SegmentedField]
) -> tuple[Image.Image, Frame]:
    """The slide as it is, and again tinted: side by side, or one above the other where it is wide.

    Returns:
        Both, and how either lies on the slide.
    """
    height, width = overview.rgb.shape[:2]
    is_tall = width < _WIDE * height
    room = (_WIDTH_PX - _GAP_PX) / 2 if is_tall else _WIDTH_PX
    frame = frame_for(overview, round(min(room * max(1, height / width), _HEIGHT_PX)))
    plain = Image.fromarray(resized(overview.rgb, frame))
    _mark_fields(plain, fields, frame)
    tinted = Image.fromarray(_tinted(resized(overview.rgb, frame), cover, frame))
    _draw_legend(tinted)
    return _pasted([plain, tinted], across=is_tall), frame


def _pasted(pictures: Sequence[Image.Image], *, across: bool) -> Image.Image:
    """Pictures in a row or a column, centred, on white."""
    wide, high = [one.width for one in pictures], [one.height for one in pictures]
    gaps = (len(pictures) - 1) * _GAP_PX
    size = (sum(wide) + gaps, max(high)) if across else (max(wide), sum(high) + gaps)
    canvas, place = Image.new("RGB", size, "white"), 0
    for one in pictures:
        beside = (size[1] - one.height) // 2 if across else (size[0] - one.width) // 2
        canvas.paste(one, (place, beside) if across else (beside, place))
        place += (one.width if across else one.height) + _GAP_PX
    return canvas


def _caption(record: SegmentationRecord, um_per_px: float) -> Caption:
    facts = (
        f"{counted(record.objects, 'object')} ({', '.join(record.classes)})",
        f"{number(record.density_per_mm2, 3)} a mm² of tissue",
        f"{100 * record.area_fraction:.3g} % of its area",
        f"at {record.mpp:.3g} µm/px",
    )
    return Caption(record.slide_id, facts, um_per_px)


def _tinted(picture: NDArray[np.uint8], cover: ObjectCover, frame: Frame) -> NDArray[np.uint8]:
    """The slide in pale grey, bluer the more of a place is object."""
    cell = cover.pitch_l0 * frame.x_scale, cover.pitch_l0 * frame.y_scale
    # From pixels of the picture to cells, middle to middle: cells may reach beyond the slide.
    to_cells = np.array(
        [[1 / cell[0], 0, 0.5 / cell[0] - 0.5], [0, 1 / cell[1], 0.5 / cell[1] - 0.5]]
    )
    smooth = cv2.warpAffine(
        cover.fraction,
        to_cells,
        (frame.width, frame.height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    opacity = _COVER_OPACITY * np.clip(smooth / _FULL_COVER, 0, 1)[..., None]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None] * (1 - _PALER) + 255 * _PALER
    return np.asarray(np.rint(grey * (1 - opacity) + np.array(_COVER) * opacity), np.uint8)


def _draw_legend(picture: Image.Image) -> None:
    """What the tint means, in the lower left corner."""
    draw, font = ImageDraw.Draw(picture), caption_font("DejaVuSans", _SMALL_PX)
    words = f"0 to {100 * _FULL_COVER:.0f} % of the area is object"
    top, left = picture.height - 30, 8
    draw.rectangle([left, top, left + 112 + font.getlength(words), top + 24], fill="white")
    for step in range(90):
        share = _COVER_OPACITY * step / 89
        shade = tuple(round(255 * (1 - share) + one * share) for one in _COVER)
        draw.line([(left + 8 + step, top + 6), (left + 8 + step, top + 17)], fill=shade)
    draw.text((left + 106, top + 12), words, fill=INK, font=font, anchor="lm")


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


def _field_pictures(field: SegmentedField, place: int, side_px: int) -> Image.Image:
    """A field as it is, and below it with the outlines of its objects."""
    height, width = field.rgb.shape[:2]
    zoom = side_px / max(height, width)
    size = round(width * zoom), round(height * zoom)
    method = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
    pixels = np.array(cv2.resize(field.rgb, size, interpolation=method), np.uint8)
    plain = Image.fromarray(pixels.copy())
    _letter(ImageDraw.Draw(plain), (0, 0), place)
    _draw_bar(plain, field.pixel_um / zoom)
    factor = zoom * (1 << _SUBPIXEL_BITS)
    rims = [
        np.rint(ring * factor - (1 << _SUBPIXEL_BITS) / 2).astype(np.int32)
        for ring in _rings(field.ids)
    ]
    cv2.polylines(pixels, rims, True, _LINE, 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    return _pasted([plain, Image.fromarray(pixels)], across=False)


def _rings(ids: NDArray[np.uint32]) -> list[NDArray[np.float64]]:
    """Outlines of every object, each as points x, y from the field's corner."""
    rings: list[NDArray[np.float64]] = []
    for one in np.unique(ids[ids > 0]).tolist():
        rows, columns = np.nonzero(ids == one)
        top, left = int(rows.min()), int(columns.min())
        own = ids[top : rows.max() + 1, left : columns.max() + 1] == one
        corner = np.array([left, top])
        outlines = shapely.get_rings(shapely.get_parts(mask_outlines(own)))
        rings.extend(shapely.get_coordinates(ring) + corner for ring in outlines)
    return rings


def _draw_bar(picture: Image.Image, um_per_px: float) -> None:
    length_um = round_length_um(um_per_px * picture.width / 4)
    right, bottom = picture.width - 12, picture.height - 12
    left = right - round(length_um / um_per_px)
    draw = ImageDraw.Draw(picture)
    font = caption_font("DejaVuSans-Bold", _SMALL_PX)
    label = length_label(length_um)
    room = max(font.getlength(label), right - left)
    draw.rectangle([right - room - 8, bottom - 28, right + 8, bottom + 8], fill=(255, 255, 255))
    draw.rectangle([left, bottom - 3, right, bottom], fill=(20, 20, 20))
    draw.text(((left + right) / 2, bottom - 14), label, fill=(20, 20, 20), font=font, anchor="mm")
