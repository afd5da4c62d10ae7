"""The parts that a scene is made of."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from wsi_tower.geometry import Level0Box
from wsi_tower.phantom.noise import SmoothField, periodic_noise
from wsi_tower.phantom.shapes import pen_stroke_um, tissue_pieces_um
from wsi_tower.phantom.stains import Staining
from wsi_tower.phantom.texture import TextureAtlas


def test_a_smooth_field_is_one_surface_however_it_is_cut() -> None:
    field = SmoothField.over(np.random.default_rng(0), (300, 200), 70.0)
    whole = field(Level0Box(0, 0, 300, 200))
    parts = [
        np.hstack([field(Level0Box(x, y, 100, 50)) for x in (0, 100, 200)])
        for y in (0, 50, 100, 150)
    ]
    np.testing.assert_allclose(np.vstack(parts), whole, atol=1e-5)
    assert np.abs(np.diff(whole, axis=1)).max() < 0.1


def test_a_constant_lattice_gives_a_constant_field() -> None:
    field = SmoothField(np.full((9, 9), 3, np.float32), 10.0)
    np.testing.assert_allclose(field(Level0Box(7, 13, 40, 30)), 3, rtol=1e-6)


def test_periodic_noise_has_no_seam() -> None:
    noise = periodic_noise(np.random.default_rng(0), 128, (40.0, 20.0))
    seam, inside = noise[:, 0] - noise[:, -1], np.diff(noise, axis=1)
    assert np.abs(seam).max() <= np.abs(inside).max()
    assert noise.std() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("mpp", [2.0, 4.0])
def test_nuclei_keep_their_share_of_tissue_whatever_the_pixel_size(mpp: float) -> None:
    # Ellipses of 7.75 × 6 µm on a hexagonal lattice of 8.6 µm: 36.5 µm² in 64 µm², less what
    # neighbours and halos cover; blur and pixels move the rim a little.
    atlas = TextureAtlas.drawn(np.random.default_rng(3), mpp)
    share = float((atlas.cells[..., 0] / 185).mean())
    assert 0.3 < share < 0.6
    assert atlas.stroma.shape[-1] == 4
    assert len(atlas.stroma) == round(1024 / mpp)


def test_bare_glass_and_pure_stains_follow_beer_and_lambert() -> None:
    vectors = np.array([[0.6, 0.8, 0.0], [0.0, 1.0, 0.0]], np.float32)
    staining = Staining(vectors, (1.0, 2.0), (200, 200, 200))
    none, unit, half = (np.full((1, 1), value, np.float32) for value in (0, 1, 0.5))
    assert staining.rgb(none, none, none).ravel().tolist() == [200, 200, 200]
    # 200 · 10^-0.6 = 50.2, 200 · 10^-0.8 = 31.7
    assert staining.rgb(unit, none, none).ravel().tolist() == [50, 32, 200]
    # Half a unit of eosin at strength 2 is one unit: 200 · 10^-1 = 20
    assert staining.rgb(none, half, none).ravel().tolist() == [200, 20, 200]


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
