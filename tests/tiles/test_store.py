"""What a store holds, against the slide, the plan and plain zarr."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openslide
import pytest
import zarr

from tests.slides.conformance import area_means
from tests.tiles.conftest import job_for
from wsi_tower.errors import CorruptStoreError, NativeTilesError
from wsi_tower.geometry import Level0Point, LevelSize
from wsi_tower.slides import PixelSizeWarning, open_slide
from wsi_tower.tiles import TileStore, tile_slide
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable


def tiled(slide: Path, workspace: Workspace, **settings: object) -> TileStore:
    outcome = tile_slide(job_for(slide, workspace, **settings))
    assert outcome.status == "done"
    return TileStore.open(workspace.tile_store(slide.stem))


def openslide_tile(slide: Path, x_l0: int, y_l0: int, side: int, level: int = 0) -> np.ndarray:
    with openslide.OpenSlide(slide) as opened:
        return np.asarray(opened.read_region((x_l0, y_l0), level, (side, side)))[..., :3]


def test_native_pixels_equal_openslides(phantom: Path, workspace: Workspace) -> None:
    with tiled(phantom, workspace) as store:
        assert store.pixel_mode == "native"
        for row in (0, len(store) // 2, len(store) - 1):
            x_l0, y_l0 = store.xy_l0[row]
            expected = openslide_tile(phantom, int(x_l0), int(y_l0), 256)
            np.testing.assert_array_equal(store.pixels[row], expected)


def test_native_stores_little_more_than_the_copied_bytes(
    phantom: Path, workspace: Workspace
) -> None:
    with tiled(phantom, workspace) as store, open_slide(phantom) as slide:
        compressed = slide.compressed_level(0)
        assert compressed is not None
        column, row = (store.xy_l0 // 256).T
        copied = int(compressed.byte_counts[row * compressed.columns + column].sum())
        folder = store.path / "tiles" / "pixels"
        stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert copied / len(store) >= 8_000, "the rule is for tiles of 8 kB and more"
    assert stored <= 1.05 * copied


def test_native_at_a_coarser_level_copies_its_tiles(phantom: Path, workspace: Workspace) -> None:
    with tiled(phantom, workspace, mpp=2.0) as store:
        assert (store.pixel_mode, store.plan.level, store.plan.pitch_l0) == ("native", 1, 1024)
        x_l0, y_l0 = (int(value) for value in store.xy_l0[0])
        expected = openslide_tile(phantom, x_l0, y_l0, 256, level=1)
        np.testing.assert_array_equal(store.pixels[0], expected)


@pytest.mark.parametrize(("pixels", "error"), [("lossless", 0.0), ("jpeg", 3.0), ("none", 0.0)])
def test_other_modes_hold_the_slides_pixels(
    phantom: Path, workspace: Workspace, pixels: str, error: float
) -> None:
    with tiled(phantom, workspace, pixels=pixels, tile_px=200) as store:
        row = len(store) // 2
        x_l0, y_l0 = store.xy_l0[row]
        expected = openslide_tile(phantom, int(x_l0), int(y_l0), 200)
        difference = np.abs(store.pixels[row].astype(int) - expected)
    assert difference.mean() <= error


@pytest.mark.parametrize(("mpp", "reduction", "error"), [(1.0, 2, 1.0), (0.8, 1, 0.5)])
def test_coarser_tiles_are_area_averages(
    phantom: Path, workspace: Workspace, mpp: float, reduction: int, error: float
) -> None:
    # From level 0 at 0.5 µm/px: each pixel is the mean of 2 × 2, or of 1.6 × 1.6.
    side_l0 = round(256 * mpp / 0.5)
    with tiled(phantom, workspace, mpp=mpp, pixels="lossless") as store:
        assert (store.plan.reduction, store.plan.is_resampled) == (reduction, reduction == 1)
        x_l0, y_l0 = (int(value) for value in store.xy_l0[3])
        fine = openslide_tile(phantom, x_l0, y_l0, side_l0).astype(float)
        difference = np.abs(store.pixels[3] - area_means(fine, side_l0 / 256)[:256, :256])
    assert difference.mean() <= error


@pytest.mark.parametrize("pixels", ["native", "jpeg", "lossless"])
def test_plain_zarr_reads_every_array(phantom: Path, workspace: Workspace, pixels: str) -> None:
    with tiled(phantom, workspace, pixels=pixels) as store:
        opened = zarr.open(store.path, mode="r")
        assert isinstance(opened, zarr.Group)
        group: Any = opened
        names = {name for name, _ in group["tiles"].members()}
        assert names == {
            "xy_l0", "centre_um", "tissue_fraction", "pen_fraction", "optical_density", "pixels",
        }  # fmt: skip
        np.testing.assert_array_equal(group["tiles/pixels"][2:4], store.pixels[2:4])
        np.testing.assert_array_equal(group["tiles/xy_l0"][:], store.xy_l0)
        assert group["thumbnail"][:].shape == store.thumbnail.rgb.shape


def test_lossless_needs_no_codec_of_ours(phantom: Path, workspace: Workspace) -> None:
    with tiled(phantom, workspace, pixels="lossless") as store:
        metadata = json.loads((store.path / "tiles" / "pixels" / "zarr.json").read_text())
    (sharding,) = metadata["codecs"]
    assert [codec["name"] for codec in sharding["configuration"]["codecs"]] == ["bytes", "zstd"]


def test_pixels_take_what_numpy_takes(phantom: Path, workspace: Workspace) -> None:
    with tiled(phantom, workspace) as store:
        last = len(store) - 1
        everything = np.stack([store.pixels[row] for row in range(5)])
        np.testing.assert_array_equal(store.pixels[:5], everything)
        np.testing.assert_array_equal(store.pixels[[4, 0, 4]], everything[[4, 0, 4]])
        mask = np.zeros(len(store), bool)
        mask[[1, 3]] = True
        np.testing.assert_array_equal(store.pixels[mask], everything[[1, 3]])
        np.testing.assert_array_equal(store.pixels[-1], store.pixels[last])
        assert store.pixels[[]].shape == (0, 256, 256, 3)
        with pytest.raises(IndexError, match=f"row {last + 1}"):
            store.pixels[last + 1]


@pytest.mark.parametrize("pixels", ["native", "none"])
def test_pixels_travel_to_a_worker_process(
    phantom: Path, workspace: Workspace, pixels: str
) -> None:
    with tiled(phantom, workspace, pixels=pixels) as store:
        expected = store.pixels[1]
        arrived = pickle.loads(pickle.dumps(store.pixels))
        np.testing.assert_array_equal(arrived[1], expected)
        arrived.close()


def test_tissue_fraction_is_right_against_the_mask(phantom: Path, workspace: Workspace) -> None:
    # Tiles of 256 px at 0.5 µm/px are 16 mask pixels of 8 µm: whole ones, so a mean is the truth.
    with tiled(phantom, workspace) as store:
        tissue = store.tissue_labels == 1
        for row in range(0, len(store), 7):
            x, y = store.xy_l0[row] // 16
            expected = tissue[y : y + 16, x : x + 16].mean()
            assert store.tissue_fraction[row] == pytest.approx(expected, abs=1e-6)
        assert store.tissue_fraction.min() >= 0.25


def test_files_stay_few(phantom: Path, workspace: Workspace) -> None:
    with tiled(phantom, workspace, tile_px=32, pixels="jpeg") as store:
        assert len(store) > 2_000
        files = [path for path in store.path.rglob("*") if path.is_file()]
    # 20 shards hold 20 000 tiles; everything else is a fixed handful.
    assert len(files) - len(store) // 1024 - 1 <= 40


def test_the_slide_is_found_when_workspace_and_slides_move_together(
    phantom: Path, tmp_path: Path
) -> None:
    home = tmp_path / "here"
    home.mkdir()
    slide = home / phantom.name
    slide.write_bytes(phantom.read_bytes())
    store = tiled(slide, Workspace(home / "workspace").prepared(), pixels="none")
    expected = store.pixels[0]
    store.close()
    home.rename(tmp_path / "there")
    with TileStore.open(tmp_path / "there" / "workspace" / "tiles" / "phantom.zarr") as moved:
        np.testing.assert_array_equal(moved.pixels[0], expected)


def test_another_slide_in_its_place_is_noticed(phantom: Path, tmp_path: Path) -> None:
    slide = tmp_path / phantom.name
    slide.write_bytes(phantom.read_bytes())
    with tiled(slide, Workspace(tmp_path / "workspace").prepared(), pixels="none") as store:
        slide.write_bytes(phantom.read_bytes() + b"changed")
        with pytest.raises(CorruptStoreError, match="not the file that its tiles were planned on"):
            store.pixels[0]


def test_native_is_refused_where_the_grid_is_another(phantom: Path, workspace: Workspace) -> None:
    with pytest.raises(NativeTilesError, match=r"256 × 256 px, not 224 px.*--tile-px native"):
        tiled(phantom, workspace, pixels="native", tile_px=224)


def test_auto_says_why_it_is_not_native(phantom: Path, workspace: Workspace) -> None:
    with tiled(phantom, workspace, mpp=0.7) as store:
        assert store.pixel_mode == "jpeg"
        assert store.pixel_reason == "no level has 0.7 µm/px, so tiles are resampled"


def test_verify_finds_a_flipped_bit(phantom: Path, workspace: Workspace) -> None:
    with tiled(phantom, workspace) as store:
        store.verify()
        shard = store.path / "tiles" / "pixels" / "c.0.0.0.0"
        content = bytearray(shard.read_bytes())
        content[1000] ^= 1
        shard.write_bytes(content)
        with pytest.raises(CorruptStoreError, match="array pixels is not what was written"):
            TileStore.open(store.path).verify()


def test_a_later_format_version_is_refused(phantom: Path, workspace: Workspace) -> None:
    with tiled(phantom, workspace, pixels="none") as store:
        metadata = json.loads((store.path / "zarr.json").read_text())
        metadata["attributes"]["wsi_tower"]["format_version"] = 99
        (store.path / "zarr.json").write_text(json.dumps(metadata))
        with pytest.raises(CorruptStoreError, match=r"format version 99.*update it"):
            TileStore.open(store.path)


def test_other_zarr_groups_are_refused(tmp_path: Path) -> None:
    zarr.create_group(store=tmp_path / "other.zarr")
    with pytest.raises(CorruptStoreError, match="no wsi-tower tile store"):
        TileStore.open(tmp_path / "other.zarr")
    with pytest.raises(CorruptStoreError, match="cannot be used"):
        TileStore.open(tmp_path / "nothing.zarr")


def test_focus_is_measured_at_2_um(phantom: Path, workspace: Workspace) -> None:
    with tiled(phantom, workspace, focus=True) as store:
        focus = store.column("focus")
    assert focus.shape == (len(store.xy_l0),)
    assert np.isfinite(focus).all()
    assert (focus > 0).any()


def test_focus_is_unknown_on_coarser_slides(phantom: Path, workspace: Workspace) -> None:
    job = job_for(phantom, workspace, focus=True, mpp=4.0, tile_px=16)
    coarse = replace(job, entry=replace(job.entry, mpp_um=4.0))
    with pytest.warns(PixelSizeWarning, match=r"given pixel size of 4 .* says 0\.5"):
        tile_slide(coarse)
    with TileStore.open(workspace.tile_store("phantom")) as store:
        assert np.isnan(store.column("focus")).all()


def test_the_same_grid_whichever_reader_serves(phantom: Path, tmp_path: Path) -> None:
    stores = []
    for reader in ("openslide", "tiffslide"):
        workspace = Workspace(tmp_path / reader).prepared()
        job = job_for(phantom, workspace)
        tile_slide(replace(job, reader=reader))
        stores.append(TileStore.open(workspace.tile_store("phantom")))
    first, second = stores
    assert (first.slide.reader, second.slide.reader) == ("openslide", "tiffslide")
    np.testing.assert_array_equal(first.xy_l0, second.xy_l0)
    assert first.header.content_digest == second.header.content_digest


def test_a_thumbnail_is_the_slide(phantom: Path, workspace: Workspace) -> None:
    with tiled(phantom, workspace, pixels="none") as store, open_slide(phantom) as slide:
        pitch = store.thumbnail.pitch_l0
        assert max(store.thumbnail.rgb.shape) <= 1024
        side = LevelSize(256, 256)
        x_l0, y_l0 = (int(value) for value in store.xy_l0[len(store) // 2])
        mean = slide.read_region(Level0Point(x_l0, y_l0), 0, side).mean()
        small = store.thumbnail.rgb[
            round(y_l0 / pitch) : round((y_l0 + 256) / pitch),
            round(x_l0 / pitch) : round((x_l0 + 256) / pitch),
        ]
    assert small.mean() == pytest.approx(mean, abs=6)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize("damage", [Path.unlink, cut_short])
@pytest.mark.parametrize("column", ["xy_l0", "centre_um", "tissue_fraction", "optical_density"])
def test_a_damaged_column_is_named(
    phantom: Path, workspace: Workspace, column: str, damage: Callable[[Path], None]
) -> None:
    with tiled(phantom, workspace, pixels="none") as store:
        (content,) = (store.path / "tiles" / column).glob("c*")
        damage(content)
        with pytest.raises(CorruptStoreError, match=rf"{column} .*--overwrite"):
            store.column(column)
