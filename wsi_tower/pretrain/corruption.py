"""Corrupted pictures, from which `tower` restores the clean ones: intensity and masks.

Both are TOWER's (Chen et al. 2023, arXiv 2211.14715) as its authors released them, made for a whole
batch at once where the batch lies. Intensity by density is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsi_tower.errors import SettingsError
from wsi_tower.pretrain.values import check_choice, check_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.training import TensorDraws

__all__ = [
    "Corruption",
    "CorruptionSettings",
    "Intensity",
    "MaskShape",
    "block_mask",
    "ray_mask",
    "stripe_mask",
]

Intensity: TypeAlias = Literal["curves", "density", "none"]
"""What is drawn through a curve: light, amounts of stain, or nothing."""
MaskShape: TypeAlias = Literal["blocks", "stripes", "rays", "none"]
"""What is cut out."""

Point: TypeAlias = tuple[float, float]
ControlPoints: TypeAlias = tuple[Point, Point, Point, Point]

LIGHT_CURVES: tuple[ControlPoints, ...] = (
    ((0, 0), (0, 0), (1, 1), (1, 1)),
    ((0, 0), (0, 1), (1, 0), (1, 1)),
    ((0, 0), (0.25, 0.75), (0.75, 0.25), (1, 1)),
)
"""Control points of the published cubic Bézier curves, each also taken upside down. All six meet in
(½, ½); the first is the identity, and upside down the negative."""
DENSITY_CURVES: tuple[ControlPoints, ...] = (
    ((0, 0), (0, 0), (1, 1), (1, 1)),
    ((0, 0), (0.25, 0.75), (0.75, 0.25), (1, 1)),
    ((0, 0), (0.75, 0.25), (0.25, 0.75), (1, 1)),
)
"""Curves for amounts of stain: as they were, deeper, paler. All rise from (0, 0), so glass stays
glass and more stain stays darker, and no slope exceeds 3 there, so noise of the glass stays faint:
the published second curve begins upright and would stain it."""
STAIN_DENSITIES = ((0.56, 0.73, 0.39), (0.12, 0.82, 0.56))
"""Optical densities of haematoxylin and eosin in red, green and blue: the H&E pair of G. Landini's
Colour Deconvolution, by the method of Ruifrok and Johnston 2001. Their own pair is of HED stains:
it takes eosin for too blue, and paler eosin then turns orange."""
DEEPEST_DENSITY = 2.0
"""Decadic density that curves leave as it is: a hundredth of the light, the darkest of nuclei."""

_FAINTEST_LIGHT = 1 / 255
_CURVE_POINTS = 1000
"""Points at which the paper's code interpolates a curve."""
_TABLE_ENTRIES = 1024
"""Four to a grey level of 8 bits: reading between them is within 1/1000 of the curve."""
_RAY_HALF_WIDTH_PX = 2.0
_RAYS_FOR_PX = 512
"""Side of the retinal pictures for which the number of rays was published."""
_BLUR_PX, _BLUR_SIGMA_PX = 21, 3.5
"""Width of the blur before the brightest point is sought, and the deviation that OpenCV takes for
that width."""


@dataclass(frozen=True, slots=True)
class CorruptionSettings:
    """How pictures are corrupted."""

    intensity: Intensity = "curves"
    """``curves``: light through one of six Bézier curves, as published, whichever colour comes out.
    ``density``: amounts of haematoxylin and eosin through rising curves, so that it stays H&E
    (ours). ``none``."""
    mask: MaskShape = "blocks"
    """``blocks``: cells of a grid (published). ``stripes``: whole rows (in the released code).
    ``rays``: lines from the brightest point (published for retinas). ``none``."""
    mask_fraction: float = 0.33
    """Part of the cells or rows that is cut out, more than 0 and less than 1. Sources disagree: the
    published figure shows about a third, the released code says 0.25 and cuts out 0.75."""
    mask_cells: int = 32
    """Cells along each side of a picture (published); at most one a pixel."""
    mask_rays: int = 40
    """Rays to each of the four borders of a picture of 512 px (released code); to smaller ones as
    many fewer, so that no larger part of them is cut out."""

    def __post_init__(self) -> None:
        check_choice("intensity", self.intensity, get_args(Intensity))
        check_choice("mask", self.mask, get_args(MaskShape))
        if self.intensity == self.mask == "none":
            raise SettingsError(
                "intensity and mask are both 'none', so nothing would be corrupted; choose one"
            )
        if not 0 < self.mask_fraction < 1:
            raise SettingsError(
                f"mask_fraction is {self.mask_fraction:g}; choose more than 0 and less than 1"
            )
        check_count("mask_cells", self.mask_cells)
        check_count("mask_rays", self.mask_rays)


