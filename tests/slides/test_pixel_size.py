"""Who says what the pixel size is."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from tests.slides.builders import APERIO, picture, write_ome, write_rgb_jpeg_aperio, write_tiled
from wsi_tower.errors import ImpossiblePixelSizeError, MissingPixelSizeError
from wsi_tower.slides import PixelSizeWarning, open_slide

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.slides import ReaderName

SMALL = picture(80, 60)
BOTH: tuple[ReaderName, ...] = ("openslide", "tiffslide")


def found(path: Path, reader: ReaderName = "auto", mpp_um: float | None = None) -> Any:
    with open_slide(path, reader=reader, mpp_um=mpp_um) as slide:
        size = slide.info.pixel_size
        return size and (pytest.approx(size.mpp.x, rel=1e-3), size.origin)


def write_tagged(path: Path, density: tuple[float, float], unit: str) -> Path:
    return write_tiled(path, [SMALL], resolution=density, resolutionunit=unit)


def write_plain_ome(path: Path, attributes: str) -> Path:
    """A tiled TIFF whose description is OME-XML with these attributes of Pixels."""
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="80" '
        f'SizeY="60" SizeC="3" SizeZ="1" SizeT="1" {attributes}><Channel ID="Channel:0:0" '
        'SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
    )
    options: dict[str, Any] = {"resolution": (1, 1), "resolutionunit": "NONE"}
    return write_tiled(path, [SMALL], description=text.encode(), **options)


@pytest.mark.parametrize("reader", BOTH)
def test_a_scanner_s_own_field_comes_before_the_tags(tmp_path: Path, reader: ReaderName) -> None:
    path = tmp_path / "a.svs"
    write_tiled(
        path, [SMALL], description=APERIO, compression="jpeg", resolution=(5000, 5000),
        resolutionunit="CENTIMETER",
    )  # fmt: skip
    assert found(path, reader) == (0.5, reader)


@pytest.mark.parametrize("reader", BOTH)
def test_an_aperio_file_without_its_field_is_read_by_its_tags(
    tmp_path: Path, reader: ReaderName
) -> None:
    options = {"description": "Aperio Image Library v12", "compression": "jpeg"}
    density = {"resolution": (72, 72), "resolutionunit": "INCH"}
    path = write_tiled(tmp_path / "a.svs", [SMALL], **options, **density)
    assert found(path, reader) is None


@pytest.mark.parametrize("reader", BOTH)
@pytest.mark.parametrize(
    ("density", "unit", "mpp"),
    [
        ((20_000, 20_000), "CENTIMETER", 0.5),
        ((50_800, 50_800), "INCH", 0.5),
        ((10_130, 10_130), "CENTIMETER", 0.98717),
    ],
)
def test_tags_with_a_unit_of_length_count(
    tmp_path: Path, reader: ReaderName, density: tuple[float, float], unit: str, mpp: float
) -> None:
    assert found(write_tagged(tmp_path / "a.tif", density, unit), reader) == (mpp, "tiff tags")


@pytest.mark.parametrize("reader", BOTH)
def test_tags_with_unit_none_never_count(tmp_path: Path, reader: ReaderName) -> None:
    assert found(write_tagged(tmp_path / "a.tif", (20_000, 20_000), "NONE"), reader) is None


# 72 dpi is 28.3465 px/cm and 300 dpi 118.110; some writers keep 28 and 118.
@pytest.mark.parametrize(
    ("density", "unit"),
    [
        *((72, "INCH"), (96, "INCH"), (300, "INCH"), (600, "INCH"), (1200, "INCH")),
        *((28.3465, "CENTIMETER"), (118.110, "CENTIMETER"), (28, "CENTIMETER")),
        *((118, "CENTIMETER"), (240, "INCH"), (236.22, "CENTIMETER")),
    ],
)
def test_print_resolutions_never_count(tmp_path: Path, density: float, unit: str) -> None:
    assert found(write_tagged(tmp_path / "a.tif", (density, density), unit)) is None


def test_a_png_s_resolution_is_a_printer_s(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(SMALL).save(tmp_path / "a.png", dpi=(50_800, 50_800))
    assert found(tmp_path / "a.png") is None


def test_ome_xml_comes_before_the_tags(tmp_path: Path) -> None:
    assert found(write_ome(tmp_path / "a.ome.tif", [SMALL])) == (0.5, "ome-xml")


@pytest.mark.parametrize(
    ("unit", "value"),
    [("nm", 250.0), ("mm", 0.00025), ("µm", 0.25), ("um", 0.25), ("cm", 2.5e-5), ("pm", 250_000)],
)
def test_ome_units_are_lengths(tmp_path: Path, unit: str, value: float) -> None:
    sides = " ".join(
        f'PhysicalSize{axis}="{value:.12f}" PhysicalSize{axis}Unit="{unit}"' for axis in "XY"
    )
    assert found(write_plain_ome(tmp_path / "a.tif", sides)) == (0.25, "ome-xml")


def test_ome_without_a_unit_is_in_micrometres(tmp_path: Path) -> None:
    sides = 'PhysicalSizeX="0.25" PhysicalSizeY="0.25"'
    assert found(write_plain_ome(tmp_path / "a.tif", sides)) == (0.25, "ome-xml")


@pytest.mark.parametrize(
    "sides",
    [
        "",
        'PhysicalSizeX="0.25"',
        'PhysicalSizeX="0.25" PhysicalSizeXUnit="pixel" PhysicalSizeY="0.25"',
        'PhysicalSizeX="fine" PhysicalSizeY="fine"',
        'PhysicalSizeX="0" PhysicalSizeY="0"',
    ],
)
def test_ome_without_a_length_says_nothing(tmp_path: Path, sides: str) -> None:
    assert found(write_plain_ome(tmp_path / "a.tif", sides)) is None


@pytest.mark.parametrize("reader", ["openslide", "tiffslide", "flat"])
def test_the_user_comes_first(tmp_path: Path, reader: ReaderName) -> None:
    path = write_tagged(tmp_path / "a.tif", (20_000, 20_000), "CENTIMETER")
    assert found(path, reader, mpp_um=0.52) == (0.52, "user")


@pytest.mark.parametrize("given", [0.44, 0.56, 0.25])
def test_disagreement_by_more_than_a_tenth_warns_once_and_the_given_wins(
    tmp_path: Path, given: float
) -> None:
    path = write_tagged(tmp_path / "a.tif", (20_000, 20_000), "CENTIMETER")
    with pytest.warns(PixelSizeWarning) as caught, open_slide(path, mpp_um=given) as slide:
        assert slide.mpp.x == given
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "a.tif" in message
    assert f"{given:g}" in message
    assert "0.5" in message


@pytest.mark.parametrize("given", [0.4501, 0.5, 0.5499])
def test_agreement_within_a_tenth_is_silent(tmp_path: Path, given: float) -> None:
    path = write_tagged(tmp_path / "a.tif", (20_000, 20_000), "CENTIMETER")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found(path, mpp_um=given) == (given, "user")


def test_a_given_size_saves_a_file_whose_own_is_impossible(tmp_path: Path) -> None:
    sides = 'PhysicalSizeX="-0.5" PhysicalSizeY="0.5"'
    path = write_plain_ome(tmp_path / "a.tif", sides)
    with pytest.raises(ImpossiblePixelSizeError, match=r"-0\.5"):
        open_slide(path)
    with pytest.warns(PixelSizeWarning):
        assert found(path, mpp_um=0.25) == (0.25, "user")


@pytest.mark.parametrize("given", [0.05, 0.0, -1.0, 100.5, float("nan"), float("inf")])
def test_impossible_given_sizes_are_refused_by_value(tmp_path: Path, given: float) -> None:
    path = write_tagged(tmp_path / "a.tif", (1, 1), "NONE")
    with pytest.raises(ImpossiblePixelSizeError, match=f"a.tif .*{given:g} µm/px") as caught:
        open_slide(path, mpp_um=given)
    assert "--mpp-of a.tif=VALUE" in str(caught.value)


@pytest.mark.parametrize("density", [10, 250_000, 1_000_000])
def test_impossible_tags_are_refused_by_value(tmp_path: Path, density: float) -> None:
    path = write_tagged(tmp_path / "a.tif", (density, density), "CENTIMETER")
    with pytest.raises(ImpossiblePixelSizeError, match=f"{10_000 / density:g} µm/px"):
        open_slide(path)


def test_axes_further_apart_than_a_twentieth_are_refused(tmp_path: Path) -> None:
    path = write_tagged(tmp_path / "a.tif", (20_000, 21_100), "CENTIMETER")
    with pytest.raises(ImpossiblePixelSizeError, match=r"0\.5 × 0\.473934 µm"):
        open_slide(path)
    near = write_tagged(tmp_path / "b.tif", (20_000, 20_800), "CENTIMETER")
    with open_slide(near) as slide:
        assert slide.mpp.y == pytest.approx(10_000 / 20_800)


def test_nan_in_ome_xml_is_impossible(tmp_path: Path) -> None:
    sides = 'PhysicalSizeX="NaN" PhysicalSizeY="NaN"'
    with pytest.raises(ImpossiblePixelSizeError, match="nan"):
        open_slide(write_plain_ome(tmp_path / "a.tif", sides))


def test_no_size_at_all_says_how_to_give_one(tmp_path: Path) -> None:
    path = write_tagged(tmp_path / "a.tif", (1, 1), "NONE")
    with (
        open_slide(path) as slide,
        pytest.raises(MissingPixelSizeError, match=r"--mpp-of a\.tif=0\.25 .*list's mpp column"),
    ):
        _ = slide.mpp


def test_objective_power_is_read_where_it_is_stated(tmp_path: Path) -> None:
    path = write_rgb_jpeg_aperio(tmp_path / "a.svs", SMALL)
    for reader in BOTH:
        with open_slide(path, reader=reader) as slide:
            assert slide.info.objective_power == 20


def test_a_document_type_in_ome_xml_is_not_expanded(tmp_path: Path) -> None:
    entities = "".join(
        f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "x" * 10}">' for i in range(9)
    )
    text = f'<!DOCTYPE OME [{entities}]><OME><Image Name="&a8;"/></OME>'
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 3), np.uint8), tile=(64, 64), description=text,
                     photometric="rgb", metadata=None)  # fmt: skip
    for reader in ("flat", "openslide"):
        assert found(path, reader) is None
