"""Corruption against TOWER's own construction of curves and masks, and densities by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_tower.draws import Draws
from wsi_tower.errors import SettingsError
from wsi_tower.pretrain.corruption import (
    Corruption,
    CorruptionSettings,
    block_mask,
    ray_mask,
    stripe_mask,
)
from wsi_tower.training import TensorDraws

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

CPU = torch.device("cpu")
PUBLISHED: tuple[list[tuple[float, float]], ...] = (
    [(0, 0), (0, 0), (1, 1), (1, 1)],
    [(0, 0), (0, 1), (1, 0), (1, 1)],
    [(0, 0), (0.25, 0.75), (0.75, 0.25), (1, 1)],
)


def draws_of(samples: int, seed: int = 1, step: int = 0) -> TensorDraws:
    return TensorDraws(Draws(seed, step, range(samples)), CPU)


def pictures(samples: int = 4, channels: int = 3, side: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(samples + channels)
    return torch.rand(samples, channels, side, side, generator=generator)


def corrupted(images: Tensor, seed: int = 1, **settings: Any) -> Tensor:
    changed = Corruption(CorruptionSettings(**settings))(images, draws_of(len(images), seed))
    assert isinstance(changed, torch.Tensor)
    return changed


def curve_of_the_paper(
    points: list[tuple[float, float]], values: NDArray[np.float64], *, is_rising: bool
) -> NDArray[np.float64]:
    """Interpolation of 1000 points of a cubic Bézier curve; falling, x alone is put in order."""
    xs, ys = [], []
    for t in np.linspace(0, 1, 1000):
        weights = [math.comb(3, k) * t ** (3 - k) * (1 - t) ** k for k in range(4)]
        xs.append(sum(w * x for w, (x, _) in zip(weights, points, strict=True)))
        ys.append(sum(w * y for w, (_, y) in zip(weights, points, strict=True)))
    xs = sorted(xs)
    return np.asarray(np.interp(values, xs, sorted(ys) if is_rising else ys))


# -------------------------------------------------------------------- intensity


def ramps(samples: int = 64) -> Tensor:
    """The same ramp over all grey levels for every sample: (B, 3, 16, 16)."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    return levels.float().view(1, 1, 16, 16).expand(samples, 3, 16, 16)


def test_intensity_is_one_of_the_paper_s_six_curves() -> None:
    expected = np.array(
        [
            curve_of_the_paper(points, np.arange(256) / 255, is_rising=is_rising)
            for points in PUBLISHED
            for is_rising in (True, False)
        ]
    )
    changed = corrupted(ramps(), mask="none").flatten(2).numpy()
    # One curve for all channels.
    assert (changed == changed[:, :1]).all()
    errors = np.abs(changed[:, 0, None] - expected).max(axis=2)
    assert errors.min(axis=1).max() < 1e-3
    # All six occur, and no two are alike.
    assert set(errors.argmin(axis=1)) == set(range(6))
    assert np.sort(errors, axis=1)[:, 1].min() > 0.05


def test_curves_end_in_black_and_white_and_meet_in_the_middle() -> None:
    ends = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3).expand(40, 1, 1, 3)
    low, middle, high = corrupted(ends, mask="none").view(40, 3).T
    assert set(low.tolist()) == {0.0, 1.0}
    assert torch.equal(high, 1 - low)
    torch.testing.assert_close(middle, torch.full((40,), 0.5))


@pytest.mark.parametrize("intensity", ["curves", "density"])
@settings(deadline=None)
@given(value=st.floats(0, 1, width=32), other=st.floats(0, 1, width=32))
def test_curves_rise_or_fall_all_along(intensity: str, value: float, other: float) -> None:
    grey = torch.tensor(sorted((0, value, other, 1))).view(1, 1, 1, 4).expand(24, 1, 1, 4)
    steps = corrupted(grey, mask="none", intensity=intensity).view(24, 4).diff(dim=1)
    rising, falling = (steps > -1e-6).all(dim=1), (steps < 1e-6).all(dim=1)
    assert (rising | falling).all()
    # No stain turns glass black: densities only rise.
    assert bool(rising.all()) is (intensity == "density")


# ---------------------------------------------------------------------- density


