"""The parts that a scene is made of."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely

from wsi_tower.geometry import Level0Box
from wsi_tower.phantom.cells import CellMap
from wsi_tower.phantom.landscape import AreaRaster, Drift, Landscape, Place
from wsi_tower.phantom.nests import ANGLES, GLAND, NEST
from wsi_tower.phantom.noise import SmoothField, periodic_noise
from wsi_tower.phantom.nuclei import Nuclei, Sprites
from wsi_tower.phantom.recipe import EPITHELIUM, KINDS, LYMPHOCYTE, RECIPE, TUMOUR
from wsi_tower.phantom.shapes import pen_stroke_um, tissue_pieces_um
from wsi_tower.phantom.stains import Staining
from wsi_tower.phantom.texture import FAT_DEPTHS_UM, TextureAtlases

EXTENT_UM = (4000.0, 3000.0)


@pytest.fixture(scope="module")
def land() -> Landscape:
    """Tissue all over, tumour in the right half; some fat and lymphoid tissue."""
    return Landscape(
        tissue=AreaRaster.of([shapely.box(0, 0, *EXTENT_UM)], EXTENT_UM),
        tumour=AreaRaster.of([shapely.box(2000, -20, 4020, 3020)], EXTENT_UM),
        drift=Drift.drawn(np.random.default_rng(1), EXTENT_UM),
        turn=0.4,
        lymphoid_rich=0.0,
        fat_rich=0.0,
        basophilia=1.0,
        atlases=TextureAtlases.drawn(np.random.default_rng(2), 2.0),
    )


@pytest.fixture
def cells(land: Landscape) -> CellMap:
    return CellMap(land, RECIPE, (1, 0), EXTENT_UM)


class TestFields:
    def test_a_smooth_field_is_one_surface_however_it_is_cut(self) -> None:
        field = SmoothField.over(np.random.default_rng(0), (300, 200), 70.0)
        whole = field.over_box(Level0Box(0, 0, 300, 200), 1.0)
        parts = [
            np.hstack([field.over_box(Level0Box(x, y, 100, 50), 1.0) for x in (0, 100, 200)])
            for y in (0, 50, 100, 150)
        ]
        np.testing.assert_allclose(np.vstack(parts), whole, atol=1e-5)
        assert np.abs(np.diff(whole, axis=1)).max() < 0.1

    def test_points_and_pixels_of_a_field_agree(self) -> None:
        field = SmoothField.over(np.random.default_rng(0), (300, 200), 70.0)
        pixels = field.over_box(Level0Box(40, 20, 30, 25), 0.5)
        x_um, y_um = np.meshgrid((40 + np.arange(30) + 0.5) / 2, (20 + np.arange(25) + 0.5) / 2)
        points = field.at(x_um.ravel(), y_um.ravel())
        np.testing.assert_allclose(points, pixels.ravel(), atol=1e-4)

    def test_a_constant_lattice_gives_a_constant_field(self) -> None:
        field = SmoothField(np.full((13, 13), 3, np.float32), 10.0)
        np.testing.assert_allclose(field.over_box(Level0Box(7, 13, 40, 30), 1.0), 3, rtol=1e-6)
        np.testing.assert_allclose(field.at(np.array([-5.0, 33.0]), np.array([0.0, 7.0])), 3)

    def test_periodic_noise_has_no_seam(self) -> None:
        noise = periodic_noise(np.random.default_rng(0), 128, (40.0, 20.0))
        seam, inside = noise[:, 0] - noise[:, -1], np.diff(noise, axis=1)
        assert np.abs(seam).max() <= np.abs(inside).max()
        assert noise.std() == pytest.approx(1, rel=1e-4)

    def test_an_atlas_is_read_at_pixel_centres_and_repeats(self) -> None:
        atlas = TextureAtlases.drawn(np.random.default_rng(3), 4.0).cytoplasm
        x_um, y_um = np.array([[10.0, 14.0]], np.float32), np.array([[2.0, 2.0]], np.float32)
        first = atlas.channels[0, 2:4] / 255
        for periods in (0, 1, 40):
            found = atlas.at(x_um + np.float32(periods * atlas.period_um), y_um)
            np.testing.assert_allclose(found[:, 0].T, first, atol=2e-3)

    def test_collagen_runs_along_the_direction_that_is_told(self, land: Landscape) -> None:
        x_um, y_um = np.array([700.0, 2500.0]), np.array([900.0, 1700.0])
        turn = land.fibre_direction(x_um, y_um)
        here = land.along_fibres(Place.points(x_um, y_um))[1]
        for sign in (-1, 1):
            x_on, y_on = x_um + 10 * sign * np.cos(turn), y_um + 10 * sign * np.sin(turn)
            assert np.abs(land.along_fibres(Place.points(x_on, y_on))[1] - here).max() < 0.6


class TestAreas:
    def test_a_raster_knows_inside_from_outside(self) -> None:
        raster = AreaRaster.of([shapely.box(100, 200, 300, 400)], (1000, 800))
        x_um, y_um = np.array([200.0, 90.0, 200.0, 310.0]), np.array([300.0, 300.0, 190.0, 300.0])
        assert raster.at(Place.points(x_um, y_um)).round().tolist() == [1, 0, 0, 0]
        # The rim lies at its place to a cell of 8 µm.
        rim = raster.at(Place.points(np.array([84.0, 108.0]), np.array([300.0, 300.0])))
        assert rim.tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("frame", "share"),
        [
            ((400, 400, 500, 500), "none"),
            ((150, 250, 250, 350), "all"),
            ((50, 250, 150, 350), "some"),
            ((-50, -50, 900, 900), "some"),
            ((-300, -300, -200, -200), "none"),
            ((0, 0, 95, 195), "some"),
        ],
    )
    def test_a_raster_is_sure_only_away_from_rims(
        self, frame: tuple[float, float, float, float], share: str
    ) -> None:
        raster = AreaRaster.of([shapely.box(100, 200, 300, 400)], (1000, 800))
        assert raster.share(*frame) == share

    def test_fat_cells_are_round_and_keep_their_walls(self) -> None:
        depth = TextureAtlases.drawn(np.random.default_rng(4), 1.0).fat.channels[..., 0]
        low_um, high_um = FAT_DEPTHS_UM
        inside = low_um + (high_um - low_um) * (depth / 255) > 0
        # Real fat is nearly all lipid; walls of 2 µm between cells of 66 µm, and corners.
        assert 0.75 < inside.mean() < 0.95


class TestNests:
    def test_glands_keep_apart_and_none_reaches_farther_than_assumed(self, cells: CellMap) -> None:
        nests = cells.nests(Level0Box(0, 0, 4000, 3000), 1.0)
        assert {GLAND, NEST} <= set(nests.kind.tolist())
        assert nests.rim_um.max() + nests.cleft_um.max() < 150
        outlines = [shapely.Polygon(nests.outline(i, nests.rim_um[i])) for i in range(len(nests))]
        total = sum(outline.area for outline in outlines)
        assert shapely.union_all([outline.buffer(0) for outline in outlines]).area > 0.99 * total

    def test_tumour_nests_lie_in_tumour_and_glands_outside(self, cells: CellMap) -> None:
        nests = cells.nests(Level0Box(0, 0, 4000, 3000), 1.0)
        assert (nests.x_um[nests.kind == NEST] > 1990).all()
        glands = nests.x_um[nests.kind == GLAND]
        assert (glands[glands < 3950] < 2010).all()

    def test_a_point_is_held_where_its_nest_covers_it(self, cells: CellMap) -> None:
        nests = cells.nests(Level0Box(0, 0, 1000, 1000), 1.0)
        inside = nests.x_um + 0.9 * nests.rim_um[:, 0]
        assert nests.hold(inside, nests.y_um, 0).all()
        alone = nests.chosen(np.arange(1))
        beyond_um = alone.rim_um[0] + 2
        x_um = alone.x_um[0] + beyond_um * np.cos(ANGLES)
        y_um = alone.y_um[0] + beyond_um * np.sin(ANGLES)
        assert not alone.hold(x_um, y_um, 0).any()
        assert alone.hold(x_um, y_um, 3).all()


class TestCells:
    def test_nuclei_do_not_depend_on_the_box_that_asks(
        self, land: Landscape, cells: CellMap
    ) -> None:
        wide = cells.nuclei(Level0Box(500, 500, 1500, 1000), 1.0)
        other = CellMap(land, RECIPE, (1, 0), EXTENT_UM)
        narrow = other.nuclei(Level0Box(1100, 900, 100, 100), 1.0)
        again = wide.chosen(np.isin(wide.label, narrow.label))
        assert len(narrow) > 50
        np.testing.assert_array_equal(again.label, narrow.label)
        np.testing.assert_array_equal(again.x_um, narrow.x_um)
        np.testing.assert_array_equal(again.size, narrow.size)

    def test_forgotten_blocks_come_back_the_same(self, cells: CellMap) -> None:
        box = Level0Box(300, 300, 400, 400)
        before = cells.nuclei(box, 1.0)
        cells.forget_above(3000)
        assert not cells.is_remembered
        np.testing.assert_array_equal(cells.nuclei(box, 1.0).label, before.label)

    def test_every_label_is_there_once_and_names_its_kind(self, cells: CellMap) -> None:
        nuclei = cells.nuclei(Level0Box(0, 0, 4000, 3000), 1.0)
        assert len(np.unique(nuclei.label)) == len(nuclei)
        np.testing.assert_array_equal(nuclei.label % 8, nuclei.kind)
        assert nuclei.label.min() > 0
        assert set(nuclei.kind.tolist()) == set(range(len(KINDS)))

    def test_tumour_cells_are_larger_and_lie_in_tumour(self, cells: CellMap) -> None:
        nuclei = cells.nuclei(Level0Box(0, 0, 4000, 3000), 1.0)
        # A nest belongs to the tumour whole: it may reach past the outline by its own radius.
        assert (nuclei.x_um[nuclei.kind == TUMOUR] > 2000 - 150).all()
        epithelium = nuclei.x_um[nuclei.kind == EPITHELIUM]
        assert (epithelium[epithelium < 3800] < 2000 + 150).all()
        area = [kind.length_um * kind.breadth_um for kind in RECIPE.nuclei]
        assert area[TUMOUR] > 1.3 * area[EPITHELIUM] > 1.3 * area[LYMPHOCYTE]

    def test_near_places_are_more_alike_than_distant_ones(self, cells: CellMap) -> None:
        x_um, y_um = np.meshgrid(np.arange(200, 1900, 100.0), np.arange(200, 2900, 100.0))
        place = Place.points(x_um.ravel(), y_um.ravel())
        drift = np.stack([place.of(cells.land.drift.size), place.of(cells.land.drift.cellularity)])
        apart = np.hypot(*(np.subtract.outer(along, along) for along in (place.x_um, place.y_um)))
        unlike = np.linalg.norm(drift[:, :, None] - drift[:, None], axis=0)
        near, distant = unlike[(apart > 0) & (apart < 300)], unlike[apart > 1500]
        assert near.mean() < 0.5 * distant.mean()


class TestSprites:
    @pytest.mark.parametrize("mpp", [0.25, 0.5, 1.0, 2.0, 4.0])
    def test_a_nucleus_keeps_its_area_whatever_the_pixel_size(self, mpp: float) -> None:
        sprites = Sprites.drawn(np.random.default_rng(5), RECIPE, mpp)
        for kind, thinning in zip(RECIPE.nuclei, sprites.thinning, strict=True):
            middle = sprites.shape[0] // 2 * sprites.shape[1] * sprites.shape[2]
            pictures = 1 - thinning[middle : middle + sprites.shape[1] * sprites.shape[2]]
            ellipse_um2 = math.pi / 4 * kind.length_um * kind.breadth_um
            # Wobble adds area in the mean; the soft rim keeps it.
            assert pictures.sum(axis=(1, 2)).mean() * mpp**2 == pytest.approx(ellipse_um2, rel=0.12)

    def test_what_is_laid_on_two_boxes_is_what_is_laid_on_one(self) -> None:
        sprites = Sprites.drawn(np.random.default_rng(5), RECIPE, 0.5)
        rng = np.random.default_rng(6)
        count = 60
        nuclei = Nuclei(
            rng.uniform(0, 64, count),
            rng.uniform(0, 32, count),
            rng.integers(0, len(KINDS), count),
            rng.uniform(0, 1, count),
            rng.uniform(0, 7, count),
            rng.uniform(0, 1, count),
            np.arange(1, count + 1, dtype=np.uint32),
        )
        whole = _laid(sprites, nuclei, Level0Box(0, 0, 128, 64))
        halves = [_laid(sprites, nuclei, Level0Box(x, 0, 64, 64)) for x in (0, 64)]
        for plane, left, right in zip(whole, *halves, strict=True):
            np.testing.assert_array_equal(plane, np.hstack([left, right]))
        chromatin, bare, labels = whole
        assert chromatin.max() > 0.3
        assert ((labels > 0) <= (bare < 0.51)).all()


def _laid(sprites: Sprites, nuclei: Nuclei, box: Level0Box) -> tuple[np.ndarray, ...]:
    shape = (box.height, box.width)
    chromatin, bare = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    labels = np.zeros(shape, np.uint32)
    sprites.lay(nuclei, box, chromatin, bare)
    sprites.label(nuclei, box, labels)
    return chromatin, bare, labels


def test_bare_glass_and_pure_stains_follow_beer_and_lambert() -> None:
    vectors = np.array([[0.6, 0.8, 0.0], [0.0, 1.0, 0.0]], np.float32)
    staining = Staining(vectors, (1.0, 2.0), (200, 200, 200))
    none, unit, half = (np.full((1, 1), value, np.float32) for value in (0, 1, 0.5))
    assert staining.rgb(none, none).ravel().tolist() == [200, 200, 200]
    # 200 · 10^-0.6 = 50.2, 200 · 10^-0.8 = 31.7
    assert staining.rgb(unit, none).ravel().tolist() == [50, 32, 200]
    # Half a unit of eosin at strength 2 is one unit: 200 · 10^-1 = 20
    assert staining.rgb(none, half).ravel().tolist() == [200, 20, 200]


def _tiles_within(pieces: list[shapely.Polygon], side_um: float) -> np.ndarray:
    """Centres of a grid's tiles that lie wholly in tissue."""
    x, y = np.meshgrid(np.arange(0, 14_000, side_um), np.arange(0, 11_000, side_um))
    boxes = shapely.box(x, y, x + side_um, y + side_um).ravel()
    return np.array(
        [
            box.centroid.coords[0]
            for box in boxes[shapely.contains(shapely.union_all(pieces), boxes)]
        ]
    )


@pytest.mark.parametrize("seed", range(25))
def test_tissue_spreads_so_that_tiles_lie_more_than_ten_millimetres_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pieces = tissue_pieces_um(rng, 14_000, 11_000)
    centres = _tiles_within(pieces, 256)
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    assert distances.max() > 10_000
    assert all(piece.is_valid for piece in pieces)
    assert shapely.box(0, 0, 14_000, 11_000).contains(shapely.union_all(pieces))
    assert 0.1 < sum(piece.area for piece in pieces) / (14_000 * 11_000) < 0.6


@pytest.mark.parametrize("seed", range(8))
def test_a_pen_stroke_is_as_wide_as_a_felt_pen_and_lies_on_tissue_and_glass(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pieces = tissue_pieces_um(rng, 14_000, 11_000)
    stroke = pen_stroke_um(rng, pieces, 14_000, 11_000)
    over_tissue = stroke.intersection(shapely.union_all(pieces)).area / stroke.area
    assert 0.05 < over_tissue < 0.95
    # Nothing is left of a band of 1 to 1.5 mm when 0.75 mm are taken off on both sides.
    assert stroke.buffer(-760).is_empty
    assert not stroke.buffer(-490).is_empty
