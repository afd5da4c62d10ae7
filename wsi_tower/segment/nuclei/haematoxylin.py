"""Haematoxylin as the only witness: its amount, a threshold, and how well a mask parts it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from wsi_tower.training import haematoxylin

__all__ = ["between_class_share", "confident_pixels", "otsu_thresholds", "smoothed_haematoxylin"]

_BINS = 128
_TINY = 1e-8


def smoothed_haematoxylin(images: Tensor, sigma_px: float) -> Tensor:
    """Optical density of haematoxylin after a Gaussian: (B, H, W) of pictures (B, 3, H, W)."""
    density = haematoxylin(images)
    if sigma_px <= 0:
        return density
    reach = max(1, round(3 * sigma_px))
    along = torch.arange(-reach, reach + 1, device=images.device, dtype=density.dtype)
    line = torch.exp(-along.square() / (2 * sigma_px**2))
    line = line / line.sum()
    padded = functional.pad(density[:, None], [reach] * 4, mode="replicate")
    tall = functional.conv2d(padded, line[None, None, :, None])
    return functional.conv2d(tall, line[None, None, None, :])[:, 0]


def otsu_thresholds(values: Tensor) -> Tensor:
    """Threshold of largest between-class variance of each row (Otsu 1979): (B,) of (B, N)."""
    lows, highs = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    widths = (highs - lows).clamp(min=_TINY) / _BINS
    bins = ((values - lows) / widths).long().clamp(max=_BINS - 1)
    counts = torch.zeros(len(values), _BINS, device=values.device)
    counts.scatter_add_(1, bins, torch.ones_like(values, dtype=counts.dtype))
    shares = counts / values.shape[1]
    middles = torch.arange(_BINS, device=values.device) + 0.5
    below, sums = shares.cumsum(1), (shares * middles).cumsum(1)
    moved = (sums[:, -1:] * below - sums).square()
    variance = moved / (below * (1 - below)).clamp(min=_TINY)
    return lows[:, 0] + widths[:, 0] * (variance[:, :-1].argmax(1) + 1)


def confident_pixels(density: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Pixels that are surely dark with haematoxylin, and those that surely are not.

    Each picture has its own threshold t (Otsu's) and the means of either side. Above t, a pixel is
    sure from ``margin`` of the way to the upper mean on; below likewise.

    Args:
        density: (B, H, W).
        margin: 0 makes every pixel sure.

    Returns:
        Two masks (B, H, W); what is in neither is not sure.
    """
    flat = density.flatten(1)
    threshold = otsu_thresholds(flat)[:, None]
    is_dark = flat >= threshold
    dark = (flat * is_dark).sum(1, keepdim=True) / is_dark.sum(1, keepdim=True).clamp(min=1)
    is_pale = ~is_dark
    pale = (flat * is_pale).sum(1, keepdim=True) / is_pale.sum(1, keepdim=True).clamp(min=1)
    yes = is_dark & (flat >= threshold + margin * (dark - threshold))
    no = is_pale & (flat <= threshold - margin * (threshold - pale))
    return yes.view_as(density), no.view_as(density)


def between_class_share(density: Tensor, masks: Tensor) -> Tensor:
    """How much of haematoxylin's variance a mask explains: 0 none of it, 1 all.

    w (1 - w) (m₁ - m₀)² over the variance, with w the mask's share of the picture and m the means
    inside and outside: what Otsu's threshold makes largest among thresholds. 0 where the mask is
    empty, full, or paler than the rest.

    Args:
        density: (B, H, W).
        masks: bool (B, K, H, W).

    Returns:
        Mean over pictures: (K,).
    """
    weights = masks.flatten(2).to(density.dtype)
    flat = density.flatten(1)[:, None]
    share = weights.mean(2)
    inside = (weights * flat).mean(2) / share.clamp(min=_TINY)
    outside = ((1 - weights) * flat).mean(2) / (1 - share).clamp(min=_TINY)
    variance = flat.var(2, unbiased=False).clamp(min=_TINY)
    explained = share * (1 - share) * (inside - outside).square() / variance
    return torch.where(inside > outside, explained, torch.zeros_like(explained)).mean(0)