def of_stain(haematoxylin: float, eosin: float) -> Tensor:
    """The colour of amounts of stain by Beer and Lambert: (3,)."""
    vectors = np.array([[0.56, 0.73, 0.39], [0.12, 0.82, 0.56]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    density = np.array([haematoxylin, eosin]) @ vectors
    return torch.from_numpy(10**-density).float()


def test_density_leaves_glass_glass_and_turns_nothing_around() -> None:
    glass = torch.full((32, 3, 8, 8), 1.0)
    torch.testing.assert_close(corrupted(glass, mask="none", intensity="density"), glass)
    # Noise of the glass gets at most three times its density.
    noise = of_stain(0.01, 0.02).view(1, 3, 1, 1).expand(32, 3, 1, 1)
    changed = corrupted(noise, mask="none", intensity="density")
    assert (changed >= noise**3.01).all()
    assert (changed < noise**2.5).any()


def test_density_changes_the_amount_of_each_stain_and_no_hue() -> None:
    amounts = (0.4, 0.2)
    colour = of_stain(*amounts).view(1, 3, 1, 1).expand(200, 3, 1, 1)
    changed = corrupted(colour, mask="none", intensity="density").view(200, 3)
    # Amounts are drawn through curves from 0 to density 2.
    deeper, paler = PUBLISHED[2], [(y, x) for x, y in PUBLISHED[2]]
    possible = [
        [2 * through(curve, amount / 2) for curve in (PUBLISHED[0], deeper, paler)]
        for amount in amounts
    ]
    expected = torch.stack([of_stain(h, e) for h in possible[0] for e in possible[1]])
    errors = (changed[:, None] - expected).abs().amax(dim=2)
    assert errors.amin(dim=1).max() < 1e-3
    assert set(errors.argmin(dim=1).tolist()) == set(range(9))


def through(points: list[tuple[float, float]], value: float) -> float:
    return float(curve_of_the_paper(points, np.array([value]), is_rising=True)[0])


def test_density_can_leave_any_colour_as_it_was() -> None:
    images = pictures(samples=120, side=8).clamp(0.01, 1)
    changed = corrupted(images, mask="none", intensity="density")
    untouched = (changed - images).abs().amax(dim=(1, 2, 3)) < 1e-3
    # Both stains meet the identity in one of nine samples.
    assert 4 <= untouched.sum() <= 28


# ------------------------------------------------------------------------ masks


@settings(deadline=None)
@given(
    fraction=st.floats(0.01, 0.99),
    rows=st.integers(1, 32),
    columns=st.integers(1, 32),
    seed=st.integers(0, 2**31),
)
def test_blocks_mask_exactly_their_part_of_the_cells(
    fraction: float, rows: int, columns: int, seed: int
) -> None:
    size = (rows * 3, columns * 2)
    mask = block_mask(draws_of(5, seed), fraction, (rows, columns), size)
    assert mask.shape == (5, *size)
    cells = mask.view(5, rows, 3, columns, 2).permute(0, 1, 3, 2, 4).reshape(5, -1, 6)
    # A cell is masked whole or not at all.
    assert torch.equal(cells.any(dim=2), cells.all(dim=2))
    expected = round(fraction * rows * columns)
    assert (cells.all(dim=2).sum(dim=1) == expected).all()


def test_the_default_masks_338_of_1024_cells_in_all_channels() -> None:
    images = torch.full((6, 3, 96, 96), 0.5)
    masked = corrupted(images, intensity="none") == 0
    assert (masked == masked[:, :1]).all()
    cells = masked[:, 0].view(6, 32, 3, 32, 3)[:, :, 0, :, 0]
    assert (cells.sum(dim=(1, 2)) == 338).all()
    assert masked[:, 0].float().mean().item() == pytest.approx(338 / 1024)


def test_blocks_of_a_side_that_the_grid_does_not_divide_are_nearly_alike() -> None:
    mask = block_mask(draws_of(1), 0.5, (32, 32), (100, 100))
    runs = np.flatnonzero(np.diff(np.arange(100) * 32 // 100)) + 1
    assert set(np.diff([0, *runs, 100])) == {3, 4}
    assert mask.float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_a_picture_smaller_than_the_grid_has_one_cell_a_pixel() -> None:
    masked = corrupted(torch.full((3, 1, 28, 20), 0.5), intensity="none") == 0
    assert (masked.sum(dim=(1, 2, 3)) == round(0.33 * 28 * 20)).all()


def test_every_cell_is_masked_equally_often() -> None:
    mask = block_mask(draws_of(6000), 0.25, (4, 4), (4, 4))
    counts = mask.sum(dim=0).flatten().double()
    # Variance of one cell's count over samples: n p (1 − p); 99.9 % of chi-square(15) below 37.7.
    assert ((counts - 1500) ** 2 / (6000 * 0.25 * 0.75)).sum() * 15 / 16 < 37.7


def test_stripes_are_whole_rows() -> None:
    mask = stripe_mask(draws_of(5), 0.25, (40, 30))
    assert torch.equal(mask.any(dim=2), mask.all(dim=2))
    assert (mask[:, :, 0].sum(dim=1) == 10).all()
    assert len({tuple(row) for row in mask[:, :, 0].tolist()}) == 5


def test_rays_are_lines_from_the_brightest_point_to_the_borders() -> None:
    images = torch.full((3, 3, 60, 80), 0.1)
    centres = [(30, 40), (12, 60), (45, 20)]
    for picture, (row, column) in zip(images, centres, strict=True):
        picture[:, row - 4 : row + 5, column - 4 : column + 5] = 1.0
    draws = draws_of(3)
    mask = ray_mask(images, draws, 2)
    along = draws.uniform("corruption/rays", 4, 2).double()
    y, x = (axis.double() for axis in torch.meshgrid(*map(torch.arange, (60, 80)), indexing="ij"))
    for sample, (row, column) in enumerate(centres):
        expected = torch.zeros(60, 80, dtype=torch.bool)
        for border in range(4):
            for place in along[sample, border]:
                end = {
                    0: (0.0, 79 * float(place)),
                    1: (59.0, 79 * float(place)),
                    2: (59 * float(place), 0.0),
                    3: (59 * float(place), 79.0),
                }[border]
                expected |= distance_to_segment(y, x, (row, column), end) < 2
        assert (mask[sample] != expected).sum() <= 2


def distance_to_segment(
    y: Tensor, x: Tensor, start: tuple[float, float], end: tuple[float, float]
) -> Tensor:
    dy, dx = end[0] - start[0], end[1] - start[1]
    part = ((y - start[0]) * dy + (x - start[1]) * dx) / (dy**2 + dx**2)
    # Lines run on to the picture's edge, of which the end is a pixel's centre.
    part = part.clamp(min=0)
    return torch.hypot(y - start[0] - part * dy, x - start[1] - part * dx)


def test_smaller_pictures_have_fewer_rays() -> None:
    parts = [
        (corrupted(torch.full((4, 1, side, side), 0.5), intensity="none", mask="rays") == 0)
        .float()
        .mean()
        .item()
        for side in (96, 256)
    ]
    assert all(0.2 < part < 0.6 for part in parts)


# ----------------------------------------------------------------------- whole


@pytest.mark.parametrize(
    ("intensity", "mask"),
    [
        (intensity, mask)
        for intensity in ("curves", "density", "none")
        for mask in ("blocks", "stripes", "rays", "none")
        if intensity != mask
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_corrupted_pictures_stay_pictures(intensity: str, mask: str, channels: int) -> None:
    images = pictures(channels=channels)
    before = images.clone()
    changed = corrupted(images, intensity=intensity, mask=mask)
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert 0 <= changed.min() <= changed.max() <= 1
    assert not torch.equal(changed, images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("kind", [{}, {"intensity": "density"}, {"mask": "rays"}])
def test_a_sample_is_corrupted_the_same_in_any_company(kind: dict[str, Any]) -> None:
    images = pictures(samples=8)
    corruption = Corruption(CorruptionSettings(**kind))
    together = corruption(images, draws_of(8))
    order = [5, 2, 7]
    alone = corruption(images[order], TensorDraws(Draws(1, 0, order), CPU))
    torch.testing.assert_close(alone, together[order], rtol=0, atol=1e-6)
    assert not torch.equal(corruption(images, draws_of(8, step=1)), together)


def test_autocast_changes_no_pixel() -> None:
    images = pictures()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within = corrupted(images, intensity="density")
    torch.testing.assert_close(within, corrupted(images, intensity="density"), rtol=0, atol=0)


def test_tables_are_no_part_of_a_checkpoint() -> None:
    assert Corruption(CorruptionSettings()).state_dict() == {}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"intensity": "bezier"}, "intensity is 'bezier'; choose one of curves, density, none"),
        ({"mask": "squares"}, "mask is 'squares'; choose one of blocks, stripes, rays, none"),
        ({"intensity": "none", "mask": "none"}, "nothing would be corrupted"),
        ({"mask_fraction": 0.0}, "mask_fraction is 0; choose more than 0 and less than 1"),
        ({"mask_fraction": math.nan}, "mask_fraction is nan"),
        ({"mask_fraction": 33.0}, "mask_fraction is 33"),
        ({"mask_cells": 0}, "mask_cells is 0; choose 1 or more"),
        ({"mask_rays": -1}, "mask_rays is -1"),
    ],
)
def test_impossible_settings_are_refused(kind: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        CorruptionSettings(**kind)
