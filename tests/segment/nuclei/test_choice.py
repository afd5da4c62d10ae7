"""Haematoxylin and size as witnesses, on made pictures; the clean-up against scikit-image's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu
from skimage.morphology import closing, disk, opening

from wsi_tower.models import ConfidenceNet
from wsi_tower.segment.nuclei import (
    best_of,
    between_class_share,
    choose_channel,
    cleaned,
    confident_pixels,
    otsu_thresholds,
    smoothed_haematoxylin,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

EOSIN, NUCLEUS, GLASS = (226, 160, 200), (80, 60, 140), (240, 240, 240)
RADIUS_PX = 12
"""3 µm at 0.25 µm/px."""


def made_picture() -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Round nuclei on eosin beside glass, where the nuclei are, and where the glass is."""
    rows, columns = np.mgrid[:160, :160]
    nuclei = np.zeros((160, 160), bool)
    for top in range(20, 160, 40):
        for left in range(20, 110, 40):
            nuclei |= (rows - top) ** 2 + (columns - left) ** 2 <= RADIUS_PX**2
    glass = columns >= 120
    rgb = np.empty((160, 160, 3), np.uint8)
    rgb[:] = EOSIN
    rgb[glass] = GLASS
    rgb[nuclei] = NUCLEUS
    return rgb, nuclei, glass


class Masks(ConfidenceNet):
    """A network that is sure of given masks."""

    def __init__(self, masks: NDArray[np.bool_]) -> None:
        super().__init__(len(masks))
        self.masks = torch.from_numpy(masks)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        del images
        return torch.where(self.masks, 9.0, -9.0)[None]


def test_nuclei_are_chosen_among_glass_tissue_and_specks() -> None:
    rgb, nuclei, glass = made_picture()
    specks = np.zeros_like(nuclei)
    specks[::9, ::9] = True
    choice = choose_channel(Masks(np.stack([glass, ~glass, nuclei, specks])), [rgb], 0.25)
    assert choice.channel == 2
    assert choice.is_plausible
    assert choice.shares[0] == 0.0  # glass is paler than the rest
    # 441 px of 0.0625 µm²
    assert abs(choice.areas_um2[2] - 441 / 16) < 1


def test_size_counts_before_haematoxylin() -> None:
    assert best_of([0.3, 0.9], [50.0, 5_000.0]).channel == 0
    nothing = best_of([0.3, 0.9], [0.0, 5_000.0])
    assert nothing.channel == 1
    assert not nothing.is_plausible


def test_a_perfect_mask_explains_all_of_two_levels() -> None:
    density = torch.tensor([[[0.1, 0.1, 0.5, 0.5]]])
    masks = torch.tensor([[False, False, True, True], [False, True, True, False]])
    pale = ~masks[:1]
    shares = between_class_share(density, torch.cat((masks, pale))[None, :, None])
    torch.testing.assert_close(shares, torch.tensor([1.0, 0.0, 0.0]))


def test_empty_and_full_masks_explain_nothing() -> None:
    masks = torch.stack((torch.zeros(5, 5), torch.ones(5, 5))).bool()[None]
    assert between_class_share(torch.rand(1, 5, 5), masks).tolist() == [0.0, 0.0]


def test_otsu_is_scikit_images() -> None:
    generator = np.random.default_rng(0)
    values = np.concatenate((generator.normal(0, 1, 4000), generator.normal(6, 1, 2000)))
    found = float(otsu_thresholds(torch.from_numpy(values.astype(np.float32))[None])[0])
    assert abs(found - threshold_otsu(values, nbins=128)) < 0.2


def test_no_threshold_explains_more_than_otsus() -> None:
    density = smoothed_haematoxylin(
        torch.from_numpy(made_picture()[0]).permute(2, 0, 1)[None].float() / 255, 2.0
    )
    best = otsu_thresholds(density.flatten(1))
    levels = torch.linspace(float(density.min()), float(density.max()), 50)
    masks = density[:, None] >= torch.cat((best, levels))[None, :, None, None]
    shares = between_class_share(density, masks)
    assert shares[0] >= shares[1:].max() - 1e-3


def test_a_teacher_is_sure_inside_nuclei_and_far_from_them() -> None:
    rgb, nuclei, _ = made_picture()
    density = smoothed_haematoxylin(torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255, 2.0)
    yes, no = (one[0].numpy() for one in confident_pixels(density, 0.3))
    assert yes.any()
    assert not (yes & ~nuclei).any()
    assert not (no & nuclei).any()
    assert (~yes & ~no).any()
    whole, rest = confident_pixels(density, 0.0)
    assert (whole ^ rest).all()


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
@settings(max_examples=25, deadline=None)
def test_clean_up_is_that_of_scikit_image(seed: int, share: float) -> None:
    coarse = np.random.default_rng(seed).random((12, 15)) < share
    mask = np.kron(coarse, np.ones((4, 4), bool))
    expected = np.pad(mask, 10)
    for radius in (3, 1):
        expected = closing(opening(expected, disk(radius)), disk(radius))
    assert np.array_equal(cleaned(mask), expected[10:-10, 10:-10])
