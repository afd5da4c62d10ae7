"""What the port itself computes, on slides made of arrays."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.slides.builders import picture
from tests.slides.conformance import area_means
from wsi_tower.errors import SettingsError, UnreadableSlideError, UnsupportedSlideError
from wsi_tower.geometry import Level0Point, Level0Size, LevelBox, LevelSize
from wsi_tower.slides import Overview, Rgb, Slide, SlideInfo, port, resampled, shrunk
from wsi_tower.slides.info import level_of


class ArraySlide(Slide):
    """A slide in memory that remembers how much was read at once."""

    def __init__(self, *levels: Rgb, size: LevelSize | None = None) -> None:
        sizes = [LevelSize(level.shape[1], level.shape[0]) for level in levels]
        sizes += [size] if size else []
        size_l0 = Level0Size(sizes[0].width, sizes[0].height)
        described = tuple(level_of(one, size_l0) for one in sizes)
        super().__init__(SlideInfo("a", "a", "array", "none", size_l0, described, None, None, None))
        self._levels = levels
        self.largest_read_px = 0

    def _read_level(self, level: int, box: LevelBox) -> Rgb:
        self.largest_read_px = max(self.largest_read_px, box.width * box.height)
        return self._levels[level][box.y : box.y + box.height, box.x : box.x + box.width].copy()

    def _close(self) -> None:
        pass


def level(width: int, height: int, of: tuple[int, int]) -> float:
    return level_of(LevelSize(width, height), Level0Size(*of)).downsample


# CMU-1-Small-Region has 2967 rows; halving and dropping the odd row gives these levels.
@pytest.mark.parametrize(
    ("size", "downsample"), [((2220, 2967), 1), ((1110, 1483), 2), ((555, 741), 4), ((277, 370), 8)]
)
def test_levels_have_the_downsample_that_their_writer_meant(
    size: tuple[int, int], downsample: int
) -> None:
    assert level(*size, of=(2220, 2967)) == downsample


def test_levels_that_round_up_count_as_halved_too() -> None:
    assert level(278, 371, of=(2220, 2967)) == 8


def test_other_ratios_are_kept_as_the_mean_of_both_axes() -> None:
    assert level(400, 300, of=(1000, 750)) == pytest.approx(2.5)
    # No whole number explains 330 columns.
    assert level(330, 334, of=(1000, 1000)) == pytest.approx((1000 / 330 + 1000 / 334) / 2)


@given(st.integers(4096, 500_000), st.integers(16, 500_000), st.integers(1, 4), st.booleans())
def test_repeated_halving_is_always_recognised(w: int, h: int, times: int, up: bool) -> None:
    width, height = w, h
    for _ in range(times):
        width, height = (width + up) // 2, (height + up) // 2
    assert level(width, height, of=(w, h)) == 2**times


def test_overview_of_whole_ratio_is_the_mean_of_each_block() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2, :2] = 100
    image[:2, 2:4] = [[[0] * 3, [40] * 3], [[80] * 3, [120] * 3]]
    overview = ArraySlide(image).overview(2)
    assert overview.pitch_l0 == 2
    assert overview.rgb[..., 0].tolist() == [[100, 60, 0], [0, 0, 0]]


def test_overview_counts_what_lies_beyond_the_edges_as_white() -> None:
    overview = ArraySlide(np.zeros((3, 5, 3), np.uint8)).overview(2)
    # The last column is half outside, the last row too, their corner by three quarters.
    assert overview.rgb[..., 0].tolist() == [[0, 0, 128], [128, 128, 191]]


def test_overview_of_a_fraction_weighs_pixels_by_area() -> None:
    row = np.array([10, 20, 40], np.uint8)
    image = np.repeat(np.repeat(row[None, :, None], 3, axis=0), 3, axis=2)
    overview = ArraySlide(image).overview(1.5)
    # The middle pixel is shared: (10 + 10) / 1.5, and (10 + 40) / 1.5.
    assert overview.rgb[0, :, 0].tolist() == [13, 33]


@pytest.mark.parametrize("pitch_l0", [2.0, 3.0, 2.5, 7.3, 16.03])
def test_overview_in_small_blocks_is_the_overview_at_once(
    pitch_l0: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = ArraySlide(picture(401, 305))
    at_once = slide.overview(pitch_l0)
    monkeypatch.setattr(port, "_BLOCK_BYTES", 40_000)
    in_blocks = slide.overview(pitch_l0)
    assert in_blocks.pitch_l0 == at_once.pitch_l0
    # A block's weights are rounded anew; halves may fall to either side.
    assert np.abs(in_blocks.rgb.astype(int) - at_once.rgb).max() <= 1


def test_overview_of_a_wide_slide_reads_little_at_a_time() -> None:
    slide = ArraySlide(np.full((700, 40_000, 3), 7, np.uint8))
    slide.overview(300)
    assert 3 * slide.largest_read_px <= 48 * 1024 * 1024


@given(st.floats(1.0, 5000.0))
def test_pitch_is_moved_by_at_most_a_hundredth(pitch_l0: float) -> None:
    ratio = port._small_ratio(pitch_l0)
    assert isinstance(ratio, Fraction)
    assert abs(float(ratio) / pitch_l0 - 1) <= 0.01
    assert ratio >= 1


@given(st.integers(1, 300), st.integers(1, 300), st.floats(1.0, 40.0))
def test_overview_covers_the_slide_and_no_more(width: int, height: int, pitch_l0: float) -> None:
    overview = ArraySlide(np.zeros((height, width, 3), np.uint8)).overview(pitch_l0)
    rows, columns = overview.rgb.shape[:2]
    assert (columns - 1) * overview.pitch_l0 < width <= columns * overview.pitch_l0 + 1e-6
    assert (rows - 1) * overview.pitch_l0 < height <= rows * overview.pitch_l0 + 1e-6


def test_overview_reads_the_coarsest_level_that_is_fine_enough() -> None:
    image = picture(64, 64)
    slide = ArraySlide(image, np.full((32, 32, 3), 50, np.uint8), np.full((16, 16, 3), 9, np.uint8))
    assert (slide.overview(4).rgb == 9).all()
    assert (slide.overview(3).rgb[:21, :21] == 50).all()
    assert np.abs(slide.overview(1.5).rgb - area_means(image, 1.5)).max() <= 0.51


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 2000))
def test_thumbnails_never_exceed_what_was_asked(width: int, height: int, max_px: int) -> None:
    class Unread(ArraySlide):
        def _read_level(self, level: int, box: LevelBox) -> Rgb:
            del level
            return np.zeros((box.height, box.width, 3), np.uint8)

    thumbnail = Unread(size=LevelSize(width, height)).thumbnail(max_px)
    assert max(thumbnail.rgb.shape) <= max(max_px, 3)


def test_thumbnail_of_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least 1"):
        ArraySlide(picture(8, 8)).thumbnail(0)


def test_overview_larger_than_memory_is_refused_before_it_is_made() -> None:
    slide = ArraySlide(size=LevelSize(900_000, 900_000))
    with pytest.raises(UnsupportedSlideError, match="slide a of 900000 × 900000 px is too large"):
        slide.overview(2)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (5_000_000, 5), (2**31, 2**31)])
def test_sizes_that_no_slide_has_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UnreadableSlideError, match=f"{size[0]} × {size[1]} px"):
        ArraySlide(size=LevelSize(*size))


def test_corner_is_rounded_to_the_level_s_nearest_pixel() -> None:
    image = picture(64, 64)
    slide = ArraySlide(image, image[::4, ::4])
    for x_l0, x_px in [(8, 2), (9, 2), (11, 3), (-1, 0), (-3, -1)]:
        region = slide.read_region(Level0Point(x_l0, 0), 1, LevelSize(2, 1))
        assert (region == slide.read_level_box(1, LevelBox(x_px, 0, 2, 1))).all()


def test_level_for_takes_the_finest_where_none_is_fine_enough() -> None:
    slide = ArraySlide(picture(64, 64), picture(32, 32), picture(16, 16))
    assert [slide.level_for(downsample) for downsample in (0.5, 1, 1.9, 2, 3.9, 4, 99)] == [
        *(0, 0, 0, 1, 1, 2, 2)
    ]


def test_resampled_keeps_an_image_of_that_size_as_it_is() -> None:
    image = picture(10, 8)
    assert resampled(image, LevelSize(10, 8)) is image


def test_resampled_up_has_the_size_asked_for() -> None:
    assert (
        resampled(np.full((4, 4, 3), 9, np.uint8), LevelSize(7, 9)).tolist() == [[[9] * 3] * 7] * 9
    )


@pytest.mark.parametrize(("height", "width"), [(90, 40), (64, 64), (33, 100), (101, 7)])
def test_a_shrunk_overview_is_the_mean_of_its_pixels(height: int, width: int) -> None:
    rgb = picture(width, height)
    small = shrunk(Overview(rgb, 16.0), 30)
    ratio = small.pitch_l0 / 16
    assert max(small.rgb.shape[:2]) <= 30
    assert ratio == pytest.approx(max(height, width) / 30, rel=0.03)
    assert np.abs(small.rgb - area_means(rgb, ratio)).max() <= 0.51
    assert shrunk(small, 30) is small
