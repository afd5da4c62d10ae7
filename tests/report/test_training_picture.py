"""Pictures of a training: a PNG whatever was logged, and colours that mean what they say."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from wsi_tower.report import restoration_picture, training_picture
from wsi_tower.report.curves import smoothed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Curves = dict[str, list[tuple[int, float]]]


def opened(png: bytes) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(np.int64)


def curves(*names: str, rows: int = 5) -> Curves:
    return {name: [(step, 1 / step) for step in range(1, rows + 1)] for name in names}


def test_each_part_of_the_loss_has_a_panel() -> None:
    alone = opened(training_picture(curves("loss", "lr", "rank"), "a"))
    parts = opened(
        training_picture(curves("loss", "lr", "contrast", "restoration", "rank", "gap"), "a")
    )
    # Loss and watch; loss, two parts and watch.
    assert parts.shape[1] == pytest.approx(2 * alone.shape[1], abs=2)
    assert parts.shape[0] == alone.shape[0]


@pytest.mark.parametrize(
    "logged",
    [
        curves("loss"),
        curves("loss", rows=1),
        curves("loss", "rank", "gap", rows=1),
        curves("loss", "rank", rows=3000),
        {"loss": [(1, 2.0), (2, 2.0)], "rank": [(2, 0.0)], "gap": [(2, float("nan"))]},
        {"loss": [(1, 1e30), (2, 1e-30)], "rank": [(2, float("nan"))]},
        {},
    ],
)
def test_whatever_was_logged_is_drawn(logged: Curves) -> None:
    assert opened(training_picture(logged, "a (tower)")).std() > 0


def test_odd_titles_are_drawn() -> None:
    for title in ("", "$x^$ \\frac{", "x" * 500):
        opened(training_picture(curves("loss"), title))


def test_a_long_curve_is_smoothed_by_its_neighbours() -> None:
    values = [1.0, 3.0, 5.0, 3.0, 1.0]
    assert smoothed(values, reach=1).tolist() == pytest.approx([2, 3, 11 / 3, 3, 2])
    assert smoothed(values, reach=0).tolist() == values


def squares(picture: NDArray[np.int64], colour: tuple[int, int, int]) -> NDArray[np.int64]:
    """Places at which a colour is found: (N, 2), row first."""
    return np.argwhere((np.abs(picture - colour) <= 2).all(axis=-1))


@pytest.mark.parametrize("count", [1, 8])
def test_rows_are_clean_corrupted_and_restored(count: int) -> None:
    colours = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]
    rows = np.empty((3, count, 16, 16, 3), np.uint8)
    for row, colour in zip(rows, colours, strict=True):
        row[:] = colour
    picture = opened(restoration_picture(rows, "a"))
    tops = [squares(picture, colour)[:, 0] for colour in colours]
    assert tops[0].max() < tops[1].min() < tops[1].max() < tops[2].min()


def test_grey_tiles_keep_their_grey_levels() -> None:
    rows = np.full((3, 2, 16, 16, 1), 90, np.uint8)
    picture = opened(restoration_picture(rows, "a"))
    # Not stretched to black or white, as plots of one value would be.
    assert len(squares(picture, (90, 90, 90))) > 10_000
