"""Which classes are tumour, whose slide a file can be of, and which file is a slide's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shapely.geometry import box

from wsi_tower.annotations import (
    Annotations,
    NamedArea,
    TumourClasses,
    check_on_slide,
    covered_fractions,
    find_annotations,
    read_annotations,
    tumour_area,
)
from wsi_tower.errors import AnnotationError, SettingsError
from wsi_tower.geometry import Level0Size, Mpp
from wsi_tower.slides import open_slide


def drawn(*areas: NamedArea, mpp: float | None = None) -> Annotations:
    return Annotations(Path("a.xml"), "asap", areas, mpp)


def square(name: str | None, left: float = 0, side: float = 10) -> NamedArea:
    return NamedArea(name, box(left, 0, left + side, side))


@pytest.mark.parametrize("name", ["_0", "_1", "Tumor", "tumour", "metastases", "positive"])
@pytest.mark.parametrize("hole", ["_2", "Exclusion", "normal", "negative"])
def test_names_of_the_data_sets_are_known(name: str, hole: str) -> None:
    found = tumour_area(drawn(square(name), square(hole, side=4)), TumourClasses())
    assert found.area == 84


def test_other_classes_are_neither() -> None:
    found = tumour_area(drawn(square("Tissue"), square("Tumor", 20)), TumourClasses())
    assert found.equals(box(20, 0, 30, 10))
    for none in (drawn(square("Tissue"), square(None)), drawn()):
        assert tumour_area(none, TumourClasses()).area == 0


def test_outlines_without_any_class_are_tumour() -> None:
    assert tumour_area(drawn(square(None), square(None, 5)), TumourClasses()).area == 150


def test_own_names_replace_the_known_ones() -> None:
    classes = TumourClasses(("DCIS",), ("Necrosis",))
    found = drawn(square("dcis"), square("necrosis", 0, 5), square("Tumor", 50))
    assert tumour_area(found, classes).area == 75


def test_a_class_is_one_thing() -> None:
    with pytest.raises(SettingsError, match="'a' is both tumour and cut out"):
        TumourClasses(("A",), ("a",))
    with pytest.raises(SettingsError, match="--tumour-class Tumor"):
        TumourClasses(())


SIZE, MPP = Level0Size(1000, 500), Mpp(0.25, 0.25)


def test_hands_slip_a_little() -> None:
    check_on_slide(drawn(square("_0", 995)), "a", SIZE, MPP)
    check_on_slide(drawn(square("_0"), mpp=0.2525), "a", SIZE, MPP)


@pytest.mark.parametrize("area", [square("_0", 1200), square("_0", -50), square("_0", 0, 510)])
def test_outlines_beyond_the_slide_are_of_another(area: NamedArea) -> None:
    with pytest.raises(AnnotationError, match=r"a\.xml are not of slide s-1: outline 1 spans x"):
        check_on_slide(drawn(square("_0"), area), "s-1", SIZE, MPP)


def test_another_pixel_size_is_another_slides() -> None:
    with pytest.raises(AnnotationError, match=r"drawn at 0\.5 µm/px, the slide has 0\.25 µm/px"):
        check_on_slide(drawn(mpp=0.5), "a", SIZE, MPP)


@pytest.mark.real
def test_the_real_outline_lies_on_its_real_slide(shared_data: Path) -> None:
    folder = shared_data / "slides" / "asap"
    found = read_annotations(folder / "example.xml")
    with open_slide(folder / "example.tif") as slide:
        info = slide.info
    check_on_slide(found, "example", info.size, Mpp(0.987, 0.987))
    area = tumour_area(found, TumourClasses())
    side = 16
    grid = np.arange(0, max(info.size.width, info.size.height), side)
    xy_l0 = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    fractions = covered_fractions(area, xy_l0, side)
    # Every part of the outline lies in some tile, and some tiles wholly in the outline.
    assert fractions.sum() * side**2 == pytest.approx(area.area)
    assert 0 < (fractions == 1).sum() < (fractions > 0).sum()
    too_small = Level0Size(info.size.width // 8, info.size.height // 8)
    with pytest.raises(AnnotationError, match=r"example\.xml are not of slide"):
        check_on_slide(found, "example", too_small, Mpp(0.987, 0.987))


def test_files_belong_to_the_slide_of_their_name(tmp_path: Path) -> None:
    for name in ("Tumor_001.xml", "b.geojson", "stray.json", "readme.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "c.nuclei.ome.zarr").mkdir()
    found = find_annotations(tmp_path, ["tumor_001", "b", "c"])
    assert found.of_slide == {"tumor_001": tmp_path / "Tumor_001.xml", "b": tmp_path / "b.geojson"}
    assert found.of_none == (tmp_path / "stray.json",)


def test_no_file_and_two_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no folder; give the folder"):
        find_annotations(tmp_path / "none", ["a"])
    with pytest.raises(AnnotationError, match=r"holds no \.xml"):
        find_annotations(tmp_path, ["a"])
    (tmp_path / "a.xml").write_text("")
    (tmp_path / "a.json").write_text("")
    with pytest.raises(AnnotationError, match=r"slide a has two.*a\.json and .*a\.xml"):
        find_annotations(tmp_path, ["a"])
