"""Folds, places out of focus and dust: sizes, where they lie, and that boxes meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from wsi_tower.geometry import Level0Box
from wsi_tower.phantom import PhantomSettings
from wsi_tower.phantom.cover import Patch, Raster, seen_through
from wsi_tower.phantom.damage import BlurPatch, Dust, Fold, drawn_damage
from wsi_tower.phantom.shapes import longest_um, tissue_pieces_um

if TYPE_CHECKING:
    from shapely.geometry import Polygon

PIECE = box(1_000, 1_000, 7_000, 6_000)
MPP = 0.5


def made(kind: type[Fold] | type[BlurPatch], seed: int, mpp: float = MPP) -> Fold | BlurPatch:
    patch = kind.drawn(np.random.default_rng(seed), PIECE, mpp)
    assert patch is not None
    return patch


def whole(patch: Patch) -> Level0Box:
    left, top, right, lower = (int(bound) for bound in patch.bounds_l0)
    return Level0Box(left, top, right - left + 1, lower - top + 1)


def inside(area_l0: Polygon, frame: Level0Box) -> np.ndarray:
    """Which pixel centres of a box lie in an area, by another library than the rasters'."""
    x = frame.x + 0.5 + np.arange(frame.width)
    y = frame.y + 0.5 + np.arange(frame.height)
    return np.asarray(shapely.contains_xy(area_l0, *np.meshgrid(x, y)))


@pytest.mark.parametrize("kind", [Fold, BlurPatch])
class TestPatches:
    @pytest.mark.parametrize("seed", range(3))
    def test_the_outline_lies_on_tissue_and_has_the_size_promised(
        self, kind: type[Fold] | type[BlurPatch], seed: int
    ) -> None:
        outline_um = shapely.transform(made(kind, seed).outline_l0, lambda xy: xy * MPP)
        assert outline_um.is_valid
        assert outline_um.difference(PIECE).area < 1e-6 * outline_um.area
        shortest, longest = {Fold: (500, 3_000), BlurPatch: (250, 1_500)}[kind]
        assert shortest <= longest_um(outline_um) <= 1.05 * longest

    def test_boxes_meet_without_a_seam(self, kind: type[Fold] | type[BlurPatch]) -> None:
        patch = made(kind, 1)
        frame = whole(patch)
        at_once = patch.cover(frame)
        assert at_once.dtype == np.float32
        for left, width in ((0, 97), (97, 64), (161, frame.width - 161)):
            part = patch.cover(Level0Box(frame.x + left, frame.y, width, frame.height))
            assert np.array_equal(part, at_once[:, left : left + width])

    def test_the_cover_is_0_where_nothing_is_touched(
        self, kind: type[Fold] | type[BlurPatch]
    ) -> None:
        patch = made(kind, 2)
        frame = whole(patch)
        for y in range(frame.y - 256, frame.y + frame.height + 256, 128):
            for x in range(frame.x - 256, frame.x + frame.width + 256, 128):
                tile = Level0Box(x, y, 128, 128)
                if not patch.touches(tile):
                    assert not patch.cover(tile).any()

    def test_most_is_covered_inside_the_outline_and_little_outside(
        self, kind: type[Fold] | type[BlurPatch]
    ) -> None:
        patch = made(kind, 0, mpp=4)
        frame = whole(patch)
        cover, within = patch.cover(frame), inside(patch.outline_l0, frame)
        assert 0 <= cover.min() <= cover.max() <= 1
        assert cover[within].mean() > 0.5
        assert cover[~within].mean() < 0.15

    def test_a_piece_too_small_has_none(self, kind: type[Fold] | type[BlurPatch]) -> None:
        assert kind.drawn(np.random.default_rng(0), box(0, 0, 200, 150), MPP) is None


def test_a_fold_is_a_ribbon_60_to_140_um_wide_with_one_sharp_rim() -> None:
    for seed in range(4):
        fold = made(Fold, seed, mpp=1)
        outline = fold.outline_l0
        # Twice the radius of the largest circle that fits; swelling adds up to 18 %.
        width = 2 * shapely.maximum_inscribed_circle(outline).length
        assert 45 < width < 1.2 * 140
        cover = fold.cover(whole(fold))
        steepest = np.hypot(*np.gradient(cover)).max()
        assert steepest > 0.1, "0 to full within a few micrometres"


def test_a_blur_sets_in_over_about_100_um() -> None:
    blur = made(BlurPatch, 0, mpp=2)
    cover = blur.cover(whole(blur))
    # A rim that rises in a Gaussian's way over 100 to 140 µm is steepest with 1 in 60 to 90 µm.
    steepest_a_um = np.hypot(*np.gradient(cover)).max() / 2
    assert 1 / 90 < steepest_a_um < 1 / 50


@pytest.fixture(scope="module")
def dust() -> Dust:
    return Dust.drawn(np.random.default_rng(4), 12_000, 9_000, MPP)


