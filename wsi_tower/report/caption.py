"""The strip under a slide's picture: who it is on the left, how long a millimetre is on the right.

Kept below the picture rather than on it, so that it never hides tissue.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "INK",
    "PAPER",
    "QUIET_INK",
    "Caption",
    "caption_font",
    "fitted_words",
    "length_label",
    "printable_text",
    "round_length_um",
    "shortened_text",
    "with_caption",
]

STRIP_PX = 52
"""Height of the strip."""
MIN_WIDTH_PX = 760
"""A narrower picture is centred on white, so that the strip has room for its words."""
BAR_SHARE = 0.16
"""Part of the picture's width that the scale bar fills at most."""
INK = (29, 32, 40)
QUIET_INK = (92, 97, 110)
PAPER = (255, 255, 255)
_RULE = (222, 224, 230)
_FONT_PX = 19
_MARGIN_PX = 18
_GAP_PX = 14
_BAR_PX = 5


@dataclass(frozen=True, slots=True)
class Caption:
    """What the strip says."""

    title: str
    """The slide; cut in the middle where it is too long even alone."""
    facts: tuple[str, ...]
    """What follows it in lighter ink; the last are left out where room is short."""
    um_per_px: float
    """Micrometres per pixel of the picture along x, for the scale bar."""


def round_length_um(limit_um: float) -> float:
    """The longest of 1, 2 or 5 times a power of ten that is not above ``limit_um`` (> 0)."""
    power = 10.0 ** math.floor(math.log10(limit_um))
    fitting = [step * power for step in (1, 2, 5) if step * power <= limit_um]
    return max(fitting, default=power)


def length_label(length_um: float) -> str:
    """A length as people write it: ``500 µm``, ``2 mm``, ``1 cm``."""
    for unit_um, unit in ((1e4, "cm"), (1e3, "mm")):
        if length_um >= unit_um:
            return f"{length_um / unit_um:.4g} {unit}"
    return f"{length_um:.4g} µm"


def with_caption(picture: Image.Image, caption: Caption) -> Image.Image:
    """The picture with the strip under it, centred on white where it is narrow."""
    width = max(picture.width, MIN_WIDTH_PX)
    canvas = Image.new("RGB", (width, picture.height + STRIP_PX), PAPER)
    canvas.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    draw.line([(0, picture.height), (width, picture.height)], fill=_RULE)
    middle = picture.height + STRIP_PX // 2
    right = _draw_scale_bar(draw, caption.um_per_px, picture.width, (width - _MARGIN_PX, middle))
    _draw_words(draw, caption, right - 2 * _GAP_PX, middle)
    return canvas


def _draw_scale_bar(
    draw: ImageDraw.ImageDraw, um_per_px: float, picture_width: int, end: tuple[int, int]
) -> int:
    """Draw bar and label so that they end at ``end`` (right, middle); returns their left edge."""
    right, middle = end
    length_um = round_length_um(um_per_px * picture_width * BAR_SHARE)
    label = length_label(length_um)
    left = right - max(1, round(length_um / um_per_px))
    top = middle - _BAR_PX // 2
    draw.rectangle([left, top, right - 1, top + _BAR_PX - 1], fill=INK)
    label_right = left - _GAP_PX
    draw.text((label_right, middle), label, fill=INK, font=caption_font("DejaVuSans"), anchor="rm")
    return int(label_right - caption_font("DejaVuSans").getlength(label))


def _draw_words(draw: ImageDraw.ImageDraw, caption: Caption, right: int, middle: int) -> None:
    bold, regular = caption_font("DejaVuSans-Bold"), caption_font("DejaVuSans")
    title, facts = fitted_words(caption, right - _MARGIN_PX)
    draw.text((_MARGIN_PX, middle), title, fill=INK, font=bold, anchor="lm")
    left = _MARGIN_PX + (bold.getlength(title) + _GAP_PX if title else 0)
    draw.text((left, middle), facts, fill=QUIET_INK, font=regular, anchor="lm")


def fitted_words(caption: Caption, room_px: float) -> tuple[str, str]:
    """Title and facts as they fit side by side: facts go first, the last one before the others."""
    bold, regular = caption_font("DejaVuSans-Bold"), caption_font("DejaVuSans")
    title = printable_text(caption.title)
    rest_px = room_px - (bold.getlength(title) + _GAP_PX if title else 0)
    lines = (" · ".join(caption.facts[:kept]) for kept in range(len(caption.facts), 0, -1))
    facts = next((line for line in lines if regular.getlength(line) <= rest_px), "")
    return shortened_text(title, bold, room_px), facts


def printable_text(text: str) -> str:
    """``text`` without what makes the font refuse: line breaks, undecodable bytes of file names."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def shortened_text(text: str, font: ImageFont.FreeTypeFont, room_px: float) -> str:
    """``text`` with its middle cut out until it fits: slide names differ at both ends."""

    def cut(kept: int) -> str:
        return text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]

    if font.getlength(text) <= room_px:
        return text
    too_many = bisect_right(range(len(text)), room_px, key=lambda kept: font.getlength(cut(kept)))
    return cut(too_many - 1) if too_many else ""


@lru_cache(maxsize=8)
def caption_font(name: str, size_px: int = _FONT_PX) -> ImageFont.FreeTypeFont:
    """``DejaVuSans`` or ``DejaVuSans-Bold``."""
    # matplotlib brings DejaVu, which has µ, × and most alphabets; Pillow's own font lacks µ.
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(path), size_px)
