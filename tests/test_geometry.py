from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_tower.errors import ImpossiblePixelSizeError, SettingsError
from wsi_tower.geometry import (
    Level0Size,
    LevelBox,
    LevelSize,
    Mpp,
    parse_extent_um,
    parse_length_um,
)

coordinates = st.integers(-50, 50)
sides = st.integers(0, 60)


@given(coordinates, coordinates, sides, sides, sides, sides)
def test_clipping_keeps_exactly_the_pixels_inside(
    x: int, y: int, width: int, height: int, level_width: int, level_height: int
) -> None:
    clipped = LevelBox(x, y, width, height).clipped(LevelSize(level_width, level_height))
    columns = {i for i in range(x, x + width) if 0 <= i < level_width}
    rows = {i for i in range(y, y + height) if 0 <= i < level_height}
    assert set(range(clipped.x, clipped.x + clipped.width)) == columns
    assert set(range(clipped.y, clipped.y + clipped.height)) == rows


def test_mean_pixel_size_keeps_areas() -> None:
    mpp = Mpp(0.49, 0.51)
    assert mpp.mean**2 == pytest.approx(0.49 * 0.51)


def test_sizes_and_pixel_sizes_read_like_prose() -> None:
    assert str(Mpp(0.25, 0.25)) == "0.25 µm/px"
    assert str(Mpp(0.25, 0.26)) == "0.25 × 0.26 µm/px"
    assert str(Level0Size(3, 4)) == str(LevelSize(3, 4)) == "3 × 4 px"


@pytest.mark.parametrize("value", [0.0501, 0.25, 28.97, 100.0])
def test_possible_pixel_sizes_pass(value: float) -> None:
    assert Mpp(value, value).checked("a.svs") == Mpp(value, value)


@pytest.mark.parametrize("value", [0.05, 0.0, -0.5, 100.01, math.nan, math.inf, -math.inf])
def test_impossible_pixel_sizes_are_named(value: float) -> None:
    for mpp in (Mpp(value, value), Mpp(0.5, value), Mpp(value, 0.5)):
        with pytest.raises(ImpossiblePixelSizeError, match=f"a.svs .* {value:g} µm/px"):
            mpp.checked("a.svs")


@pytest.mark.parametrize(("x", "y", "passes"), [(1, 0.951, True), (0.949, 1, False), (2, 1, False)])
def test_axes_may_differ_by_a_twentieth(x: float, y: float, passes: bool) -> None:
    if passes:
        Mpp(x, y).checked("a.svs")
    else:
        with pytest.raises(ImpossiblePixelSizeError, match=f"{x:g} × {y:g} µm"):
            Mpp(x, y).checked("a.svs")


@pytest.mark.parametrize(
    ("text", "micrometres"),
    [
        ("2mm", 2000),
        ("1792um", 1792),
        ("3.5 µm", 3.5),  # the micro sign
        ("3.5 μm", 3.5),  # the Greek letter
        (" 250 nm ", 0.25),
        ("1cm", 10_000),
        (".5mm", 500),
        ("1e3um", 1000),
        ("2MM", 2000),
        ("0mm", 0),
    ],
)
def test_lengths_have_units(text: str, micrometres: float) -> None:
    assert parse_length_um(text) == pytest.approx(micrometres)


@pytest.mark.parametrize("text", ["", "2", "mm", "2 m", "2px", "-2mm", "2mm2", "1,5mm", "2mm 3mm"])
def test_other_lengths_are_refused_by_name(text: str) -> None:
    with pytest.raises(SettingsError, match="as in 2mm") as caught:
        parse_length_um(text)
    assert repr(text) in str(caught.value)


def test_a_length_without_end_is_refused() -> None:
    with pytest.raises(SettingsError, match="9e999mm"):
        parse_length_um("9e999mm")


@given(st.floats(1e-3, 1e6), st.sampled_from([("nm", 1e-3), ("um", 1), ("mm", 1e3), ("cm", 1e4)]))
def test_lengths_are_read_back(value: float, unit: tuple[str, float]) -> None:
    assert parse_length_um(f"{value!r}{unit[0]}") == pytest.approx(value * unit[1])


@pytest.mark.parametrize("text", ["14mm×10mm", "14mmx10mm", "14 mm × 10 mm", "14mm*10mm"])
def test_extents_are_two_lengths(text: str) -> None:
    assert parse_extent_um(text) == (14_000, 10_000)


@pytest.mark.parametrize("text", ["14mm", "14x10", "14mmx", "1mmx2mmx3mm", ""])
def test_other_extents_are_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_extent_um(text)
