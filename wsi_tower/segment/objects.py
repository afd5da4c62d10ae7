"""Objects of a mask: connected pixels, split where they narrow if asked for.

Pixels that touch at a corner only are apart, as in `tissue_outlines`: every object has one outline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["label_objects"]

_SMOOTHING_PX = 1.0
"""Of the distances, so that a ragged rim makes no middles of its own."""


def label_objects(mask: NDArray[np.bool_], *, split_px: float | None = None) -> NDArray[np.int32]:
    """Number the objects of a mask from 1 on: connected by sides.

    With ``split_px``, objects are split along the watershed of the distance to their rim (Beucher
    and Lantuéjoul 1979): each place that lies farther from the rim than all within ``split_px``
    around it is the middle of an object of its own.

    Args:
        mask: where objects are: (H, W).
        split_px: least distance between the middles of two objects; None leaves them connected.

    Returns:
        Numbers without gaps, 0 for none: (H, W).
    """
    whole = _connected(mask)
    if split_px is None or not whole.any():
        return whole
    from skimage.segmentation import watershed

    distance = cv2.distanceTransform(np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    smooth = np.asarray(cv2.GaussianBlur(distance, (0, 0), _SMOOTHING_PX), np.float32)
    markers = _middles(smooth, whole, split_px)
    parts: NDArray[np.int32] = watershed(-smooth, markers, mask=mask).astype(np.int32)
    # A small object beside a large one may have no middle of its own.
    without = _connected(mask & (parts == 0))
    parts[without > 0] = without[without > 0] + parts.max()
    return parts


def _connected(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    labels = np.empty(mask.shape, np.int32)
    cv2.connectedComponents(np.ascontiguousarray(mask).view(np.uint8), labels, connectivity=4)
    return labels


def _middles(
    distance: NDArray[np.float32], whole: NDArray[np.int32], split_px: float
) -> NDArray[np.int32]:
    """Numbered places that lie farther from the rim than all around them; 0 elsewhere."""
    reach = max(1, round(split_px))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    highest = (distance >= cv2.dilate(distance, disc)) & (whole > 0)
    middles = np.zeros(whole.shape, np.int32)
    cv2.connectedComponents(highest.view(np.uint8), middles, connectivity=8)
    # Objects that touch at a corner have middles of their own there, too.
    pairs = np.stack([middles[highest], whole[highest]], axis=1)
    _, numbers = np.unique(pairs, axis=0, return_inverse=True)
    middles[highest] = numbers.ravel() + 1
    return middles
