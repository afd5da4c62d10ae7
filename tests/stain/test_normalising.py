"""Reinhard and Macenko, against pictures whose dyes are known because they were mixed here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage.color import lab2rgb, rgb2lab

from wsi_tower.errors import SettingsError, StainError
from wsi_tower.stain import (
    DEFAULT_WHITE,
    LabStatistics,
    StainMethod,
    StainReference,
    StainVectors,
    fitted_stain,
    tissue_pixels,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BLUE = np.array([0.65, 0.70, 0.29])
PINK = np.array([0.21, 0.92, 0.33])
WHITE = (243.0, 243.0, 243.0)


def mixed(amounts: NDArray[np.float64], blue: NDArray[np.float64] = BLUE) -> NDArray[np.uint8]:
    """A picture of dyes, by Beer and Lambert: amounts (N, 2) of blue and pink."""
    density = amounts @ np.stack([blue / np.linalg.norm(blue), PINK / np.linalg.norm(PINK)])
    light: NDArray[np.float64] = 244 * 10**-density - 1
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def amounts_of(rows: int = 20_000, seed: int = 0) -> NDArray[np.float64]:
    """Amounts with pixels of either dye alone, as nuclei and stroma have."""
    rng = np.random.default_rng(seed)
    amounts = rng.uniform(0.1, 1, (rows, 2))
    amounts[: rows // 10, 0] = 0
    amounts[rows // 10 : rows // 5, 1] = 0
    return amounts


def angle(one: tuple[float, ...], other: NDArray[np.float64]) -> float:
    cosine = np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


# ------------------------------------------------------------------ Reinhard

pictures = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(2, 9), st.integers(2, 9), st.just(3)),
    elements=st.integers(0, 255),
)


@settings(deadline=None)
@given(pictures)
def test_a_picture_normalised_to_its_own_colours_is_itself(picture: NDArray[np.uint8]) -> None:
    own = LabStatistics.of(picture.reshape(-1, 3), WHITE)
    again = own.normalised(picture, own, WHITE)
    assert again.shape == picture.shape
    assert np.abs(again.astype(int) - picture).max() <= 2


def test_colours_are_cie_lab_under_d65() -> None:
    """scikit-image computes L*a*b* from the CIE's formulas in double precision."""
    picture = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    own = LabStatistics.of(picture.reshape(-1, 3), WHITE)
    lab = rgb2lab(picture)
    np.testing.assert_allclose(own.mean, lab.mean(axis=(0, 1)), atol=0.15)
    np.testing.assert_allclose(own.std, lab.std(axis=(0, 1)), atol=0.15)


def test_a_picture_gets_mean_and_spread_of_the_target() -> None:
    """The publication's formula in a naive loop."""
    picture = mixed(amounts_of(900)).reshape(30, 30, 3)
    own = LabStatistics.of(picture.reshape(-1, 3), WHITE)
    target = LabStatistics((62.0, 18.0, -8.0), (12.0, 9.0, 5.0))
    found = own.normalised(picture, target, WHITE)
    lab = rgb2lab(picture)
    for channel in range(3):
        centred = lab[..., channel] - own.mean[channel]
        scaled = centred * target.std[channel] / own.std[channel]
        lab[..., channel] = scaled + target.mean[channel]
    expected = np.clip(np.rint(lab2rgb(lab) * 255), 0, 255)
    tissue = np.log10(244 / (picture + 1.0)).mean(axis=-1) >= 0.065
    assert tissue.mean() > 0.9
    assert np.abs(found - expected)[tissue].max() <= 1.5
    got = LabStatistics.of(found.reshape(-1, 3), WHITE)
    np.testing.assert_allclose(got.mean, target.mean, atol=0.5)
    np.testing.assert_allclose(got.std, target.std, atol=0.5)


def test_glass_keeps_its_colour() -> None:
    picture = mixed(amounts_of())
    own = LabStatistics.of(picture, WHITE)
    target = StainReference.built_in("reinhard").statistics
    assert isinstance(target, LabStatistics)
    glass = np.full((4, 4, 3), 243, np.uint8)
    np.testing.assert_array_equal(own.normalised(glass, target, WHITE), glass)


def test_tissue_of_one_colour_is_moved_and_not_spread() -> None:
    picture = np.full((4, 4, 3), (200, 120, 180), np.uint8)
    own = LabStatistics.of(picture.reshape(-1, 3), WHITE)
    target = LabStatistics.of(np.full((5, 3), (150, 90, 160), np.uint8), WHITE)
    found = own.normalised(picture, target, WHITE)
    assert np.abs(found.astype(int) - (150, 90, 160)).max() <= 1


