"""Which classes are tumour, whose slide a file can be of, and which file is a slide's."""

from __future__ import annotations

from pathlib import Path

import pytest
from shapely.geometry import box

from wsi_tower.annotations import (
    Annotations,
    NamedArea,
    TumourClasses,
    check_on_slide,
    find_annotations,
    tumour_area,
)
from wsi_tower.errors import AnnotationError, SettingsError
from wsi_tower.geometry import Level0Size, Mpp


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
