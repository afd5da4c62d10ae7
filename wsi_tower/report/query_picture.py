"""What was asked beside what was found: tiles at one scale, with slide, distance and place."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from wsi_tower.report.caption import (
    INK,
    PAPER,
    QUIET_INK,
    caption_font,
    length_label,
    printable_text,
    round_length_um,
    shortened_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["QueryPanel", "query_picture"]

_MARGIN, _GAP = 28, 16
_QUERY_PX, _HIT_PX, _EXAMPLE_PX = 420, 256, 92
"""Side of the query's picture, of a hit's, and of an example's."""
_COLUMNS = 4
_LINE_PX = 24
_LINES = 3
_TITLE_PX = 44
_FONT_PX = 14
_BAR_SHARE, _BAR_PX = 0.4, 5
_QUERY_EDGE, _HIT_EDGE = (240, 163, 10), (205, 208, 216)
_MOST_ASKED = 9
_MOST_EXAMPLES = 4


@dataclass(frozen=True, slots=True, eq=False)
class QueryPanel:
    """A picture of something asked or found."""

    picture: NDArray[np.uint8]
    """height × width × 3."""
    lines: tuple[str, ...] = ()
    """What stands below it: the first in strong ink; three fit."""
    side_um: float | None = None
    """Micrometres along its longer side; None where scale is of no account."""


