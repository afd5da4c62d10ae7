"""`wsi-tower tile` on real slides, as the issue of a new user: three runs, one a resolution."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import openslide
import pytest
import zarr
from click.testing import CliRunner

from wsi_tower.cli.main import cli
from wsi_tower.tiles import TileStore

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


def tile(*arguments: object) -> dict[str, dict[str, Any]]:
    """Rows of a run by slide id."""
    result = CliRunner().invoke(cli, ["tile", *map(str, arguments), "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return {row["slide_id"]: row for row in json.loads(result.stdout)["slides"]}


@pytest.fixture(scope="module")
def half_micron(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole folder tiled at 0.5 µm/px; rows are asserted on the way."""
    workspace = tmp_path_factory.mktemp("half-micron")
    slides = shared_data / "slides"
    rows = tile(
        slides, "-w", workspace, "--mpp", 0.5, "--mpp-of", "kidney-48-5.tif=0.5", "-j", 2,
    )  # fmt: skip
    assert {name: (row["status"], row["reason"]) for name, row in rows.items()} == {
        "CMU-1-Small-Region": ("done", ""),
        "CMU-1-Small-Region.ome": ("done", ""),
        "CMU-1-Small-Region_pyramid_jpeg": ("done", ""),
        # Its one piece of tissue would be 58 × 30 µm at this pixel size: less than a quarter tile.
        "kidney-48-5": ("empty", "no-tissue"),
        "CMU-1-Small-Region.ome.zarr": ("unsupported", "unsupported-format"),
        "camelyon16_lowres_jpeg": ("failed", "finer-than-slide"),
        "camelyon16_lowres_jpeg2000": ("failed", "finer-than-slide"),
        "example": ("failed", "finer-than-slide"),
        "highdicom_sm_image_50x50": ("failed", "smaller-than-one-tile"),
    }
    assert all(row["message"] for row in rows.values() if row["status"] != "done")
    return workspace / "tiles"


def test_svs_tiff_and_ome_tiff_of_one_slide_agree(half_micron: Path) -> None:
    stores = {path.stem: TileStore.open(path) for path in half_micron.glob("*.zarr")}
    assert len(stores) == 3
    assert {store.slide.mpp.x for store in stores.values()} == {0.499}
    assert {name: store.slide.mpp_origin for name, store in stores.items()} == {
        "CMU-1-Small-Region": "openslide",
        "CMU-1-Small-Region.ome": "ome-xml",
        "CMU-1-Small-Region_pyramid_jpeg": "tiff tags",
    }
    positions = [{tuple(xy) for xy in store.xy_l0.tolist()} for store in stores.values()]
    assert len(set.intersection(*positions)) > 40
    assert len(set.union(*positions)) - len(set.intersection(*positions)) <= 4


@pytest.mark.parametrize("name", ["CMU-1-Small-Region_pyramid_jpeg", "CMU-1-Small-Region.ome"])
def test_copied_tiles_are_openslides_pixels(
    half_micron: Path, shared_data: Path, name: str
) -> None:
    (slide,) = (shared_data / "slides").glob(f"{name}.tif")
    with (
        TileStore.open(half_micron / f"{name}.zarr") as store,
        openslide.OpenSlide(slide) as opened,
    ):
        assert store.pixel_mode == "native"
        for row, (x_l0, y_l0) in enumerate(store.xy_l0):
            region = opened.read_region((int(x_l0), int(y_l0)), 0, (256, 256))
            np.testing.assert_array_equal(store.pixels[row], np.asarray(region)[..., :3])


def test_rgb_tiles_with_shared_tables_are_copied_exactly(shared_data: Path, tmp_path: Path) -> None:
    slide = shared_data / "slides" / "CMU-1-Small-Region.svs"
    tile(slide, "-w", tmp_path, "--tile-px", "native", "--pixels", "native")
    with (
        TileStore.open(tmp_path / "tiles" / "CMU-1-Small-Region.zarr") as store,
        openslide.OpenSlide(slide) as opened,
    ):
        assert (store.plan.tile_px, store.pixel_mode) == (240, "native")
        plain = zarr.open_array(store.path / "tiles" / "pixels", mode="r")
        for row, (x_l0, y_l0) in enumerate(store.xy_l0):
            region = opened.read_region((int(x_l0), int(y_l0)), 0, (240, 240))
            np.testing.assert_array_equal(store.pixels[row], np.asarray(region)[..., :3])
            np.testing.assert_array_equal(plain[row], store.pixels[row])


