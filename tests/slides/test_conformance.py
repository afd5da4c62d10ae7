"""The conformance suite on every reader: generated slides, and real ones where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.slides.builders import (
    GENERATED,
    Case,
    openslide_pixels,
    pillow_pixels,
    stored_ome,
    stored_pages,
)
from tests.slides.conformance import SlideConformance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wsi_tower.slides import ReaderName


@pytest.fixture(scope="module", params=sorted(GENERATED))
def generated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return GENERATED[request.param](tmp_path_factory.mktemp(request.param))


class TestGenerated(SlideConformance):
    @pytest.fixture
    def case(self, generated: Case) -> Case:
        return generated


def _small_region(folder: Path, reader: ReaderName) -> Case:
    path = folder / "CMU-1-Small-Region.svs"
    return Case(path, reader, openslide_pixels(path), 0.499, "aperio")


def _pyramid(folder: Path, reader: ReaderName) -> Case:
    path = folder / "CMU-1-Small-Region_pyramid_jpeg.tif"
    return Case(path, reader, stored_pages(path), 0.499)


def _asap(folder: Path, reader: ReaderName) -> Case:
    path = folder / "asap" / "example.tif"
    return Case(path, reader, stored_pages(path), 0.987)


def _ome(folder: Path) -> Case:
    path = folder / "CMU-1-Small-Region.ome.tif"
    return Case(path, "tiffslide", stored_ome(path), 0.499)


def _dicom(folder: Path, name: str, mpp_um: float) -> Case:
    path = folder / "dicom" / name
    return Case(path, "openslide", openslide_pixels(path), mpp_um, "dicom")


def _flat(folder: Path, name: str) -> Case:
    path = folder / name
    return Case(path, "flat", pillow_pixels(path), None)


REAL: dict[str, Callable[[Path], Case]] = {
    "svs-openslide": lambda folder: _small_region(folder, "openslide"),
    "svs-tiffslide": lambda folder: _small_region(folder, "tiffslide"),
    "pyramid-openslide": lambda folder: _pyramid(folder, "openslide"),
    "pyramid-tiffslide": lambda folder: _pyramid(folder, "tiffslide"),
    "asap-openslide": lambda folder: _asap(folder, "openslide"),
    "asap-tiffslide": lambda folder: _asap(folder, "tiffslide"),
    "ome": _ome,
    "dicom-jpeg": lambda folder: _dicom(folder, "camelyon16_lowres_jpeg.dcm", 28.97),
    "dicom-small": lambda folder: _dicom(folder, "highdicom_sm_image_50x50.dcm", 0.499),
    "kidney": lambda folder: _flat(folder, "kidney-48-5.tif"),
    "pen": lambda folder: _flat(folder, "pen/tcga-green-pen.png"),
}


@pytest.fixture(scope="module", params=sorted(REAL))
def real(request: pytest.FixtureRequest, shared_data: Path) -> Case:
    return REAL[request.param](shared_data / "slides")


@pytest.mark.real
class TestReal(SlideConformance):
    @pytest.fixture
    def case(self, real: Case) -> Case:
        return real