@dataclass(frozen=True, slots=True)
class _Sheet:
    """Something to draw on."""

    image: Image.Image
    draw: ImageDraw.ImageDraw

    def paste(self, panel: QueryPanel, corner: tuple[int, int], side: int, scale: float) -> None:
        """Draw a panel into a square, ``scale`` pixels a micrometre, cut or centred."""
        height, width = panel.picture.shape[:2]
        longer = side if panel.side_um is None else max(1, round(panel.side_um * scale))
        zoom = longer / max(height, width)
        size = max(1, round(width * zoom)), max(1, round(height * zoom))
        shown = Image.fromarray(panel.picture).resize(size, Image.Resampling.LANCZOS)
        left, top = ((side - length) // 2 for length in size)
        cell = Image.new("RGB", (side, side), PAPER)
        cell.paste(shown, (left, top))
        self.image.paste(cell, corner)

    def frame(self, corner: tuple[int, int], side: int, edge: tuple[int, int, int]) -> None:
        left, top = corner
        self.draw.rectangle([left - 2, top - 2, left + side + 1, top + side + 1], None, edge, 2)

    def write(self, lines: Sequence[str], corner: tuple[int, int], width: int) -> int:
        """Lines below each other; returns where the next one would begin."""
        left, top = corner
        for place, line in enumerate(lines):
            font = caption_font("DejaVuSans-Bold" if place == 0 else "DejaVuSans", _FONT_PX)
            text = shortened_text(printable_text(line), font, width)
            self.draw.text((left, top), text, INK if place == 0 else QUIET_INK, font)
            top += _LINE_PX
        return top

    def scale_bar(self, corner: tuple[int, int], side: int, scale: float) -> None:
        """A bar of a round length, with its length."""
        left, top = corner
        length_um = round_length_um(side * _BAR_SHARE / scale)
        right = left + max(1, round(length_um * scale))
        self.draw.rectangle([left, top, right - 1, top + _BAR_PX - 1], fill=INK)
        font = caption_font("DejaVuSans", _FONT_PX)
        self.draw.text((right + 10, top + 2), length_label(length_um), INK, font, anchor="lm")


def query_picture(
    title: str,
    asked: Sequence[QueryPanel],
    hits: Sequence[QueryPanel],
    *,
    like: Sequence[QueryPanel] = (),
    unlike: Sequence[QueryPanel] = (),
) -> bytes:
    """The query beside a grid of hits.

    Args:
        title: what was asked, in words.
        asked: the query's pictures; of several, nine are shown.
        hits: what was found, best first.
        like: positive examples; four are shown.
        unlike: negative examples; four are shown.

    Returns:
        A PNG file.
    """
    rows = max(1, math.ceil(len(hits) / _COLUMNS))
    cell_height = _HIT_PX + _LINES * _LINE_PX + _GAP
    right = 2 * _MARGIN + _QUERY_PX + _GAP
    examples = sum(bool(panels) for panels in (like, unlike))
    left_height = _QUERY_PX + (_LINES + 2) * _LINE_PX + examples * (_EXAMPLE_PX + 2 * _LINE_PX)
    width = right + _COLUMNS * (_HIT_PX + _GAP) - _GAP + _MARGIN
    height = _MARGIN + _TITLE_PX + max(left_height, rows * cell_height + _LINE_PX) + _MARGIN
    image = Image.new("RGB", (width, height), PAPER)
    sheet = _Sheet(image, ImageDraw.Draw(image))
    font = caption_font("DejaVuSans-Bold", 21)
    shown = shortened_text(printable_text(title), font, width - 2 * _MARGIN)
    sheet.draw.text((_MARGIN, _MARGIN - 6), shown, INK, font)
    top = _MARGIN + _TITLE_PX
    _draw_asked(sheet, asked, (like, unlike), top)
    _draw_hits(sheet, hits, (right, top))
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


def _side_um(panels: Sequence[QueryPanel]) -> float | None:
    return next((panel.side_um for panel in panels if panel.side_um is not None), None)


def _draw_asked(
    sheet: _Sheet,
    asked: Sequence[QueryPanel],
    examples: tuple[Sequence[QueryPanel], Sequence[QueryPanel]],
    top: int,
) -> None:
    """The query, as one picture or a mosaic, and examples below it."""
    shown = asked[:_MOST_ASKED]
    across = max(1, math.ceil(math.sqrt(len(shown))))
    side = _QUERY_PX // across
    side_um = _side_um(shown)
    scale = side / side_um if side_um else 1.0
    for place, panel in enumerate(shown):
        corner = (_MARGIN + place % across * side, top + place // across * side)
        sheet.paste(panel, corner, side, scale)
    sheet.frame((_MARGIN, top), _QUERY_PX, _QUERY_EDGE)
    top += _QUERY_PX + 12
    if side_um:
        sheet.scale_bar((_MARGIN, top), side, scale)
        top += _LINE_PX
    if shown:
        top = sheet.write(shown[0].lines[:_LINES], (_MARGIN, top), _QUERY_PX)
    for name, panels in zip(("more like", "less like"), examples, strict=True):
        if panels:
            top = _draw_examples(sheet, name, panels[:_MOST_EXAMPLES], top + _LINE_PX // 2)


def _draw_examples(sheet: _Sheet, name: str, panels: Sequence[QueryPanel], top: int) -> int:
    top = sheet.write((name,), (_MARGIN, top), _QUERY_PX)
    side_um = _side_um(panels)
    scale = _EXAMPLE_PX / side_um if side_um else 1.0
    for place, panel in enumerate(panels):
        corner = (_MARGIN + place * (_EXAMPLE_PX + _GAP), top)
        sheet.paste(panel, corner, _EXAMPLE_PX, scale)
        sheet.frame(corner, _EXAMPLE_PX, _HIT_EDGE)
    return top + _EXAMPLE_PX + _GAP


def _draw_hits(sheet: _Sheet, hits: Sequence[QueryPanel], corner: tuple[int, int]) -> None:
    """The grid of hits, all at the scale at which the largest fills its cell."""
    side_um = max((hit.side_um for hit in hits if hit.side_um is not None), default=None)
    scale = _HIT_PX / side_um if side_um else 1.0
    left, top = corner
    for place, hit in enumerate(hits):
        x = left + place % _COLUMNS * (_HIT_PX + _GAP)
        y = top + place // _COLUMNS * (_HIT_PX + _LINES * _LINE_PX + _GAP)
        sheet.paste(hit, (x, y), _HIT_PX, scale)
        sheet.frame((x, y), _HIT_PX, _HIT_EDGE)
        sheet.write(hit.lines[:_LINES], (x, y + _HIT_PX + 6), _HIT_PX)
    if side_um:
        rows = math.ceil(len(hits) / _COLUMNS)
        y = top + rows * (_HIT_PX + _LINES * _LINE_PX + _GAP)
        sheet.scale_bar((left, y), _HIT_PX, scale)
