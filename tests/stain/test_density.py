"""White levels and optical densities, against Beer and Lambert by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from wsi_tower.stain import DEFAULT_WHITE, channel_densities, white_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

EOSIN = (225, 140, 190)


def plain(colour: tuple[int, int, int], height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    return np.full((height, width, 3), colour, np.uint8)


def test_a_tenth_of_the_light_is_density_one() -> None:
    # (23 + 1) / (239 + 1) is a tenth, (239 + 1) / (239 + 1) is all of it.
    planes = [np.full((2, 2), level, np.uint8) for level in (23, 239, 23)]
    red, green, blue = channel_densities(planes, (239, 239, 239))
    np.testing.assert_allclose(red, 1, atol=1e-6)
    np.testing.assert_allclose(green, 0, atol=1e-6)
    np.testing.assert_array_equal(red, blue)
    assert red.dtype == np.float32


def test_black_stays_finite_and_brighter_than_white_is_negative() -> None:
    plane = np.array([[0, 255]], np.uint8)
    density, _, _ = channel_densities([plane] * 3, (199, 199, 199))
    assert density[0, 0] == pytest.approx(np.log10(200))
    assert density[0, 1] < 0


@pytest.mark.parametrize(
    "glass", [(245, 245, 245), (200, 200, 200), (238, 232, 222), (228, 223, 229)]
)
def test_white_is_the_glass_around_tissue(glass: tuple[int, int, int]) -> None:
    picture = plain(glass)
    picture[:40] = EOSIN
    assert white_level(picture) == glass


def test_white_is_glass_even_where_pale_tissue_outnumbers_it() -> None:
    picture = plain((225, 218, 224))
    picture[:20] = (240, 240, 240)
    assert white_level(picture) == (240, 240, 240)


def test_what_was_never_scanned_is_not_the_white() -> None:
    picture = plain((255, 255, 255))
    picture[:5] = (230, 228, 226)
    assert white_level(picture) == (230, 228, 226)


def test_a_picture_without_glass_gets_the_usual_white() -> None:
    assert white_level(plain(EOSIN)) == DEFAULT_WHITE
