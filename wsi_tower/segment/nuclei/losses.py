"""What a window is, which are drawn, and what they lose (Boserup and Selvan 2023).

Values are those of the authors' released settings, see `ContrastSettings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Sets",
    "contrast_losses",
    "drawn_places",
    "pixel_entropy",
    "similarities",
    "window_means",
    "windows_at",
]

_LEAST_LOG = -100.0
_LEAST_WEIGHT = 0.001
"""Of a window in the draw, however undecided its pixels are."""


class Sets(NamedTuple):
    """Windows of one channel, over the whole batch, as rows of pixels."""

    anchors: Tensor
    """(A, D): drawn from the positives."""
    positives: Tensor
    """(P, D)."""
    negatives: Tensor
    """(N, D)."""


def pixel_entropy(confidence: Tensor) -> Tensor:
    """Binary entropy in bits, of any shape; 0 where the confidence is 0 or 1."""
    yes = torch.log2(confidence).clamp(min=_LEAST_LOG)
    no = torch.log2(1 - confidence).clamp(min=_LEAST_LOG)
    return -(confidence * yes + (1 - confidence) * no)


def window_means(maps: Tensor, window_px: int, stride_px: int) -> Tensor:
    """Mean of each window: (B, K, R, C) of maps (B, K, H, W), no window beyond an edge."""
    return functional.avg_pool2d(maps, window_px, stride_px)


def drawn_places(entropy: Tensor, draws: Tensor) -> Tensor:
    """Numbers of windows, drawn with replacement, decided ones rather than undecided.

    Args:
        entropy: mean entropy of each window: (B, K, W).
        draws: uniform in [0, 1): (B, K, n).

    Returns:
        (B, K, n) in [0, W), by probability max(1 - E, 0.001), normalised.
    """
    weights = (1 - entropy).clamp(min=_LEAST_WEIGHT)
    bounds = weights.cumsum(-1)
    places = torch.searchsorted(bounds, draws * bounds[..., -1:], right=True)
    return places.clamp(max=entropy.shape[-1] - 1)


def windows_at(maps: Tensor, tops: Tensor, lefts: Tensor, window_px: int) -> Tensor:
    """Windows of maps by one index: (B, n, C, window_px, window_px).

    Args:
        maps: (B, C, H, W).
        tops: (B, n) rows of their first pixels.
        lefts: (B, n) columns.
        window_px: their side.
    """
    along = torch.arange(window_px, device=maps.device)
    rows = (tops[..., None] + along)[..., :, None]
    columns = (lefts[..., None] + along)[..., None, :]
    batch = torch.arange(len(maps), device=maps.device)[:, None, None, None]
    # An index between slices puts its axes first: (B, n, h, w, C).
    return maps.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 1, 4, 2, 3)


def similarities(rows: Tensor, others: Tensor) -> Tensor:
    """Negative mean squared difference of every pair: (A, N) of rows (A, D) and (N, D)."""
    squares = rows.square().mean(1)[:, None] + others.square().mean(1)[None]
    return 2 / rows.shape[1] * (rows @ others.T) - squares


def contrast_losses(sets: list[Sets], pictures: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Loss within channels and between channels, summed over channels.

    For each anchor a and positive p of a channel, -s(a, p) + log Σ_n exp s(a, n), over the
    channel's negatives n within it, and over all other channels' positives between; divided by
    anchors² · pictures. No positive is in the sum.

    Args:
        sets: of each channel; none of them empty.
        pictures: B.
        temperature: similarities are divided by it.

    Returns:
        Two scalars; the second is 0 for one channel.
    """
    within = between = sets[0].anchors.new_zeros(())
    for number, own in enumerate(sets):
        scale = 1 / (len(own.anchors) ** 2 * pictures)
        near = similarities(own.anchors, own.positives) / temperature
        far = similarities(own.anchors, own.negatives) / temperature
        within = within + scale * (torch.logsumexp(far, 1, keepdim=True) - near).sum()
        others = [one.positives for place, one in enumerate(sets) if place != number]
        if others:
            apart = similarities(own.anchors, torch.cat(others)) / temperature
            between = between + scale * (torch.logsumexp(apart, 1, keepdim=True) - near).sum()
    return within, between
