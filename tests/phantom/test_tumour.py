"""Tumour by Camelyon's definition: generated, and laid on from real outlines."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import rotate, translate
from shapely.geometry import Polygon, box, mapping

from wsi_tower.errors import AnnotationError, SettingsError
from wsi_tower.phantom import PhantomSettings
from wsi_tower.phantom.shapes import longest_um, ragged_area_um, tissue_pieces_um
from wsi_tower.phantom.tumour import (
    Metastasis,
    check_outlines,
    generated_um,
    label_of,
    metastasis_for,
    placed_um,
    read_outlines,
    tumour_areas_um,
)

if TYPE_CHECKING:
    from pathlib import Path

TISSUE = [box(0, 0, 10_000, 8_000), box(12_000, 0, 20_000, 8_000)]
LONG = Polygon([(0, 0), (3_000, 0), (3_000, 40), (0, 40)])


def rectangle(length_um: float, left_um: float = 0) -> Polygon:
    """A rectangle with this diagonal."""
    return box(left_um, 0, left_um + 0.8 * length_um, 0.6 * length_um)


def written(path: Path, *features: tuple[Polygon, str | None]) -> Path:
    content = [
        {
            "type": "Feature",
            "geometry": mapping(area),
            "properties": {} if slide is None else {"slide": slide},
        }
        for area, slide in features
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": content}))
    return path


def assert_inside(areas: list[Polygon], pieces: list[Polygon]) -> None:
    tissue = shapely.union_all(pieces)
    for area in areas:
        assert area.is_valid
        assert area.difference(tissue).area < 1e-6 * area.area


class TestKinds:
    def test_every_patient_has_a_slide_with_tumour_and_one_without(self) -> None:
        for patient in range(6):
            first, second = (metastasis_for(2 * patient + slide) for slide in (0, 1))
            assert first != "none"
            assert second == "none"

    def test_both_sites_have_every_kind(self) -> None:
        # Patients take sites in turn, so 12 slides are 3 patients a site.
        for site in (0, 1):
            patients = range(site, 6, 2)
            assert {metastasis_for(2 * patient) for patient in patients} == {
                "macro",
                "micro",
                "both",
            }

    @pytest.mark.parametrize(
        ("lengths_um", "label"),
        [
            ([], "none"),
            ([200], "none"),
            ([201], "micro"),
            ([2_000, 300], "micro"),
            ([2_001], "macro"),
            ([5_000, 150], "macro"),
            ([5_000, 250], "both"),
        ],
    )
    def test_the_longest_dimension_decides(
        self, lengths_um: list[float], label: Metastasis
    ) -> None:
        assert label_of([rectangle(length) for length in lengths_um]) == label

    @given(st.floats(0, 360), st.floats(50, 9_000))
    def test_turning_and_shifting_an_area_leaves_its_longest_dimension(
        self, degrees: float, length_um: float
    ) -> None:
        moved = translate(rotate(rectangle(length_um), degrees), 1_234, -567)
        assert longest_um(moved) == pytest.approx(length_um)


class TestGenerated:
    @pytest.mark.parametrize("kind", ["micro", "macro", "both"])
    @pytest.mark.parametrize("seed", range(4))
    def test_sizes_are_of_the_kind_inside_tissue_and_apart(
        self, kind: Metastasis, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        pieces = tissue_pieces_um(rng, 24_000, 16_000)
        areas = generated_um(rng, pieces, kind)
        assert label_of(areas) == kind
        assert_inside(areas, pieces)
        assert all(200 < longest_um(area) <= 6_000 for area in areas)
        for one, other in itertools.combinations(areas, 2):
            assert one.distance(other) > 250

    def test_there_are_one_or_two_large_and_two_to_five_small_ones(self) -> None:
        for seed in range(6):
            rng = np.random.default_rng(seed)
            lengths = [longest_um(area) for area in generated_um(rng, TISSUE, "both")]
            assert sum(length > 2_000 for length in lengths) in (1, 2)
            assert 2 <= sum(length <= 2_000 for length in lengths) <= 5

    def test_outlines_are_irregular(self) -> None:
        for seed in range(4):
            area = ragged_area_um(np.random.default_rng(seed), 1_000)
            assert longest_um(area) == pytest.approx(1_000)
            # A disc has 1, an ellipse of 2 : 1 has 0.84.
            assert 4 * np.pi * area.area / area.length**2 < 0.6

    @pytest.mark.parametrize("kind", ["micro", "macro", "both"])
    def test_small_tissue_holds_what_fits(self, kind: Metastasis) -> None:
        pieces = [box(0, 0, 900, 700)]
        areas = generated_um(np.random.default_rng(1), pieces, kind)
        assert label_of(areas) == "micro"
        assert_inside(areas, pieces)
        assert sum(area.area for area in areas) < 0.9 * pieces[0].area

    def test_tissue_too_small_for_a_metastasis_has_none(self) -> None:
        assert generated_um(np.random.default_rng(1), [box(0, 0, 120, 90)], "both") == []


class TestOutlineFiles:
    def test_features_of_a_slide_belong_together_and_coordinates_become_micrometres(
        self, tmp_path: Path
    ) -> None:
        path = written(
            tmp_path / "a.geojson",
            (box(0, 0, 1000, 1000), "b"),
            (box(0, 0, 2000, 1000), "a"),
            (box(3000, 0, 3900, 1000), "b"),
        )
        first, second = read_outlines(path, 0.5)
        assert sorted(area.bounds for area in first) == [(0, 0, 500, 500), (1500, 0, 1950, 500)]
        assert [area.bounds for area in second] == [(0, 0, 1000, 500)]

    def test_without_slides_all_is_one_group_and_overlaps_are_joined(self, tmp_path: Path) -> None:
        path = written(
            tmp_path / "a.geojson", (box(0, 0, 600, 600), None), (box(500, 0, 900, 600), None)
        )
        ((area,),) = read_outlines(path, 1)
        assert area.bounds == (0, 0, 900, 600)

    @pytest.mark.parametrize(
        ("content", "error", "said"),
        [
            ("no json", AnnotationError, "not JSON text"),
            ('{"type": "Topology"}', AnnotationError, "'Topology' is no GeoJSON type"),
            ('{"type": "FeatureCollection", "features": []}', SettingsError, "more than 0.2 mm"),
            (
                '{"type": "Polygon", "coordinates": [[[0, 0], [9000, 0], [0, 0], [0, 0]]]}',
                SettingsError,
                "give a file with polygons",
            ),
            (json.dumps(mapping(box(0, 0, 90, 90))), SettingsError, "at 0.5 µm per unit"),
        ],
    )
    def test_files_without_use_are_refused(
        self, tmp_path: Path, content: str, error: type[Exception], said: str
    ) -> None:
        path = tmp_path / "a.geojson"
        path.write_text(content)
        with pytest.raises(error) as caught:
            check_outlines(PhantomSettings(tumour_outlines=path, tumour_outlines_mpp=0.5))
        assert str(path) in str(caught.value)
        assert said in str(caught.value)

    def test_a_missing_file_is_said_to_be_missing(self, tmp_path: Path) -> None:
        with pytest.raises(AnnotationError, match=r"none\.geojson.*No such file"):
            read_outlines(tmp_path / "none.geojson", 0.5)


class TestPlaced:
    def test_a_group_keeps_its_sizes_and_distances(self) -> None:
        group = [rectangle(700), rectangle(900, left_um=2_000)]
        areas = placed_um(np.random.default_rng(3), group, [box(0, 0, 40_000, 40_000)])
        one, other = sorted(areas, key=lambda area: area.area)
        assert one.area == pytest.approx(group[0].area)
        assert other.area == pytest.approx(group[1].area)
        assert one.distance(other) == pytest.approx(group[0].distance(group[1]))

    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 10_000), length=st.floats(300, 30_000))
    def test_what_is_placed_lies_on_tissue_and_is_large_enough(
        self, seed: int, length: float
    ) -> None:
        group = [rectangle(length), rectangle(length, left_um=1.5 * length)]
        areas = placed_um(np.random.default_rng(seed), group, TISSUE)
        assert areas
        assert_inside(areas, TISSUE)
        assert all(longest_um(area) > 200 for area in areas)

    def test_outlines_that_miss_narrow_tissue_fall_back_to_the_largest(self) -> None:
        # A strip in which only what lies along it by chance would be long enough.
        pieces = [box(0, 0, 230, 40)]
        (area,) = placed_um(np.random.default_rng(0), [rectangle(4_000)], pieces)
        assert area.bounds == pytest.approx((0, 0, 230, 40))

    def test_tissue_too_small_for_a_metastasis_stays_without(self) -> None:
        assert placed_um(np.random.default_rng(0), [LONG], [box(0, 0, 100, 100)]) == []


class TestSlides:
    def drawn(self, index: int, **more: Any) -> list[Polygon]:
        rng = np.random.default_rng(index)
        return tumour_areas_um(PhantomSettings(**more), index, rng, TISSUE)

    def test_generated_slides_follow_the_turn(self) -> None:
        found = [label_of(self.drawn(index)) for index in range(6)]
        assert found == ["macro", "none", "micro", "none", "both", "none"]

    def test_groups_take_turns_and_slides_without_tumour_are_passed_over(
        self, tmp_path: Path
    ) -> None:
        path = written(tmp_path / "a.geojson", (rectangle(600), "a"), (rectangle(3_000), "b"))
        found = [
            label_of(self.drawn(index, tumour_outlines=path, tumour_outlines_mpp=1.0))
            for index in range(6)
        ]
        assert found == ["micro", "none", "macro", "none", "micro", "none"]

    def test_a_slide_without_tissue_has_no_tumour(self) -> None:
        assert tumour_areas_um(PhantomSettings(), 0, np.random.default_rng(0), []) == []
