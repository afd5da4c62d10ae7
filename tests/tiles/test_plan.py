"""The grid against its definition: integers from the slide's origin, whole tiles, none twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wsi_tower.errors import ResolutionError, SettingsError, TooSmallSlideError
from wsi_tower.geometry import Level0Size, LevelSize, Mpp
from wsi_tower.slides import Level, PixelSize, SlideInfo
from wsi_tower.tiles import TileSettings, plan_tiles


def info(width: int, height: int, downsamples: tuple[float, ...] = (1.0,)) -> SlideInfo:
    levels = tuple(Level(LevelSize(int(width / d), int(height / d)), d) for d in downsamples)
    return SlideInfo(
        name="a.svs",
        source="a.svs",
        reader="openslide",
        vendor="aperio",
        size=Level0Size(width, height),
        levels=levels,
        pixel_size=PixelSize(Mpp(0.25, 0.25), "user"),
        objective_power=None,
        bounds=None,
    )


@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    tile_px=st.integers(1, 1024),
    overlap_px=st.integers(0, 1023),
    mpp_l0=st.floats(0.1, 4.0),
    mpp=st.floats(0.1, 16.0),
    coarser=st.sampled_from([(1.0,), (1.0, 4.0), (1.0, 2.0, 4.0, 8.0), (1.0, 3.9994)]),
)
def test_every_tile_lies_inside_and_none_twice(
    width: int,
    height: int,
    tile_px: int,
    overlap_px: int,
    mpp_l0: float,
    mpp: float,
    coarser: tuple[float, ...],
) -> None:
    assume(overlap_px < tile_px and width / coarser[-1] >= 1 and height / coarser[-1] >= 1)
    settings = TileSettings(mpp=mpp, tile_px=tile_px, overlap_px=overlap_px)
    try:
        plan = plan_tiles(info(width, height, coarser), Mpp(mpp_l0, mpp_l0), tile_px, settings)
    except (ResolutionError, TooSmallSlideError, SettingsError):
        return
    xy_l0 = plan.xy_l0() if plan.columns * plan.rows < 200_000 else np.empty((0, 2), np.int64)

    assert plan.pitch_l0 == round((tile_px - overlap_px) * plan.effective_mpp / mpp_l0)
    assert plan.footprint_l0 == max(1, round(tile_px * plan.effective_mpp / mpp_l0))
    # One more column or row would leave the slide.
    assert (plan.columns - 1) * plan.pitch_l0 + plan.footprint_l0 <= width
    assert plan.columns * plan.pitch_l0 + plan.footprint_l0 > width
    assert plan.rows * plan.pitch_l0 + plan.footprint_l0 > height
    if len(xy_l0):
        assert xy_l0.min() == 0
        assert (xy_l0 + plan.footprint_l0 <= [width, height]).all()
        assert len(np.unique(xy_l0, axis=0)) == plan.columns * plan.rows


def test_a_level_within_5_percent_is_used_as_it_is() -> None:
    # 0.2431 × 2 = 0.4862, 2.8 % from 0.5: level 1, whose own resolution is kept.
    plan = plan_tiles(info(10_000, 8_000, (1.0, 2.0)), Mpp(0.2431, 0.2431), 256, TileSettings())
    assert (plan.level, plan.is_resampled) == (1, False)
    assert plan.effective_mpp == pytest.approx(0.4862)
    assert (plan.pitch_l0, plan.footprint_l0) == (512, 512)


def test_else_the_next_finer_level_is_resampled() -> None:
    # 0.25 × 4 = 1.0 is too coarse for 0.6; level 0 is read, 256 × 0.6 / 0.25 = 614.4 px a tile.
    plan = plan_tiles(info(10_000, 8_000, (1.0, 4.0)), Mpp(0.25, 0.25), 256, TileSettings(mpp=0.6))
    assert (plan.level, plan.is_resampled) == (0, True)
    assert plan.effective_mpp == 0.6
    assert (plan.pitch_l0, plan.footprint_l0) == (614, 614)
    assert (plan.columns, plan.rows) == (16, 13)


def test_overlap_shortens_the_pitch_alone() -> None:
    plan = plan_tiles(
        info(1000, 1000), Mpp(0.5, 0.5), 100, TileSettings(tile_px=100, overlap_px=20)
    )
    assert (plan.pitch_l0, plan.footprint_l0, plan.columns) == (80, 100, 12)


def test_centres_are_micrometres_along_each_axis() -> None:
    settings = TileSettings(mpp=0.5, tile_px=100)
    plan = plan_tiles(info(1000, 1000), Mpp(0.5, 0.51), 100, settings)
    centre_um = plan.centre_um(np.array([[0, 0], [100, 200]]), Mpp(0.5, 0.51))
    np.testing.assert_allclose(centre_um, [[25.0, 25.5], [75.0, 127.5]])


def test_finer_than_the_slide_is_refused_unless_allowed() -> None:
    with pytest.raises(ResolutionError, match=r"0\.5 µm/px at its finest.*--allow-upsample"):
        plan_tiles(info(1000, 1000), Mpp(0.5, 0.5), 256, TileSettings(mpp=0.25))
    allowed = TileSettings(mpp=0.25, allow_upsample=True)
    plan = plan_tiles(info(1000, 1000), Mpp(0.5, 0.5), 256, allowed)
    assert (plan.level, plan.is_resampled, plan.footprint_l0) == (0, True, 128)


def test_a_slide_smaller_than_one_tile_is_refused() -> None:
    with pytest.raises(TooSmallSlideError, match=r"100 × 80 px is smaller than one tile of 256"):
        plan_tiles(info(100, 80), Mpp(0.5, 0.5), 256, TileSettings())


@pytest.mark.parametrize("overlap", [256, 300])
def test_an_overlap_of_a_tile_or_more_is_refused(overlap: int) -> None:
    with pytest.raises(SettingsError, match="must be smaller than the tile of 256 px"):
        TileSettings(overlap_px=overlap)


def test_an_endless_grid_is_refused() -> None:
    with pytest.raises(SettingsError, match="is more than 50,000,000"):
        plan_tiles(info(100_000, 100_000), Mpp(0.5, 0.5), 4, TileSettings(tile_px=4))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mpp", 0.0),
        ("mpp", float("nan")),
        ("tile_px", 0),
        ("overlap_px", -1),
        ("min_tissue", 1.5),
        ("max_pen", -0.1),
        ("min_focus", 5.0),
        ("pixels", "png"),
        ("jpeg_quality", 0),
    ],
)
def test_impossible_settings_name_their_value(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=str(value)):
        TileSettings(**{name: value})  # type: ignore[arg-type]
