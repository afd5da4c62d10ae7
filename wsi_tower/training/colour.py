"""Changes of colour, a batch at once, each sample by an amount of its own.

Pictures are (B, C, H, W) in [0, 1]; amounts are (B,). What has no meaning for grey pictures leaves
them as they are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = [
    "blurred",
    "greyed",
    "haematoxylin",
    "with_brightness",
    "with_contrast",
    "with_hue",
    "with_saturation",
    "with_stain",
]

_LUMA = (0.2989, 0.587, 0.114)
"""Shares of red, green and blue in brightness (ITU-R BT.601, as torchvision rounds them)."""

_HED = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical densities in red, green and blue of haematoxylin, eosin and DAB (Ruifrok and Johnston
2001, table 1)."""

_DARKEST = 1e-6
"""Light that a pixel keeps at least, so that its density is finite."""


def with_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Brightness times a factor."""
    return (images * _each(factors)).clamp(0, 1)


def with_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Distance from the picture's mean brightness times a factor."""
    means = _luma(images).mean(dim=(2, 3), keepdim=True)
    return _blended(images, means, factors)


def with_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Distance from each pixel's own grey times a factor."""
    if images.shape[1] == 1:
        return images
    return _blended(images, _luma(images), factors)


def greyed(images: Tensor, chosen: Tensor) -> Tensor:
    """The chosen pictures without colour; ``chosen`` is bool (B,)."""
    return torch.where(_each(chosen), _luma(images), images)


def with_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Hue moved on by a part of the whole circle, in HSV (Smith 1978)."""
    if images.shape[1] == 1:
        return images
    value, least = images.amax(dim=1), images.amin(dim=1)
    chroma = value - least
    sextant = torch.remainder(_sextant(images, value, chroma) + 6 * turns[:, None, None], 6)
    planes = []
    for offset in (5.0, 3.0, 1.0):
        place = torch.remainder(sextant + offset, 6)
        share = torch.minimum(place, 4 - place).clamp(0, 1)
        planes.append(value - chroma * share)
    return torch.stack(planes, dim=1)


def haematoxylin(images: Tensor) -> Tensor:
    """Amount of haematoxylin of each pixel, in decadic optical density (Ruifrok and Johnston 2001).

    Args:
        images: (B, 3, H, W) with values in [0, 1].

    Returns:
        (B, H, W); below 0 where what lies there is no sum of the three dyes.
    """
    unmixing = torch.linalg.inv(torch.tensor(_HED, dtype=torch.float64))
    column = unmixing[:, 0].to(images.device, torch.float32)
    # A grey level is the darkest that 8 bits tell from black.
    return torch.einsum("bchw,c->bhw", -images.clamp(min=1 / 255).log10(), column)


def with_stain(images: Tensor, factors: Tensor, shifts: Tensor) -> Tensor:
    """Amounts of haematoxylin, eosin and a third dye times a factor, plus a shift.

    As Tellez et al. 2018 and 2019 (doi 10.1016/j.media.2019.101544) augment H&E, in decadic
    optical density. Dyes are not cut off at 0, so that a factor of 1 and no shift change nothing.

    Args:
        images: (B, 3, H, W); (B, 1, H, W) come back as they are.
        factors: of the three dyes, (B, 3).
        shifts: of their optical densities, (B, 3).
    """
    if images.shape[1] == 1:
        return images
    dyes = torch.tensor(_HED, device=images.device, dtype=torch.float64)
    unmixing = torch.linalg.inv(dyes)
    # One map of densities: apart into dyes, each by its factor, together again.
    maps = torch.einsum("cd,bd,de->bec", unmixing, factors.double(), dyes).float()
    moved = torch.einsum("bd,de->be", shifts.double(), dyes).float() * math.log(10)
    light = images.clamp(min=_DARKEST).log()
    planes = [
        sum(maps[:, out, one, None, None] * light[:, one] for one in range(3))
        - moved[:, out, None, None]
        for out in range(3)
    ]
    return torch.stack(planes, dim=1).exp().clamp(0, 1)


def blurred(images: Tensor, sigmas_px: Tensor, largest_px: float) -> Tensor:
    """Gaussian blur; a sigma of 0 changes nothing.

    Args:
        images: to blur.
        sigmas_px: of each picture.
        largest_px: the largest that there can be: the kernel reaches three times as far.
    """
    radius = min(math.ceil(3 * largest_px), min(images.shape[2:]) - 1)
    places = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    # A sigma of 0 leaves one weight, the middle one.
    exponents = -0.5 * (places / sigmas_px.clamp(min=1e-3)[:, None]).square()
    kernels = exponents.exp() / exponents.exp().sum(dim=1, keepdim=True)
    batch, channels, height, width = images.shape
    kernels = kernels.repeat_interleave(channels, dim=0)[:, None]
    flat = images.reshape(1, batch * channels, height, width)
    for axis, padding in ((2, (0, 0, radius, radius)), (3, (radius, radius, 0, 0))):
        padded = nn.functional.pad(flat, padding, mode="reflect")
        weights = kernels.unsqueeze(5 - axis)
        flat = nn.functional.conv2d(padded, weights, groups=batch * channels)
    return flat.view(images.shape)


def _each(amounts: Tensor) -> Tensor:
    return amounts[:, None, None, None]


def _luma(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, one, None] for one in range(3))
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _blended(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    factors = _each(factors)
    return (images * factors + others * (1 - factors)).clamp(0, 1)


def _sextant(images: Tensor, value: Tensor, chroma: Tensor) -> Tensor:
    """Hue from 0 to below 6: red at 0, green at 2, blue at 4; 0 for grey."""
    red, green, blue = images.unbind(dim=1)
    safe = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    of_green, of_blue = 2 + (blue - red) / safe, 4 + (red - green) / safe
    sextant = torch.where(value == green, of_green, of_blue)
    return torch.where(value == red, (green - blue) / safe, sextant)
