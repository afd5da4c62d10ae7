"""Crops of a batch, flipped, turned and scaled: where every pixel of a view comes from.

Each sample has one linear map from its view to its tile. Where every map only moves whole pixels,
pixels are copied; else each is the mean of the tile under it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from wsi_tower.training.augment import AugmentSettings
    from wsi_tower.training.objective import TensorDraws

__all__ = ["cropped"]

_MOST_SHRUNK = 1.5
"""Tile pixels from one sample to the next up to which bilinear sampling skips none of note."""


def cropped(images: Tensor, settings: AugmentSettings, draws: TensorDraws, view: str) -> Tensor:
    """A crop of each picture: float32 (B, C, crop, crop), values in [0, 255].

    Args:
        images: uint8 (B, C, H, W).
        settings: of crop, scale, flips and turns.
        draws: of the batch.
        view: name of the view, part of each draw's.
    """
    maps = _turned_and_flipped(settings, draws, view)
    if settings.moves_whole_pixels:
        corners = _corners(images, settings.crop_px, draws, view)
        return _copied(images, maps, corners, settings.crop_px)
    sides_px = _window_sides(settings, draws, view)
    maps = _rotated(maps, settings.rotate_deg, draws, view)
    centres = _centres(images, maps, sides_px, draws, view)
    maps = maps * (sides_px / settings.crop_px)[:, None, None]
    return _resampled(images, maps, centres, settings)


def _turned_and_flipped(settings: AugmentSettings, draws: TensorDraws, view: str) -> Tensor:
    """A map from view to tile of each sample, (y, x) to (y, x) about the middle: (B, 2, 2)."""
    maps = torch.eye(2, device=draws.device).repeat(len(draws), 1, 1)
    if settings.quarter_turns:
        turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], device=draws.device)
        powers = torch.stack([torch.linalg.matrix_power(turn, count) for count in range(4)])
        maps = powers[draws.below(f"{view}/turns", 4)]
    if settings.flips:
        both = [draws.chance(f"{view}/{name}", 0.5) for name in ("upside-down", "mirrored")]
        maps = maps * (1 - 2 * torch.stack(both, dim=1).float())[:, None, :]
    return maps


def _rotated(maps: Tensor, degrees: float, draws: TensorDraws, view: str) -> Tensor:
    if degrees == 0:
        return maps
    reach = math.radians(degrees)
    angles = draws.uniform(f"{view}/angle", low=-reach, high=reach)
    cosine, sine = angles.cos(), angles.sin()
    rotation = torch.stack([cosine, sine, -sine, cosine], dim=1).view(-1, 2, 2)
    # Row by column by hand: a matrix product may add up in another order in another batch.
    return (rotation[:, :, :, None] * maps[:, None, :, :]).sum(dim=2)


def _window_sides(settings: AugmentSettings, draws: TensorDraws, view: str) -> Tensor:
    """Side of the window that each crop shows, in pixels of the tile: (B,)."""
    low, high = settings.scale
    return settings.crop_px * draws.uniform(f"{view}/scale", low=low, high=high).sqrt()


def _corners(images: Tensor, crop_px: int, draws: TensorDraws, view: str) -> Tensor:
    """First row and column of each window of whole pixels: int64 (B, 2)."""
    height, width = images.shape[2:]
    return torch.stack(
        [
            draws.below(f"{view}/top", height - crop_px + 1),
            draws.below(f"{view}/left", width - crop_px + 1),
        ],
        dim=1,
    )


def _copied(images: Tensor, maps: Tensor, corners: Tensor, crop_px: int) -> Tensor:
    """The pixels that maps of 0 and ±1 lead to, none of them changed."""
    batch, channels, _, width = images.shape
    middle = (crop_px - 1) / 2
    places = _places(maps, crop_px, 1) + (corners + middle)[:, :, None, None]
    row, column = places.round().long().unbind(dim=1)
    # Pixel by pixel rather than plane by plane: readers and convolutions have channels last.
    pixels = images.permute(0, 2, 3, 1).reshape(batch, -1, channels)
    chosen = (row * width + column).view(batch, -1, 1).expand(-1, -1, channels)
    taken = pixels.gather(1, chosen).view(batch, crop_px, crop_px, channels)
    return taken.permute(0, 3, 1, 2).float()


def _places(maps: Tensor, crop_px: int, samples: int) -> Tensor:
    """Where the view's points lie, from the window's middle: rows and columns (B, 2, n, n).

    There are ``samples`` points along each side of a pixel, n in all.
    """
    count = crop_px * samples
    line = (torch.arange(count, device=maps.device, dtype=torch.float32) + 0.5) / samples
    line = line - crop_px / 2
    return maps[:, :, 0, None, None] * line[:, None] + maps[:, :, 1, None, None] * line


def _centres(
    images: Tensor, maps: Tensor, sides_px: Tensor, draws: TensorDraws, view: str
) -> Tensor:
    """Middle of each window, anywhere where the window lies in its tile: (B, 2).

    A rotated window whose corners fit nowhere is in the middle; its corners mirror the tile.
    """
    size = torch.tensor(images.shape[2:], device=images.device, dtype=torch.float32)
    reach = maps.abs().sum(dim=2) * sides_px[:, None] / 2
    room = (size - 2 * reach).clamp(min=0)
    return size / 2 + (draws.uniform(f"{view}/centre", 2) - 0.5) * room


def _resampled(images: Tensor, maps: Tensor, centres: Tensor, settings: AugmentSettings) -> Tensor:
    """Means of the tile under each pixel of the view, from points between four pixels each."""
    samples = max(1, math.ceil(math.sqrt(settings.scale[1]) / _MOST_SHRUNK))
    places = _places(maps, settings.crop_px, samples) + centres[:, :, None, None]
    size = torch.tensor(images.shape[2:], device=images.device, dtype=torch.float32)
    # grid_sample takes x first, and has -1 and 1 at the tile's outer edges.
    grid = (places * (2 / size)[:, None, None] - 1).flip(1).permute(0, 2, 3, 1)
    pixels = images.float().contiguous()
    taken = nn.functional.grid_sample(
        pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return nn.functional.avg_pool2d(taken, samples) if samples > 1 else taken
