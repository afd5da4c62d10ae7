"""The picture of several runs: a panel a measure, a curve a run, the settings below."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from wsi_tower.report import ComparedRun, comparison_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)


def run(name: str, *columns: str, rows: int = 5, batch_size: int = 8) -> ComparedRun:
    logged = {column: [(step, 1 / step) for step in range(1, rows + 1)] for column in columns}
    return ComparedRun(name, logged, batch_size)


def opened(png: bytes) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(np.int64)


def pixels(picture: NDArray[np.int64], colour: tuple[int, int, int]) -> int:
    return int((np.abs(picture - colour) <= 2).all(axis=-1).sum())


def test_there_is_a_panel_a_measure_and_never_five_in_a_row() -> None:
    few = opened(comparison_picture([run("a", "loss", "rank"), run("b", "loss", "rank")], {}))
    more = ("loss", "contrast", "restoration", "rank", "gap", "lr")
    many = opened(comparison_picture([run("a", *more), run("b", *more)], {}))
    # Two panels; three and two, for the learning rate has none.
    assert many.shape[1] == pytest.approx(few.shape[1] * 3 / 2, abs=2)
    assert many.shape[0] > 1.5 * few.shape[0]


def test_each_run_has_a_colour_in_curve_legend_and_table() -> None:
    both = [run("a", "loss"), run("b", "loss")]
    picture = opened(comparison_picture(both, {"lr": ["1", "2"]}))
    assert pixels(picture, BLUE) > 100
    assert pixels(picture, ORANGE) > 100
    alone = opened(comparison_picture([run("a", "loss"), run("b")], {}))
    assert pixels(alone, ORANGE) < pixels(picture, ORANGE)


def test_the_settings_take_a_line_each_up_to_a_limit() -> None:
    both = [run("a", "loss"), run("b", "loss")]

    def height(count: int) -> int:
        differing = {f"setting_{number}": ["1", "2"] for number in range(count)}
        return int(opened(comparison_picture(both, differing)).shape[0])

    # Beyond the limit one line says how many more there are.
    assert height(0) < height(5) < height(16) < height(17) == height(40)


@pytest.mark.parametrize(
    "runs",
    [
        [run("a"), run("b")],
        [run("a", "loss", rows=2000), run("b", "loss", rows=1)],
        [run("a", "loss", batch_size=8), run("b", "loss", batch_size=64)],
        [run(f"run-{number}", "loss", "rank") for number in range(12)],
        [ComparedRun("$x^$", {"loss": [(1, float("nan"))], "gap": [(1, float("inf"))]}, 8)] * 2,
        [run("x" * 200, "loss"), run("y" * 200, "loss")],
    ],
)
def test_whatever_was_logged_is_drawn(runs: list[ComparedRun]) -> None:
    values = ["$\\frac{" + "v" * 300] * len(runs)
    assert opened(comparison_picture(runs, {"method": values})).std() > 0
