"""The picture of pairs: lines where pairs are, bars for all of them, whatever there is to draw."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from wsi_tower.geometry import Mpp
from wsi_tower.pairs import PairSettings
from wsi_tower.report import PairsOfSlide, pairs_picture
from wsi_tower.report.pairs_picture import COLOURS
from wsi_tower.slides import Overview

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.pairs import PairKind

NONE = np.empty((0, 2, 2))
GREY = 200


def drawn(
    near: NDArray[np.float64],
    distant: NDArray[np.float64],
    *,
    title: str = "a",
    size: tuple[int, int] = (600, 800),
    elsewhere: int = 0,
) -> NDArray[np.int64]:
    """The picture of a grey slide of 10 µm a pixel."""
    overview = Overview(np.full((*size, 3), GREY, np.uint8), 20.0)
    pairs = PairsOfSlide(title, 1000, 7, {"near": near, "distant": distant}, elsewhere)
    png = pairs_picture(overview, Mpp(0.5, 0.5), pairs, PairSettings(1000, 3000))
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(np.int64)


def is_colour(picture: NDArray[np.int64], kind: PairKind) -> NDArray[np.bool_]:
    colour = np.rint(np.multiply(to_rgb(COLOURS[kind]), 255))
    found: NDArray[np.bool_] = np.abs(picture - colour).sum(axis=-1) < 30
    return found


def columns_of(picture: NDArray[np.int64], kind: PairKind) -> NDArray[np.int64]:
    """Columns of the slide, left of the charts, in which a kind's colour is found."""
    slide = picture[:, : int(0.62 * picture.shape[1])]
    return np.flatnonzero(is_colour(slide, kind).any(axis=0))


def test_lines_are_as_long_as_their_pairs() -> None:
    # Level lines of 1 and 4 mm: on one picture their lengths are as 1 to 4.
    near = np.array([[[2000.0, 2000.0], [3000.0, 2000.0]]])
    distant = np.array([[[2000.0, 4000.0], [6000.0, 4000.0]]])
    picture = drawn(near, distant)
    lengths = {kind: np.ptp(columns_of(picture, kind)) for kind in COLOURS}
    # Dots and round ends add some pixels to both.
    added = 6
    ratio = (lengths["distant"] - added) / (lengths["near"] - added)
    assert ratio == pytest.approx(4, rel=0.04)


def test_every_kind_has_its_own_chart() -> None:
    rng = np.random.default_rng(1)
    near = rng.uniform(2000, 2700, (500, 2, 2))
    distant = np.array([[[1000.0, 1000.0], [1000.0, 5000.0]]] * 50)
    picture = drawn(near, distant)
    upper, lower = np.array_split(picture[:, 2 * picture.shape[1] // 3 :], 2)
    assert is_colour(upper, "near").sum() > 5000
    assert not is_colour(upper, "distant").any()
    assert is_colour(lower, "distant").sum() > 300
    assert not is_colour(lower, "near").any()


@pytest.mark.parametrize("size", [(600, 800), (1024, 60), (40, 1024), (1, 1)])
def test_without_pairs_the_slide_is_still_shown(size: tuple[int, int]) -> None:
    picture = drawn(NONE, NONE, size=size)
    half = picture[:, : picture.shape[1] // 2]
    assert (np.abs(half - GREY).sum(axis=-1) == 0).any()


def test_odd_pairs_and_titles_are_drawn() -> None:
    one_place = np.full((3, 2, 2), 500.0)
    corner = np.array([[[0.0, 0.0], [8000.0, 6000.0]]])
    for title in ("", "a\nb\0", "$x^$ \\frac{", "\udcff.svs", "x" * 4000, "组织"):
        drawn(one_place, corner, title=title, elsewhere=3)
    drawn(one_place, NONE)