def test_the_biopsy_at_1_um(shared_data: Path, tmp_path: Path) -> None:
    rows = tile(shared_data / "slides" / "asap", "-w", tmp_path, "--mpp", 1)
    assert rows["example"]["status"] == "done"
    with TileStore.open(tmp_path / "tiles" / "example.zarr") as store:
        # 0.987 µm/px is within 5 % of 1, so its own resolution is kept.
        assert store.plan.effective_mpp == pytest.approx(0.9872, abs=1e-4)
        assert not store.plan.is_resampled


def test_the_strip_tiff_at_its_plausible_pixel_size(shared_data: Path, tmp_path: Path) -> None:
    slide = shared_data / "slides" / "kidney-48-5.tif"
    rows = tile(slide, "-w", tmp_path, "--mpp", 8, "--tile-px", 32, "--mpp-of", "kidney-48-5.tif=8")
    assert rows["kidney-48-5"]["status"] == "done"
    with TileStore.open(tmp_path / "tiles" / "kidney-48-5.zarr") as store:
        assert (store.slide.reader, store.slide.mpp_origin) == ("flat", "user")
        # The one piece of tissue, read off the picture: x 285 to 400, y 505 to 567.
        centre = store.xy_l0 + store.plan.footprint_l0 / 2
        assert ((centre > [265, 485]) & (centre < [420, 587])).all()


def test_whole_camelyon_slides_span_centimetres(shared_data: Path, tmp_path: Path) -> None:
    rows = tile(
        shared_data / "slides" / "dicom", "-w", tmp_path, "--mpp", 28.97, "--tile-px", 16, "-j", 1
    )
    assert rows["camelyon16_lowres_jpeg"]["status"] == "done"
    assert rows["camelyon16_lowres_jpeg2000"]["status"] == "done"
    assert "highdicom_sm_annotations" not in rows, "annotation objects are no slides"
    with TileStore.open(tmp_path / "tiles" / "camelyon16_lowres_jpeg2000.zarr") as store:
        extent_mm = np.ptp(store.centre_um, axis=0) / 1000
        # Two pieces side by side on a slide of 49 × 23.5 mm.
        assert extent_mm[0] > 40
        assert extent_mm[1] > 15
        first_um = store.centre_um[0]
        distance_um = np.linalg.norm(store.centre_um - first_um, axis=1)
        assert ((distance_um > 0) & (distance_um < 2_000)).any(), "near partners exist"
        assert (distance_um > 10_000).any(), "far partners exist"


def test_the_tissue_label_opens_in_ome_zarr(half_micron: Path) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    store = half_micron / "CMU-1-Small-Region.zarr"
    location = parse_url(store / "tissue", mode="r")
    assert location is not None
    (node, *_) = list(Reader(location)())
    with TileStore.open(store) as opened:
        np.testing.assert_array_equal(np.asarray(node.data[0]), opened.tissue_labels)
        pixel_um = opened.slide.mpp.x * opened.slide.size.width / opened.tissue_labels.shape[1]
    scale = node.metadata["coordinateTransformations"][0][0]["scale"]
    assert scale[1] == pytest.approx(pixel_um, rel=0.02)


def test_every_reader_forced_on_one_slide_gives_one_grid(shared_data: Path, tmp_path: Path) -> None:
    slide = shared_data / "slides" / "CMU-1-Small-Region.svs"
    grids = []
    for reader in ("openslide", "tiffslide"):
        tile(slide, "-w", tmp_path / reader, "--reader", reader)
        with TileStore.open(tmp_path / reader / "tiles" / "CMU-1-Small-Region.zarr") as store:
            grids.append((store.xy_l0, store.header.content_digest))
    np.testing.assert_array_equal(grids[0][0], grids[1][0])
    assert grids[0][1] == grids[1][1]
