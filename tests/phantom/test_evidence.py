"""The measurements that docs/phantom.md quotes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import openslide
import pytest
import shapely

from benchmarks.phantom_looks import Crop, Statistics, hed_densities, power_slope, real_crops
from benchmarks.phantom_shortcut import (
    Tiles,
    balanced,
    balanced_accuracy,
    colour_features,
    edge_density,
    vote,
)
from benchmarks.phantom_truth import crops_of, written
from wsi_tower.annotations import read_geojson_polygons
from wsi_tower.phantom import PhantomSettings, truth_path

if TYPE_CHECKING:
    from pathlib import Path


def test_power_that_falls_with_the_square_of_frequency_has_slope_minus_two() -> None:
    rng = np.random.default_rng(0)
    side = 400
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = 1
    grey = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) / frequency).real
    assert power_slope(grey) == pytest.approx(-2, abs=0.1)


def test_white_has_no_density_and_pure_haematoxylin_has_one_stain() -> None:
    assert np.abs(hed_densities(np.full((2, 2, 3), 255, np.uint8))).max() == 0
    # Ruifrok's vector for haematoxylin at density 1.
    light = 255 * np.exp(-np.array([0.65, 0.70, 0.29]))
    found = hed_densities(np.tile(light.round().astype(np.uint8), (2, 2, 1)))[0, 0]
    assert found == pytest.approx([1, 0, 0], abs=0.01)


def test_statistics_of_a_drawn_crop() -> None:
    rgb = np.full((400, 400, 3), 255, np.uint8)
    nuclear = np.zeros((400, 400), bool)
    rng = np.random.default_rng(0)
    nuclear[100:140, 100:120] = True
    rgb[nuclear] = (255 * np.exp(-np.array([0.65, 0.70, 0.29]))).round().astype(np.uint8)
    rgb[..., 1] -= rng.integers(0, 2, (400, 400)).astype(np.uint8)
    found = Statistics.of(Crop(rgb, np.array([200.0, 300.0, 100.0]), nuclear))
    assert found.nucleus_um2 == 200
    # Three nuclei on 200 µm square: 0.04 mm².
    assert found.nuclei_per_mm2 == pytest.approx(75)
    # Density 1 is decadic 0.434, over 800 of 160 000 pixels.
    assert found.nucleus_contrast == pytest.approx(0.434, abs=0.01)
    assert found.haematoxylin_mean == pytest.approx(0.434 * 800 / 160_000, abs=0.002)


def test_real_crops_are_all_the_pictures_or_none(shared_data: Path, tmp_path: Path) -> None:
    assert real_crops(tmp_path) == []
    crops = real_crops(shared_data)
    assert len(crops) == 30
    assert all(crop.rgb.shape == (400, 400, 3) and len(crop.areas_um2) > 20 for crop in crops)


def _two_heaps(apart: float) -> tuple[np.ndarray, Tiles]:
    """Six patients with ten tiles of each class; one feature that lies apart by class."""
    rng = np.random.default_rng(1)
    is_tumour = np.tile(np.repeat([False, True], 10), 6)
    patient = np.repeat(np.arange(6), 20)
    features = rng.normal(0, 1, (120, 1)) + apart * is_tumour[:, None]
    return features, Tiles(np.zeros((120, 1, 1, 3), np.uint8), is_tumour, patient)


def test_separable_classes_are_told_apart_and_alike_ones_are_not() -> None:
    features, tiles = _two_heaps(20.0)
    assert balanced_accuracy(features, tiles, 5, 0) == 1
    features, tiles = _two_heaps(0.0)
    assert balanced_accuracy(features, tiles, 5, 0) == pytest.approx(0.5, abs=0.15)


def test_what_marks_a_patient_does_not_help_on_others() -> None:
    # Each tile has a twin in its own patient, and none elsewhere: leakage would find it.
    _, tiles = _two_heaps(0.0)
    twin = 100.0 * tiles.patient + 10 * tiles.is_tumour * (1 - 2 * (tiles.patient % 2))
    assert balanced_accuracy(twin[:, None], tiles, 1, 0) < 0.7


def test_neighbours_vote_and_training_classes_are_of_one_size() -> None:
    known = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]])
    truth = np.array([False, False, True, True, True])
    assert vote(known, truth, np.array([[0.4], [10.4]]), 3).tolist() == [False, True]
    rows = balanced(np.random.default_rng(0), np.arange(5), truth)
    assert truth[rows].tolist() == [False, False, True, True]


def test_colour_and_edges_of_known_tiles() -> None:
    flat, halves = np.zeros((2, 8, 8, 3), np.uint8)
    flat[:] = (10, 20, 30)
    halves[:, 4:] = 200
    assert colour_features(np.stack([flat, halves])).tolist() == [
        [10, 20, 30, 0, 0, 0],
        [100] * 6,
    ]
    # Sobel answers in the two columns beside the step.
    assert edge_density(np.stack([flat, halves])).tolist() == [[0], [0.25]]


def test_crops_lie_in_tissue_and_are_of_one_class(tmp_path: Path) -> None:
    settings = PhantomSettings(1, width_um=4000, height_um=3000, mpp=2, seed=3, pen_every=1)
    (slide,) = written(tmp_path, settings)
    stamp = slide.stat().st_mtime_ns
    assert written(tmp_path, settings) == [slide]
    assert slide.stat().st_mtime_ns == stamp
    with openslide.OpenSlide(slide) as opened:
        crops = crops_of(slide, opened.dimensions, 32, 32)
    assert crops.is_tumour.any()
    assert not crops.is_tumour.all()
    areas = read_geojson_polygons(truth_path(slide))
    tissue, pen = (
        shapely.union_all([area.area for area in areas if area.name == name])
        for name in ("Tissue", "Pen")
    )
    for x, y in crops.corners.tolist():
        crop = shapely.box(x, y, x + 32, y + 32)
        assert tissue.contains(crop)
        assert not pen.intersects(crop)
    few = crops.drawn(np.random.default_rng(0), 3)
    assert few.is_tumour.sum() == 3
    assert len(few.corners) == 6