class Corruption(nn.Module):
    """Corrupts batches of pictures: intensity first, then the mask."""

    _curves: Tensor
    _stains: Tensor
    _unmixing: Tensor

    def __init__(self, settings: CorruptionSettings) -> None:
        super().__init__()
        self.settings = settings
        tables = _light_tables() if settings.intensity == "curves" else _tables(DENSITY_CURVES)
        stains = _stain_vectors()
        constants = {"_curves": tables, "_stains": stains, "_unmixing": np.linalg.inv(stains)}
        for name, values in constants.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def forward(self, images: Tensor, draws: TensorDraws) -> Tensor:
        """The same pictures, corrupted: values in [0, 1], 0 where they are masked.

        Args:
            images: (B, C, H, W), values in [0, 1]; one channel or more.
            draws: of the same B samples.
        """
        # Densities rounded to bfloat16 would show as steps of colour.
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            changed = self._with_intensity(images.float(), draws)
            mask = self._mask(images, draws)
            return changed if mask is None else changed.masked_fill(mask[:, None], 0.0)

    def _with_intensity(self, images: Tensor, draws: TensorDraws) -> Tensor:
        if self.settings.intensity == "none":
            return images
        kinds = len(self._curves)
        if self.settings.intensity == "curves":
            chosen = draws.below("corruption/curve", kinds)
            return _through(images, self._curves, chosen[:, None])
        stains = [draws.below(f"corruption/{name}", kinds) for name in ("haematoxylin", "eosin")]
        return self._restained(images, torch.stack(stains, dim=1))

    def _restained(self, images: Tensor, chosen: Tensor) -> Tensor:
        """Pictures whose amounts of haematoxylin and eosin went through one curve each: (B, 2)."""
        density = -images.clamp(min=_FAINTEST_LIGHT).log10()
        if images.shape[1] == 3:
            amounts = torch.einsum("bchw,cs->bshw", density, self._unmixing)
            stains = _with_curve(amounts[:, :2], self._curves, chosen)
            # What neither stain explains stays.
            amounts = torch.cat([stains, amounts[:, 2:]], dim=1)
            density = torch.einsum("bshw,sc->bchw", amounts, self._stains)
        else:
            density = _with_curve(density, self._curves, chosen[:, :1])
        return torch.pow(10.0, -density).clamp(0, 1)

    def _mask(self, images: Tensor, draws: TensorDraws) -> Tensor | None:
        height, width = images.shape[-2:]
        settings = self.settings
        match settings.mask:
            case "blocks":
                cells = (min(settings.mask_cells, height), min(settings.mask_cells, width))
                return block_mask(draws, settings.mask_fraction, cells, (height, width))
            case "stripes":
                return stripe_mask(draws, settings.mask_fraction, (height, width))
            case "rays":
                rays = math.ceil(settings.mask_rays * min(height, width) / _RAYS_FOR_PX)
                return ray_mask(images, draws, rays)
            case "none":
                return None


