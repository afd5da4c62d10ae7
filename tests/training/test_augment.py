"""Views against plain crops, torchvision and stain arithmetic, one picture at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import color
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from wsi_tower.draws import Draws
from wsi_tower.errors import SettingsError
from wsi_tower.training import AugmentSettings, TensorDraws, augmented
from wsi_tower.training import colour as ours

CPU = torch.device("cpu")
STILL: dict[str, Any] = {"flips": False, "quarter_turns": False}


def pictures(count: int = 6, side: int = 20, channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def draws(count: int = 6, step: int = 3) -> TensorDraws:
    return TensorDraws(Draws(7, step, np.arange(count) * 10), CPU)


def amounts(count: int, low: float, high: float, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(count, *shape, generator=generator)


# ------------------------------------------------------------------ where pixels come from


def every_crop(picture: np.ndarray, side: int) -> set[bytes]:
    """All crops of a (C, H, W) picture, each turned and flipped in all ways."""
    found = set()
    for top in range(picture.shape[1] - side + 1):
        for left in range(picture.shape[2] - side + 1):
            crop = picture[:, top : top + side, left : left + side]
            for turns in range(4):
                turned = np.rot90(crop, turns, (1, 2))
                found |= {turned.tobytes(), turned[:, :, ::-1].tobytes()}
    return found


def test_without_scaling_views_are_whole_pixels_of_the_tile() -> None:
    tiles = pictures(40, side=9)
    views = augmented(tiles, AugmentSettings(crop_px=7), draws(40), "0")
    assert views.shape == (40, 3, 7, 7)
    exact = (views * 255).round().to(torch.uint8)
    assert torch.equal(exact.float() / 255, views)
    for tile, view in zip(tiles.numpy(), exact.numpy(), strict=True):
        assert view.tobytes() in every_crop(tile, 7)


def test_every_place_turn_and_flip_is_equally_likely() -> None:
    count = 7200
    tile = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).expand(count, 1, 4, 4)
    views = augmented(tile, AugmentSettings(crop_px=2), draws(count), "0")
    kinds = np.unique(views.reshape(count, -1).numpy(), axis=0, return_counts=True)[1]
    assert len(kinds) == 9 * 8
    # Chi-square with 71 degrees of freedom: 99.9 % lie below 113.
    assert ((kinds - 100.0) ** 2 / 100).sum() < 113


def test_flips_and_turns_are_numpys() -> None:
    tiles = pictures(60, side=5, channels=1)
    flipped = augmented(tiles, AugmentSettings(crop_px=5, quarter_turns=False), draws(60), "0")
    turned = augmented(tiles, AugmentSettings(crop_px=5, flips=False), draws(60), "0")
    still = augmented(tiles, AugmentSettings(crop_px=5, **STILL), draws(60), "0")
    assert torch.equal(still, tiles / 255)
    seen = set()
    for place, tile in enumerate((tiles / 255).numpy()[:, 0]):
        flips = [tile, tile[::-1], tile[:, ::-1], tile[::-1, ::-1]]
        turns = [np.rot90(tile, count) for count in range(4)]
        first = [np.array_equal(flipped[place, 0].numpy(), one) for one in flips]
        second = [np.array_equal(turned[place, 0].numpy(), one) for one in turns]
        assert sum(first) == sum(second) == 1
        seen |= {("flip", first.index(True)), ("turn", second.index(True))}
    assert len(seen) == 8


def test_a_view_scaled_by_1_is_the_crop_itself() -> None:
    # By way of interpolation: windows of whole tiles leave no room to move.
    tiles = pictures(side=16)
    barely = AugmentSettings(crop_px=16, scale=(1.0, 1.0 + 1e-9))
    exact = AugmentSettings(crop_px=16)
    resampled = augmented(tiles, barely, draws(), "0")
    np.testing.assert_allclose(resampled, augmented(tiles, exact, draws(), "0"), atol=1e-3)


def test_shrinking_averages_and_skips_no_pixel() -> None:
    # A window of 24 px becomes 8: each pixel is the mean of 3 × 3, whatever lies there.
    tiles = pictures(side=24)
    shrunk = augmented(tiles, AugmentSettings(crop_px=8, scale=(9.0, 9.0), **STILL), draws(), "0")
    means = tiles.float().reshape(6, 3, 8, 3, 8, 3).mean(dim=(3, 5)) / 255
    # Nine pixels are met by four points between them: each has a share, none is skipped.
    assert (shrunk - means).abs().mean() < 0.05
    for row in range(3):
        lit = torch.zeros(1, 1, 24, 24, dtype=torch.uint8)
        lit[..., row::3, :] = 255
        settings_ = AugmentSettings(crop_px=8, scale=(9.0, 9.0), **STILL)
        assert augmented(lit, settings_, draws(1), "0").mean() == pytest.approx(1 / 3, abs=0.1)


def test_magnifying_interpolates_between_neighbours() -> None:
    ramp = torch.arange(0, 240, 10, dtype=torch.uint8).expand(1, 1, 24, 24)
    settings_ = AugmentSettings(crop_px=16, scale=(0.25, 0.25), **STILL)
    views = augmented(ramp.expand(20, 1, 24, 24), settings_, draws(20), "0") * 255
    # Half a pixel at the tile's own edge has no neighbour and is flat.
    slopes = np.diff(views[:, 0].numpy(), axis=2)[..., 1:-1]
    np.testing.assert_allclose(slopes, 5, atol=1e-3)
    assert views.min() >= 0
    assert views[:, 0, 0, 0].std() > 10  # windows lie all over the tile


@given(st.floats(0.5, 180), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_rotation_turns_about_the_middle(degrees: float, step: int) -> None:
    y, x = np.mgrid[:41, :41] - 20.0
    plane = 100 + 1.5 * x + 0.7 * y
    tile = torch.from_numpy(plane.round().astype(np.uint8)).expand(4, 1, 41, 41)
    settings_ = AugmentSettings(crop_px=9, rotate_deg=degrees, **STILL)
    views = augmented(tile, settings_, draws(4, step), "0")[:, 0].numpy() * 255
    angles = draws(4, step).uniform("view/0/angle", low=-degrees, high=degrees).numpy()
    for view, angle in zip(views, np.radians(angles), strict=True):
        down, right = np.gradient(view)
        # The gradient (rows, columns) of the tile, seen in the turned frame.
        expected = np.array([0.7, 1.5]) @ [
            [math.cos(angle), math.sin(angle)],
            [-math.sin(angle), math.cos(angle)],
        ]
        assert (down.mean(), right.mean()) == pytest.approx(expected, abs=0.12)


# ------------------------------------------------------------------ colour


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("change", "expected", "low", "high"),
    [
        (ours.with_brightness, reference.adjust_brightness, 0, 2),
        (ours.with_contrast, reference.adjust_contrast, 0, 2),
        (ours.with_saturation, reference.adjust_saturation, 0, 2),
        (ours.with_hue, reference.adjust_hue, -0.5, 0.5),
    ],
)
def test_colours_change_as_torchvisions(
    change: Any, expected: Any, low: float, high: float, channels: int
) -> None:
    images = pictures(side=16, channels=channels) / 255
    images[:, :, :4] = images[:, :1, :4]  # greys, which have no hue
    images[:, :, 4:6] = 0
    images[:, 0, 6:8] = 1
    factors = amounts(len(images), low, high)
    each = [expected(image, factor) for image, factor in zip(images, factors.tolist(), strict=True)]
    np.testing.assert_allclose(change(images, factors), torch.stack(each), atol=1e-5)


def test_grey_is_torchvisions() -> None:
    images = pictures() / 255
    chosen = torch.tensor([True, False] * 3)
    greyed = ours.greyed(images, chosen)
    expected = reference.rgb_to_grayscale(images, num_output_channels=3)
    np.testing.assert_allclose(greyed[chosen], expected[chosen], atol=1e-6)
    assert torch.equal(greyed[~chosen], images[~chosen])


def test_blur_is_torchvisions() -> None:
    images = pictures(side=24) / 255
    sigmas = amounts(len(images), 0.5, 2.0)
    sigmas[0] = 0
    blurred = ours.blurred(images, sigmas, 2.0)
    assert torch.equal(blurred[0], images[0])
    for place in range(1, len(images)):
        expected = reference.gaussian_blur(images[place], [13, 13], [float(sigmas[place])] * 2)
        np.testing.assert_allclose(blurred[place], expected, atol=1e-5)


def test_stain_is_tellez_in_skimages_hed() -> None:
    images = pictures(side=12) / 255
    factors, shifts = amounts(6, 0.8, 1.2, 3), amounts(6, -0.2, 0.2, 3)
    stained = ours.with_stain(images, factors, shifts)
    for place in range(6):
        rgb = np.maximum(images[place].permute(1, 2, 0).double().numpy(), 1e-6)
        hed = -np.log10(rgb) @ color.hed_from_rgb
        hed = hed * factors[place].numpy() + shifts[place].numpy()
        expected = np.clip(10 ** -(hed @ color.rgb_from_hed), 0, 1)
        np.testing.assert_allclose(stained[place].permute(1, 2, 0), expected, atol=1e-5)


def test_stain_in_decadic_density_is_six_of_skimages() -> None:
    # skimage divides by ln 10⁻⁶, so that its amounts are a sixth of the optical density.
    rgb = np.random.default_rng(0).uniform(0.05, 0.3, (8, 8, 3))
    hed = -np.log10(rgb) @ color.hed_from_rgb
    np.testing.assert_allclose(np.maximum(hed, 0) / 6, color.rgb2hed(rgb), atol=1e-12)


def test_factors_of_1_change_no_colour() -> None:
    images = pictures() / 255
    ones, zeros = torch.ones(6), torch.zeros(6)
    np.testing.assert_allclose(ours.with_hue(images, zeros), images, atol=1e-6)
    for change in (ours.with_brightness, ours.with_contrast, ours.with_saturation):
        assert torch.equal(change(images, ones), images)
    same = ours.with_stain(images, torch.ones(6, 3), torch.zeros(6, 3))
    np.testing.assert_allclose(same, images, atol=1e-5)


# ------------------------------------------------------------------ all of it together

EVERYTHING = AugmentSettings(
    crop_px=12,
    scale=(0.3, 2.0),
    rotate_deg=20,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.1,
    jitter_chance=0.8,
    stain=0.1,
    grey_chance=0.3,
    blur_chance=0.5,
)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("chosen", [EVERYTHING, AugmentSettings(crop_px=12)])
def test_order_and_company_change_nothing(chosen: AugmentSettings, channels: int) -> None:
    tiles = pictures(9, channels=channels)
    samples = np.arange(9) * 10
    order = np.random.default_rng(0).permutation(9)
    together = augmented(tiles, chosen, TensorDraws(Draws(7, 3, samples), CPU), "0")
    shuffled = augmented(tiles[order], chosen, TensorDraws(Draws(7, 3, samples[order]), CPU), "0")
    alone = augmented(tiles[4:5], chosen, TensorDraws(Draws(7, 3, samples[4:5]), CPU), "0")
    assert together.shape == (9, channels, 12, 12)
    assert 0 <= together.min() <= together.max() <= 1
    np.testing.assert_allclose(shuffled, together[order], atol=1e-6)
    np.testing.assert_allclose(alone, together[4:5], atol=1e-6)


def test_views_of_other_names_and_steps_differ() -> None:
    tiles = pictures()
    one = augmented(tiles, EVERYTHING, draws(), "0")
    assert torch.equal(one, augmented(tiles, EVERYTHING, draws(), "0"))
    assert not torch.isclose(one, augmented(tiles, EVERYTHING, draws(), "1")).any(dim=1).all()
    assert not torch.isclose(one, augmented(tiles, EVERYTHING, draws(step=4), "0")).all()


def test_chance_decides_how_many_are_jittered() -> None:
    count = 2000
    tiles = torch.full((count, 3, 2, 2), 100, dtype=torch.uint8)
    chosen = AugmentSettings(crop_px=2, brightness=0.5, jitter_chance=0.3)
    views = augmented(tiles, chosen, draws(count), "0")
    changed = (views != 100 / 255).flatten(1).any(dim=1).float().mean().item()
    assert changed == pytest.approx(0.3, abs=0.04)
    assert 50 / 255 <= views.min() <= views.max() <= 150 / 255


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop_px": 0}, "crop_px must be 1 or more, not 0"),
        ({"scale": (0.0, 1.0)}, "scale must rise from above 0, not 0 to 1"),
        ({"local_scale": (2.0, 1.0)}, "local_scale must rise"),
        ({"hue": 0.6}, "hue must lie between 0 and 0.5, not 0.6"),
        ({"grey_chance": 1.2}, "grey_chance must lie between 0 and 1"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        AugmentSettings(**values)
