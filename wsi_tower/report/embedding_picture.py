"""One picture per slide of what its features tell apart: like features have like colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wsi_tower.report.caption import Caption, with_caption
from wsi_tower.report.picture import frame_for, picture_facts, resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.geometry import Mpp
    from wsi_tower.slides import Overview

__all__ = ["embedding_picture", "feature_colours"]

_BETWEEN_PX = 16
_GLASS = 244
"""Grey of what no tile covers."""
_FITTED_TILES = 5_000
_SUBSPACE, _ROUNDS = 8, 12
_LEAST_SPREAD = 1e-6
_ENDS = (1.0, 99.0)
"""Percentiles that become the darkest and the brightest: a few odd tiles must not fade the rest."""
_DARKEST, _BRIGHTEST = 40, 235


def embedding_picture(  # noqa: PLR0913 - a slide, its tiles, and how to show them
    overview: Overview,
    xy_l0: NDArray[np.int64],
    features: NDArray[np.floating[Any]],
    footprint_l0: int,
    mpp: Mpp,
    *,
    title: str = "",
    max_px: int = 1000,
) -> Image.Image:
    """The slide, and beside it its tiles in the colours of `feature_colours`.

    Args:
        overview: the whole slide.
        xy_l0: int64 (N, 2) top-left corners of the tiles in level-0 pixels.
        features: a row a tile, (N, D).
        footprint_l0: side of a tile in level-0 pixels.
        mpp: pixel size of level 0.
        title: name of the slide.
        max_px: longer side of either half.

    Returns:
        An RGB image with a strip below that tells how long a millimetre is.
    """
    frame = frame_for(overview, max_px)
    slide = resized(overview.rgb, frame)
    tiles = np.full_like(slide, _GLASS)
    colours = feature_colours(features)
    for square, colour in zip(frame.squares(xy_l0, footprint_l0).tolist(), colours, strict=True):
        left, top, right, bottom = square
        tiles[top : max(bottom, top + 1), left : max(right, left + 1)] = colour
    side_by_side = frame.width <= frame.height * 2
    gap = (frame.height, _BETWEEN_PX, 3) if side_by_side else (_BETWEEN_PX, frame.width, 3)
    both = np.concatenate([slide, np.full(gap, 255, np.uint8), tiles], axis=int(side_by_side))
    facts = (
        *picture_facts(len(xy_l0), footprint_l0 * mpp.mean, mpp),
        "like colours, like features",
    )
    caption = Caption(title, facts, um_per_px=mpp.x / frame.x_scale)
    return with_caption(Image.fromarray(both), caption)


def feature_colours(features: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Colours (N, 3) of features (N, D): red, green and blue are their first principal components.

    What varies most among the slide's tiles is red. Where there are fewer components, the last
    colours are of middle brightness throughout.
    """
    values = np.asarray(features, np.float32)
    centred = values - values.mean(axis=0, dtype=np.float64).astype(np.float32)
    axes = _principal_axes(centred[:: max(1, len(values) // _FITTED_TILES)])
    parts = centred @ axes
    low, high = np.percentile(parts, _ENDS, axis=0)
    varies = high - low > _LEAST_SPREAD * max(1e-30, float(np.abs(values).max()))
    shares = np.full((len(values), 3), 0.5)
    found = np.clip((parts - low) / np.where(varies, high - low, 1), 0, 1)
    shares[:, : parts.shape[1]] = np.where(varies, found, 0.5)
    colours: NDArray[np.uint8] = (_DARKEST + shares * (_BRIGHTEST - _DARKEST)).astype(np.uint8)
    return colours


def _principal_axes(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first three principal axes of rows of mean 0, or as many as there are: (D, 3).

    By subspace iteration: an eigendecomposition takes seconds a slide at D = 2048.
    """
    width = centred.shape[1]
    start = np.random.default_rng(0).normal(size=(width, min(width, _SUBSPACE)))
    basis, _ = np.linalg.qr(start.astype(np.float32))
    for _ in range(_ROUNDS):
        basis, _ = np.linalg.qr(centred.T @ (centred @ basis))
    _, _, within = np.linalg.svd(centred @ basis, full_matrices=False)
    axes: NDArray[np.float32] = (basis @ within.T)[:, :3]
    # Which way an axis points is a matter of rounding; the largest part of it shall be positive.
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return axes
