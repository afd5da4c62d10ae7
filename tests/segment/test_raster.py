"""A slide as a picture: boxes fit together, and resolutions are what they are said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.errors import OtherResolutionError
from wsi_tower.geometry import LevelBox
from wsi_tower.segment.raster import SlideRaster, mixing
from wsi_tower.slides import open_slide

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsi_tower.slides import Slide


@pytest.fixture
def slide(slides: Path) -> Iterator[Slide]:
    with open_slide(str(slides / "phantom-01.svs")) as slide:
        yield slide


@given(st.integers(-50, 50), st.integers(1, 30), st.floats(0.2, 5))
def test_each_pixel_is_a_mean_of_sources_around_its_middle(
    first: int, count: int, ratio: float
) -> None:
    start, parts = mixing(first, count, ratio)
    np.testing.assert_allclose(parts.sum(axis=1), 1, atol=1e-4)
    # The mean of the sources' middles is the pixel's own; a source that is cut at either end counts
    # with its whole middle, off by (1 - f) / 2 at its part f, so by 1/8 at most.
    atol = 0.25 / ratio + 2e-3 if ratio > 1 else 2e-3
    middles = parts @ (start + np.arange(parts.shape[1]) + 0.5)
    np.testing.assert_allclose(middles, (first + np.arange(count) + 0.5) * ratio, atol=atol)


def test_two_pixels_become_one_by_their_mean() -> None:
    start, parts = mixing(3, 2, 2.0)
    assert start == 6
    assert parts.tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]


@pytest.mark.parametrize("target", [1.0, 0.98, 1.7, 0.6, 2.0, 4.0])
def test_what_a_pixel_is_does_not_depend_on_its_box(slide: Slide, target: float) -> None:
    raster = SlideRaster.of(slide, target, resample=True)
    assert raster.mpp == pytest.approx(target, rel=0.05)
    whole = raster.read(slide, LevelBox(0, 0, 240, 160))
    part = raster.read(slide, LevelBox(101, 53, 90, 71))
    assert np.abs(whole[53:124, 101:191].astype(int) - part).max() <= 1


def test_what_lies_beyond_the_slide_is_white(slide: Slide) -> None:
    raster = SlideRaster.of(slide, 1.0, resample=False)
    assert (raster.read(slide, LevelBox(-40, -40, 30, 30)) == 255).all()


@pytest.mark.parametrize("target", [0.5, 1.5])
def test_a_slide_without_the_resolution_is_refused(slide: Slide, target: float) -> None:
    with pytest.raises(OtherResolutionError, match=rf"no level of {target} µm/px.*--resample"):
        SlideRaster.of(slide, target, resample=False)
