"""Connected regions of masks: which to keep, which holes to fill.

Label images take four bytes a pixel and indexing with one would take eight more, so whatever looks
up labels goes strip by strip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from wsi_tower.tissue.mask import Mask

__all__ = ["closed", "filled", "grown", "widened"]

_STRIP_PIXELS = 1 << 20


def grown(weak: Mask, sure: Mask, *, min_px: float, min_share: float = 0.0) -> Mask:
    """Regions of ``weak`` that hold enough of ``sure``.

    Args:
        weak: where the region may be; H × W.
        sure: where it is; counted within ``weak`` only.
        min_px: pixels that a region must have.
        min_share: share of a region that must be sure. At least one pixel must, whatever this is.
    """
    if not (sure & weak).any():
        return np.zeros_like(weak)
    left, top, width, height = cv2.boundingRect(weak.view(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    labels, areas = _labelled(weak[box], connectivity=8)
    seeds = _counts(labels, sure[box], len(areas))
    result = np.zeros_like(weak)
    result[box] = _kept(labels, (areas >= min_px) & (seeds > 0) & (seeds >= min_share * areas))
    return result


def filled(mask: Mask, forbidden: Mask, max_px: float) -> Mask:
    """A mask with its holes of at most ``max_px`` pixels filled, except where ``forbidden``."""
    holes = mask | forbidden
    np.logical_not(holes, out=holes)
    labels, areas = _labelled(holes, connectivity=4)
    del holes
    return mask | _kept(labels, areas <= max_px)


def closed(mask: Mask, radius_px: int) -> Mask:
    """A mask with gaps narrower than twice the radius bridged; its outer edge stays."""
    side = 2 * radius_px + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    bridged = cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_CLOSE, disc)
    return np.asarray(bridged, np.uint8).view(np.bool_)


def widened(mask: Mask, radius_px: int) -> Mask:
    """A mask grown by a square of a radius."""
    square = np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.view(np.uint8), square), np.uint8).view(np.bool_)


def _labelled(mask: Mask, connectivity: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels (0 is outside) and the area of each; that of 0 is set to 0."""
    # NumPy asks for huge pages and OpenCV does not: first touching them costs more than labelling.
    labels = np.empty(mask.shape, np.int32)
    # OpenCV's own statistics take five times as long, most of it for centroids.
    number, _ = cv2.connectedComponents(mask.view(np.uint8), labels, connectivity=connectivity)
    areas = np.zeros(number, np.int64)
    for rows in _strips(labels.shape):
        areas += np.bincount(labels[rows].ravel(), minlength=number)
    areas[0] = 0
    return labels, areas


def _counts(labels: NDArray[np.int32], marked: Mask, number: int) -> NDArray[np.int64]:
    """How many marked pixels each label has; label 0 has none."""
    counts = np.zeros(number, np.int64)
    for rows in _strips(labels.shape):
        counts += np.bincount(labels[rows][marked[rows]], minlength=number)
    counts[0] = 0
    return counts


def _kept(labels: NDArray[np.int32], keep: Mask) -> Mask:
    keep = keep.copy()
    keep[0] = False
    result = np.empty(labels.shape, np.bool_)
    for rows in _strips(labels.shape):
        # No label is out of bounds; to clip takes half the time of checking that.
        np.take(keep, labels[rows], out=result[rows], mode="clip")
    return result


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    rows = max(1, _STRIP_PIXELS // max(1, shape[1]))
    for top in range(0, shape[0], rows):
        yield slice(top, top + rows)