class TestDust:
    def test_there_is_about_a_speck_a_square_millimetre_and_few_fibres(self, dust: Dust) -> None:
        lengths = np.array([MPP * longest_um(mote.patch.outline_l0) for mote in dust.motes])
        specks = lengths <= 20.01
        assert 70 < specks.sum() < 150  # 108 expected
        assert lengths[specks].min() >= 2.99
        assert (~specks).sum() < 12
        assert lengths[~specks].max() <= 410

    def test_fibres_are_thin(self, dust: Dust) -> None:
        for mote in dust.motes:
            outline = mote.patch.outline_l0
            if longest_um(outline) * MPP > 21:
                thickness = 2 * MPP * shapely.maximum_inscribed_circle(outline).length
                assert 1.8 <= thickness < 8  # where it crosses itself, twice as thick

    def test_tiles_of_bare_glass_stay_bare(self, dust: Dust) -> None:
        tiles = [
            Level0Box(x, y, 256, 256) for x in range(0, 24_000, 256) for y in range(0, 18_000, 256)
        ]
        touched = [tile for tile in tiles if dust.touches(tile)]
        assert 0 < len(touched) < 0.06 * len(tiles)
        bare = np.full((256, 256, 3), 240, np.uint8)
        for tile in tiles[::97]:
            seen = dust.over(bare, tile)
            assert dust.touches(tile) or np.array_equal(seen, bare)

    def test_dust_is_dark_where_it_lies_and_boxes_meet(self, dust: Dust) -> None:
        bare = np.full((240, 240, 3), 240, np.uint8)
        for mote in dust.motes[:10]:
            x, y = (int(place) for place in mote.patch.outline_l0.representative_point().coords[0])
            seen = dust.over(bare, Level0Box(x - 120, y - 120, 240, 240))
            assert seen[120, 120].max() < 225
            assert (bare == 240).all(), "what lies behind is left as it was"
            left = dust.over(bare[:, :120], Level0Box(x - 120, y - 120, 120, 240))
            right = dust.over(bare[:, 120:], Level0Box(x, y - 120, 120, 240))
            assert np.array_equal(np.concatenate([left, right], axis=1), seen)


class TestOfASlide:
    def test_two_slides_of_three_are_folded_and_every_second_has_a_blur(self) -> None:
        settings = PhantomSettings(width_um=9_000, height_um=7_000, mpp=8)
        folds, blurs = [], []
        for seed in range(60):
            damage = drawn_damage(np.random.default_rng(seed), [PIECE], settings)
            folds.append(len(damage.folds))
            blurs.append(len(damage.blurs))
        assert set(folds) == {0, 1, 2, 3}
        assert 0.5 < np.mean(np.array(folds) > 0) < 0.83
        assert set(blurs) == {0, 1}
        assert 0.3 < np.mean(blurs) < 0.7

    def test_same_seed_same_damage(self) -> None:
        settings = PhantomSettings(width_um=9_000, height_um=7_000, mpp=2)
        one, other = (drawn_damage(np.random.default_rng(2), [PIECE], settings) for _ in range(2))
        assert [mote.patch.outline_l0 for mote in one.dust.motes] == [
            mote.patch.outline_l0 for mote in other.dust.motes
        ]
        for fold, again in zip(one.folds, other.folds, strict=True):
            assert np.array_equal(fold.cover(whole(fold)), again.cover(whole(fold)))

    def test_where_arrays_lie_in_memory_changes_nothing(self) -> None:
        first = made(Fold, 5, mpp=2)
        frame, kept = whole(first), []
        for count in range(1, 40):
            kept.append(np.empty(8 * count + 1, np.uint8))
            assert np.array_equal(made(Fold, 5, mpp=2).cover(frame), first.cover(frame))

    @pytest.mark.parametrize("side_um", [100.0, 640.0, 2_000.0])
    def test_small_slides_can_be_damaged_too(self, side_um: float) -> None:
        settings = PhantomSettings(width_um=side_um, height_um=side_um, mpp=1, tile_px=64)
        for seed in range(6):
            rng = np.random.default_rng(seed)
            damage = drawn_damage(rng, tissue_pieces_um(rng, side_um, side_um), settings)
            for patch in (*damage.folds, *damage.blurs):
                assert longest_um(patch.outline_l0) <= 0.65 * side_um

    def test_without_tissue_there_is_dust_alone(self) -> None:
        damage = drawn_damage(np.random.default_rng(0), [], PhantomSettings())
        assert (damage.folds, damage.blurs) == ((), ())
        assert damage.dust.motes


@given(st.floats(0, 1))
def test_half_a_cover_lets_the_root_of_its_transmission_through(cover: float) -> None:
    behind = np.full((1, 1, 3), 200, np.uint8)
    seen = seen_through(behind, np.full((1, 1), cover, np.float32), (0.25, 0.5, 1.0))
    expected = 200 * np.array([0.25**cover, 0.5**cover, 1])
    assert np.abs(seen[0, 0] - expected).max() <= 0.51


@given(
    st.floats(-50, 50),
    st.floats(-50, 50),
    st.floats(40, 400),
    st.floats(40, 400),
)
def test_a_raster_paints_an_area_where_it_lies(
    left: float, top: float, width: float, height: float
) -> None:
    area = box(left, top, left + width, top + height)
    raster = Raster.around(area, 4)
    share = raster.painted(area) / 255
    assert raster.pitch_um**2 * share.sum() == pytest.approx(area.area, rel=0.15)
    rows, columns = np.mgrid[: raster.rows, : raster.columns]
    centre_x = raster.left_um + raster.pitch_um * ((columns + 0.5) * share).sum() / share.sum()
    centre_y = raster.top_um + raster.pitch_um * ((rows + 0.5) * share).sum() / share.sum()
    assert centre_x == pytest.approx(area.centroid.x, abs=1)
    assert centre_y == pytest.approx(area.centroid.y, abs=1)
