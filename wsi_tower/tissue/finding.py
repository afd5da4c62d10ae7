"""From an overview to a tissue mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.tissue.colour import Sign, read_colours
from wsi_tower.tissue.mask import TissueMask
from wsi_tower.tissue.regions import closed, filled, grown, widened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.geometry import Mpp
    from wsi_tower.slides import Overview
    from wsi_tower.tissue.mask import Mask
    from wsi_tower.tissue.settings import TissueSettings

__all__ = ["METHOD", "find_tissue", "pen_mask"]

METHOD = "stain-1"
"""Name and version of the method; part of every artefact's settings, so raise it with any change
that moves a mask."""

_GAP_UM = 8.0
"""Half the width of gaps in tissue that are bridged: cracks between cells and fibres."""
_PEN_GAP_PX = 2
_PEN_RIM_PX = 1
"""Pen is blurred with its surroundings by this much."""
_PEN_SHARE = 0.25
"""Share of a pen mark that must be sure of its colour; black tissue by a speck of ink is less."""
_MAX_PIECE_SHARE = 0.05
"""Share of the picture above which a piece of tissue is kept, however small the picture."""


def find_tissue(overview: Overview, mpp: Mpp, settings: TissueSettings) -> TissueMask:
    """Find tissue and pen marks on an overview.

    Works pixel by pixel on colour relative to the slide's white, without a threshold taken from
    the picture: a picture may be all tissue or all glass. Pen over tissue is pen.

    Args:
        overview: the whole slide.
        mpp: micrometres per level-0 pixel.
        settings: areas and thresholds.

    Returns:
        Masks on the overview's grid; the tissue mask is empty where there is none.
    """
    pixel_um = overview.pitch_l0 * mpp.mean
    signs, density = read_colours(overview.rgb, settings)
    pen = pen_mask(signs, settings.min_pen_um2 / pixel_um**2)
    free = ~pen
    weak = closed(_shows(signs, Sign.STAINED) & free, max(1, round(_GAP_UM / pixel_um))) & free
    min_px = min(settings.min_tissue_um2 / pixel_um**2, _MAX_PIECE_SHARE * weak.size)
    sure = _shows(signs, Sign.SURELY_STAINED) & free
    del free, signs  # memory: label images come next
    tissue = grown(weak, sure, min_px=min_px)
    del weak, sure
    tissue = filled(tissue, pen, settings.max_hole_um2 / pixel_um**2)
    return TissueMask(tissue, pen, density, overview.pitch_l0, mpp)


def pen_mask(signs: NDArray[np.uint8], min_px: float) -> Mask:
    """Pen marks of any colour, from the pixels' signs.

    Args:
        signs: H × W, bits of `Sign`.
        min_px: pixels of the smallest mark.
    """
    pen = np.zeros(signs.shape, np.bool_)
    for weak, sure in (
        (Sign.COLD_PEN, Sign.SURELY_COLD_PEN),
        (Sign.RED_PEN, Sign.SURELY_RED_PEN),
    ):
        pen |= grown(_shows(signs, weak), _shows(signs, sure), min_px=min_px, min_share=_PEN_SHARE)
    if not pen.any():
        return pen
    return widened(closed(pen, _PEN_GAP_PX), _PEN_RIM_PX)


def _shows(signs: NDArray[np.uint8], sign: Sign) -> Mask:
    shown: Mask = (signs & np.uint8(sign)) != 0
    return shown