def block_mask(
    draws: TensorDraws, fraction: float, cells: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Cells of a grid drawn without replacement: of n exactly round(fraction × n) a sample.

    Args:
        draws: of B samples.
        fraction: part of the cells that is masked.
        cells: rows and columns of the grid.
        size: height and width of the pictures in pixels, no less than ``cells``.

    Returns:
        Whether a pixel is masked: bool (B, H, W).
    """
    rows, columns = (
        torch.arange(side, device=draws.device) * count // side
        for side, count in zip(size, cells, strict=True)
    )
    count = cells[0] * cells[1]
    grid = _lowest(draws.uniform("corruption/blocks", count), round(fraction * count))
    return grid.view(-1, *cells)[:, rows[:, None], columns]


def stripe_mask(draws: TensorDraws, fraction: float, size: tuple[int, int]) -> Tensor:
    """Whole rows of pixels, of H exactly round(fraction × H) a sample: bool (B, H, W)."""
    height, width = size
    rows = _lowest(draws.uniform("corruption/stripes", height), round(fraction * height))
    return rows[:, :, None].expand(-1, -1, width)


def ray_mask(images: Tensor, draws: TensorDraws, rays: int) -> Tensor:
    """Lines of 4 px from the brightest point of the blurred picture to each of the four borders.

    Args:
        images: (B, C, H, W).
        draws: of the same B samples.
        rays: random points of each border that a line leads to.

    Returns:
        Whether a pixel is masked: bool (B, H, W).
    """
    height, width = images.shape[-2:]
    down, right = _brightest(images)
    along = draws.uniform("corruption/rays", 4, rays)
    ends_y, ends_x = along * (height - 1), along * (width - 1)
    ends_y[:, 0], ends_y[:, 1], ends_x[:, 2], ends_x[:, 3] = 0, height - 1, 0, width - 1
    rays_at = torch.atan2(
        ends_y.flatten(1) - down[:, None], ends_x.flatten(1) - right[:, None]
    ).sort(dim=1)[0]
    y = torch.arange(height, device=images.device)[:, None] - down[:, None, None]
    x = torch.arange(width, device=images.device) - right[:, None, None]
    # All rays share their origin, so the nearest to a pixel is the nearest by angle.
    apart = _angle_to_nearest(torch.atan2(y, x).flatten(1), rays_at)
    beside = torch.hypot(y, x).flatten(1) * torch.sin(apart.clamp(max=math.pi / 2))
    return (beside < _RAY_HALF_WIDTH_PX).view(-1, height, width)


def _brightest(images: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of the brightest point after the blur: float (B,) each."""
    reach = _BLUR_PX // 2
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    weights = torch.exp(-(offsets**2) / (2 * _BLUR_SIGMA_PX**2))
    weights = weights / weights.sum()
    grey = functional.pad(images.float().mean(1, keepdim=True), [reach] * 4, mode="replicate")
    blurred = functional.conv2d(grey, weights.view(1, 1, -1, 1))
    blurred = functional.conv2d(blurred, weights.view(1, 1, 1, -1))
    places = blurred.flatten(1).argmax(dim=1)
    width = images.shape[-1]
    return (places // width).float(), (places % width).float()


def _angle_to_nearest(angles: Tensor, rays: Tensor) -> Tensor:
    """How far angles (B, N) are from the nearest of sorted ones (B, R), around the circle."""
    after = torch.searchsorted(rays, angles.contiguous())
    count = rays.shape[1]
    gaps = [(angles - rays.gather(1, place % count)).abs() for place in (after, after - 1 + count)]
    return torch.minimum(*(torch.minimum(gap, 2 * math.pi - gap) for gap in gaps))


def _lowest(scores: Tensor, count: int) -> Tensor:
    """Whether a score is one of the ``count`` lowest of its row: bool (B, N)."""
    chosen = scores.topk(count, dim=1, largest=False).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, chosen, value=True)


def _through(values: Tensor, tables: Tensor, chosen: Tensor) -> Tensor:
    """Values through the curve chosen for each sample, or each of its channels.

    Args:
        values: (B, C, H, W); those outside [0, 1] are taken as the nearer end.
        tables: K curves at equal steps from 0 to 1: (K, L).
        chosen: which curve: int64 (B, C) or (B, 1).
    """
    entries = tables.shape[1]
    place = values.clamp(0, 1) * (entries - 1)
    before = place.long().clamp(max=entries - 2)
    weight = place - before
    index = before + (chosen * entries)[:, :, None, None]
    return torch.lerp(tables.take(index), tables.take(index + 1), weight)


def _with_curve(amounts: Tensor, tables: Tensor, chosen: Tensor) -> Tensor:
    """Amounts in decadic density, drawn through curves from 0 to the deepest; others stay."""
    relative = amounts / DEEPEST_DENSITY
    within = relative.clamp(0, 1)
    return amounts + DEEPEST_DENSITY * (_through(within, tables, chosen) - within)


def _stain_vectors() -> NDArray[np.float32]:
    """Densities of haematoxylin, eosin and the rest, unit rows: (3, 3)."""
    stains = np.array(STAIN_DENSITIES)
    vectors = np.vstack([stains, np.cross(*stains)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def _light_tables() -> NDArray[np.float32]:
    rising = _tables(LIGHT_CURVES)
    return np.concatenate([rising, rising[:, ::-1]])


def _tables(curves: Sequence[ControlPoints]) -> NDArray[np.float32]:
    """Curves at equal steps of x from 0 to 1: (K, L)."""
    places = np.linspace(0, 1, _TABLE_ENTRIES)
    rows = [np.interp(places, *_bezier(points)) for points in curves]
    return np.asarray(rows, np.float32)


def _bezier(points: ControlPoints) -> NDArray[np.float64]:
    """Both coordinates along a cubic Bézier curve, in Bernstein's form: (2, points)."""
    t = np.linspace(0, 1, _CURVE_POINTS)
    weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
    return np.asarray(points).T @ np.asarray(weights)