# ------------------------------------------------------------------ Macenko


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.55, 0.75), st.floats(0.55, 0.8), st.floats(0.2, 0.35))
def test_known_dyes_are_found_in_a_mixture(
    seed: int, red: float, green: float, blue: float
) -> None:
    dye = np.array([red, green, blue])
    found = StainVectors.of(mixed(amounts_of(4000, seed), dye), WHITE)
    assert angle(found.haematoxylin, dye) < 1.5
    assert angle(found.eosin, PINK) < 1.5
    assert np.linalg.norm(found.haematoxylin) == pytest.approx(1, abs=1e-4)


def test_the_most_of_a_dye_is_the_99th_percentile_of_its_amount() -> None:
    amounts = amounts_of()
    found = StainVectors.of(mixed(amounts), WHITE)
    np.testing.assert_allclose(found.most, np.percentile(amounts, 99, axis=0), rtol=0.03)


def test_a_mixture_normalised_to_its_own_dyes_is_itself() -> None:
    picture = mixed(amounts_of(2500)).reshape(50, 50, 3)
    own = StainVectors.of(picture.reshape(-1, 3), WHITE)
    assert np.abs(own.normalised(picture, own, WHITE).astype(int) - picture).max() <= 2


def test_dyes_are_exchanged_and_amounts_kept() -> None:
    """The same tissue mixed from other dyes is what normalisation must give."""
    amounts = amounts_of()
    other = np.array([0.55, 0.78, 0.30])
    given_picture, wanted = mixed(amounts), mixed(amounts, other)
    own, target = StainVectors.of(given_picture, WHITE), StainVectors.of(wanted, WHITE)
    found = own.normalised(given_picture, target, WHITE)
    difference = np.abs(found.astype(int) - wanted)
    assert difference.mean() < 1
    assert np.abs(given_picture.astype(int) - wanted).mean() > 4


def test_glass_becomes_the_reference_s_white() -> None:
    own = StainVectors.of(mixed(amounts_of()), WHITE)
    glass = np.full((2, 2, 3), (230, 226, 231), np.uint8)
    assert set(own.normalised(glass, own, (230, 226, 231)).ravel().tolist()) == {243}


def test_one_dye_alone_is_refused() -> None:
    amounts = amounts_of()
    amounts[:, 1] = 0
    with pytest.raises(StainError, match=r"one dye only.*--stain reinhard"):
        StainVectors.of(mixed(amounts), WHITE)


# ------------------------------------------------------------------ tissue and references


def test_tissue_is_what_takes_light_away() -> None:
    """A mean density of 0.065 is what 0.86 of the light leaves: 209 of 243 + 1 grey levels."""
    glass = np.full((10, 3), 240, np.uint8)
    pale = np.full((7, 3), (235, 180, 215), np.uint8)
    edge = np.array([[208] * 3, [211] * 3], np.uint8)
    found = tissue_pixels(np.concatenate([glass, pale, edge]), DEFAULT_WHITE)
    np.testing.assert_array_equal(found, [*[(235, 180, 215)] * 7, (208, 208, 208)])


def test_a_slide_without_tissue_is_refused() -> None:
    with pytest.raises(StainError, match="only 0 pixels are dark enough"):
        fitted_stain("reinhard", np.full((50, 50, 3), 240, np.uint8))


@pytest.mark.parametrize("method", ["reinhard", "macenko"])
def test_a_reference_survives_its_file(method: StainMethod, tmp_path: Path) -> None:
    picture = mixed(amounts_of())
    reference = StainReference(method, fitted_stain(method, picture), "slide a")
    reference.write(tmp_path / "ref.json")
    assert StainReference.read(tmp_path / "ref.json") == reference
    own = fitted_stain(method, picture)
    again = reference.normalised(picture, own, WHITE)
    assert np.abs(again.astype(int) - picture).max() <= 2


@pytest.mark.parametrize("method", ["reinhard", "macenko"])
def test_the_built_in_reference_looks_like_tissue(method: StainMethod) -> None:
    reference = StainReference.built_in(method)
    picture = mixed(amounts_of())
    found = reference.normalised(picture, fitted_stain(method, picture), WHITE).mean(axis=0)
    red, green, blue = found
    assert green < blue < red + 60
    assert 40 < green < 200


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "tiles"},
        {"format_version": 9},
        {"method": "vahadane"},
        {"statistics": {"mean": [1, 2, 3]}},
        {"statistics": {"mean": [1, 2, 3], "std": "x"}},
        {"statistics": None},
    ],
)
def test_a_file_that_is_no_reference_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "ref.json"
    StainReference.built_in("reinhard").write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SettingsError, match=r"ref\.json cannot be used .* slide of the workspace"):
        StainReference.read(path)


def test_statistics_of_the_other_method_are_refused() -> None:
    with pytest.raises(SettingsError, match="macenko cannot hold LabStatistics"):
        StainReference("macenko", StainReference.built_in("reinhard").statistics)
