"""What every reader of slides must do, whatever the format: subclass, and give it a `case`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from wsi_tower.errors import MissingPixelSizeError, SettingsError
from wsi_tower.geometry import Level0Point, LevelBox, LevelSize
from wsi_tower.slides import open_slide

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.slides.builders import Case
    from wsi_tower.slides import Rgb, Slide


def seen(truth: Rgb, box: LevelBox) -> Rgb:
    """What a box shows: the slide where it is, white elsewhere."""
    canvas = np.full((box.height, box.width, 3), 255, np.uint8)
    for y in range(box.height):
        for x in range(box.width):
            if 0 <= box.y + y < truth.shape[0] and 0 <= box.x + x < truth.shape[1]:
                canvas[y, x] = truth[box.y + y, box.x + x]
    return canvas


class SlideConformance:
    """The contract of the `Slide` port."""

    @pytest.fixture
    def slide(self, case: Case) -> Iterator[Slide]:
        with open_slide(case.path, reader=case.reader) as slide:
            yield slide

    def assert_same(self, case: Case, level: int, found: Rgb, expected: Rgb) -> None:
        assert found.dtype == np.uint8
        assert found.shape == expected.shape
        difference = np.abs(found.astype(int) - expected.astype(int))
        assert difference.max() <= (case.tolerance if level else 0)

    def test_says_what_it_is(self, slide: Slide, case: Case) -> None:
        info = slide.info
        height, width = case.levels[0].shape[:2]
        assert info.name == case.path.name
        assert info.source == str(case.path)
        assert info.reader == case.reader
        assert (info.size.width, info.size.height) == (width, height)
        assert case.vendor in (None, info.vendor)
        found = [(level.size.height, level.size.width) for level in info.levels]
        assert found == [level.shape[:2] for level in case.levels]

    def test_first_level_is_the_finest(self, slide: Slide) -> None:
        downsamples = [level.downsample for level in slide.info.levels]
        assert downsamples[0] == 1.0
        assert downsamples == sorted(downsamples)

    def test_knows_its_pixel_size_or_says_how_to_give_it(self, slide: Slide, case: Case) -> None:
        if case.mpp_um is None:
            with pytest.raises(MissingPixelSizeError, match=f"--mpp-of {case.path.name}="):
                _ = slide.mpp
        else:
            assert (slide.mpp.x, slide.mpp.y) == pytest.approx((case.mpp_um, case.mpp_um), 1e-3)

    def test_every_level_has_its_own_pixels(self, slide: Slide, case: Case) -> None:
        for level, truth in enumerate(case.levels):
            box = LevelBox(0, 0, truth.shape[1], truth.shape[0])
            self.assert_same(case, level, slide.read_level_box(level, box), truth)

    def test_boxes_at_every_edge_and_across_tiles(self, slide: Slide, case: Case) -> None:
        for level, truth in enumerate(case.levels):
            height, width = truth.shape[:2]
            corners = [(-7, -5), (width - 9, -5), (-7, height - 11), (width - 9, height - 11)]
            for x, y in [*corners, (width // 2, height // 2), (width // 5, height // 3)]:
                box = LevelBox(x, y, 21, 17)
                self.assert_same(case, level, slide.read_level_box(level, box), seen(truth, box))

    def test_beyond_the_slide_is_white(self, slide: Slide, case: Case) -> None:
        height, width = case.levels[0].shape[:2]
        for x, y in [(width, 0), (0, height), (-30, 0), (0, -30), (9 * width, 9 * height)]:
            region = slide.read_region(Level0Point(x, y), 0, LevelSize(30, 30))
            assert region.shape == (30, 30, 3)
            assert (region == 255).all()

    def test_corners_are_given_at_level_0(self, slide: Slide, case: Case) -> None:
        for level, truth in enumerate(case.levels):
            step = 2**level if len(case.levels) > 1 else 1
            if slide.info.levels[level].downsample != step:
                continue
            x_px, y_px = truth.shape[1] // 3, truth.shape[0] // 4
            corner = Level0Point(step * x_px, step * y_px)
            region = slide.read_region(corner, level, LevelSize(9, 7))
            self.assert_same(case, level, region, seen(truth, LevelBox(x_px, y_px, 9, 7)))

    def test_reading_one_pixel_or_all_is_the_same(self, slide: Slide, case: Case) -> None:
        truth = case.levels[0]
        for x, y in [(0, 0), (truth.shape[1] - 1, truth.shape[0] - 1), (31, 17)]:
            assert (slide.read_level_box(0, LevelBox(x, y, 1, 1)) == truth[y, x]).all()

    def test_what_was_read_may_be_drawn_on(self, slide: Slide) -> None:
        box = LevelBox(0, 0, 8, 8)
        region = slide.read_level_box(0, box)
        before = region.copy()
        region[:] = 0
        assert (slide.read_level_box(0, box) == before).all()

    def test_overview_is_the_mean_of_the_pixels(self, slide: Slide, case: Case) -> None:
        overview = slide.overview(5.0)
        level = slide.level_for(5.0)
        downsample = slide.info.levels[level].downsample
        assert overview.pitch_l0 == pytest.approx(5.0, rel=0.01)
        expected = area_means(case.levels[level], overview.pitch_l0 / downsample)
        assert overview.rgb.shape == expected.shape
        difference = np.abs(overview.rgb.astype(float) - expected)
        assert difference.max() <= 0.51 + (case.tolerance if level else 0)

    @pytest.mark.parametrize("max_px", [1, 30, 64, 100])
    def test_thumbnails_fit_and_keep_the_shape(self, slide: Slide, max_px: int) -> None:
        thumbnail = slide.thumbnail(max_px)
        height, width = thumbnail.rgb.shape[:2]
        size = slide.info.size
        assert max(height, width) <= max_px
        assert width == pytest.approx(size.width / thumbnail.pitch_l0, abs=1)
        assert height == pytest.approx(size.height / thumbnail.pitch_l0, abs=1)
        assert max(height, width) >= min(max_px, 0.95 * max(size.width, size.height) - 1) * 0.95

    @pytest.mark.parametrize("level", [-1, 99])
    def test_refuses_levels_that_are_not_there(self, slide: Slide, level: int) -> None:
        with pytest.raises(SettingsError, match=f"has levels 0 to .*, not {level}"):
            slide.read_region(Level0Point(0, 0), level, LevelSize(1, 1))

    @pytest.mark.parametrize("size", [LevelSize(0, 5), LevelSize(5, 0), LevelSize(-1, 5)])
    def test_refuses_empty_sizes(self, slide: Slide, size: LevelSize) -> None:
        with pytest.raises(SettingsError, match="at least 1"):
            slide.read_region(Level0Point(0, 0), 0, size)

    @pytest.mark.parametrize("pitch_l0", [0.5, 0.0, -1.0, float("nan")])
    def test_refuses_overviews_finer_than_the_slide(self, slide: Slide, pitch_l0: float) -> None:
        with pytest.raises(SettingsError, match="not coarser"):
            slide.overview(pitch_l0)

    def test_closing_gives_the_file_back(self, case: Case) -> None:
        before = _open_files(case)
        with open_slide(case.path, reader=case.reader) as slide:
            slide.thumbnail(16)
        slide.close()
        assert _open_files(case) == before

    def test_the_user_s_pixel_size_wins(self, case: Case) -> None:
        given = 0.48 if case.mpp_um == 0.5 else (case.mpp_um or 0.25)
        with open_slide(case.path, reader=case.reader, mpp_um=given) as slide:
            assert slide.info.pixel_size is not None
            assert slide.info.pixel_size.origin == "user"
            assert (slide.mpp.x, slide.mpp.y) == (given, given)


def _open_files(case: Case) -> int:
    wanted = str(case.path.resolve())
    return sum(os.path.realpath(link) == wanted for link in Path("/proc/self/fd").iterdir())


def area_means(image: Rgb, ratio: float) -> np.ndarray:
    """Every cell of ``ratio`` pixels averaged by the area of each pixel in it; white beyond."""
    means = _mean_rows(image.astype(np.float64), ratio)
    return _mean_rows(means.swapaxes(0, 1), ratio).swapaxes(0, 1)


def _mean_rows(image: np.ndarray, ratio: float) -> np.ndarray:
    rows = int(np.ceil(len(image) / ratio - 1e-9))
    result = np.empty((rows, *image.shape[1:]))
    for row in range(rows):
        start, stop = row * ratio, (row + 1) * ratio
        pixels = range(int(start), int(np.ceil(stop - 1e-9)))
        weights = [min(stop, pixel + 1) - max(start, pixel) for pixel in pixels]
        values = [image[p] if p < len(image) else np.full(image.shape[1:], 255.0) for p in pixels]
        result[row] = np.average(values, axis=0, weights=weights)
    return result
