from __future__ import annotations

import csv
import errno
import itertools
import json
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import openslide
import pytest
import tifffile
import tiffslide
from PIL import Image, ImageDraw
from shapely import get_coordinates, union_all
from shapely.geometry import Polygon

from wsi_tower import jpeg
from wsi_tower.errors import SettingsError, StorageError
from wsi_tower.phantom import (
    PhantomSettings,
    truth,
    truth_path,
    write_phantom,
    write_phantoms,
    write_slide_list,
)
from wsi_tower.phantom.writer import write_aperio

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.geometry import Level0Box


def _outlines(slide: Path, name: str) -> list[Polygon]:
    features = json.loads(truth_path(slide).read_text())["features"]
    named = [f for f in features if f["properties"]["classification"]["name"] == name]
    rings = [feature["geometry"]["coordinates"] for feature in named]
    return [Polygon(exterior, holes) for exterior, *holes in rings]


def _longest(outline: Polygon) -> float:
    corners = get_coordinates(outline.convex_hull)
    return float(np.linalg.norm(corners[:, None] - corners[None], axis=-1).max())


def _painted(outlines: list[Polygon], size: tuple[int, int], downsample: int) -> NDArray[np.bool_]:
    """Outlines as a mask of one level, by another library than the phantom's."""
    mask = Image.new("1", size)
    draw = ImageDraw.Draw(mask)
    for outline in outlines:
        for ring, value in [(outline.exterior, 1), *((hole, 0) for hole in outline.interiors)]:
            draw.polygon([(x / downsample, y / downsample) for x, y in ring.coords], fill=value)
    return np.asarray(mask)


def _level(slide: Path, level: int) -> NDArray[np.uint8]:
    with openslide.OpenSlide(slide) as opened:
        size = opened.level_dimensions[level]
        return np.asarray(opened.read_region((0, 0), level, size).convert("RGB"))


def _shrunk(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    kernel = np.ones((2 * radius + 1,) * 2, np.uint8)
    return cv2.erode(mask.astype(np.uint8), kernel).astype(bool)


class TestAperioLayout:
    def test_openslide_reads_it_as_an_aperio_slide(self, folder: Path) -> None:
        with openslide.OpenSlide(folder / "phantom-01.svs") as slide:
            assert slide.properties["openslide.vendor"] == "aperio"
            assert float(slide.properties["openslide.mpp-x"]) == 2
            assert float(slide.properties["openslide.mpp-y"]) == 2
            assert slide.properties["openslide.objective-power"] == "5"
            # 2000 × 1500, floor / 4, floor / 16
            assert slide.level_dimensions == ((2000, 1500), (500, 375), (125, 93))
            assert slide.properties["openslide.level[0].tile-width"] == "64"
            assert set(slide.associated_images) == {"thumbnail"}

    def test_tiffslide_agrees(self, folder: Path) -> None:
        with tiffslide.TiffSlide(folder / "phantom-01.svs") as slide:
            assert slide.level_dimensions == ((2000, 1500), (500, 375), (125, 93))
            assert slide.properties["tiffslide.mpp-x"] == 2
            theirs = np.asarray(slide.read_region((512, 384), 0, (300, 300)))
        ours = _level(folder / "phantom-01.svs", 0)[384:684, 512:812]
        # Two JPEG decoders: chroma may be interpolated differently.
        assert np.abs(ours.astype(int) - theirs[..., :3]).mean() < 2

    def test_tiles_are_jpeg_with_halved_chroma_and_pages_lie_as_aperio_orders_them(
        self, folder: Path
    ) -> None:
        with tifffile.TiffFile(folder / "phantom-01.svs") as tiff:
            assert not tiff.is_bigtiff
            pages = [page.aspage() for page in tiff.pages]
            assert [page.is_tiled for page in pages] == [True, False, True, True]
            for page in pages:
                assert page.compression == tifffile.COMPRESSION.JPEG
                assert page.photometric == tifffile.PHOTOMETRIC.YCBCR
                assert page.tags["YCbCrSubSampling"].value == (2, 2)
                assert "DateTime" not in page.tags
                assert "Software" not in page.tags

    def test_its_description_names_the_generator(self, folder: Path) -> None:
        with tifffile.TiffFile(folder / "phantom-01.svs") as tiff:
            for page in tiff.pages:
                first = page.aspage().description.splitlines()[0]
                assert first == "Aperio Image Library (wsi-tower phantom-1)"

    def test_coarser_levels_average_the_finest(self, tmp_path: Path) -> None:
        settings = PhantomSettings(1, 1500, 1100, tile_px=64, jpeg_quality=100)

        def ramps(box: Level0Box) -> NDArray[np.uint8]:
            x, y = np.meshgrid(box.x + np.arange(box.width), box.y + np.arange(box.height))
            return np.stack([20 + x // 7, 20 + y // 5, np.full_like(x, 90)], axis=-1).astype(
                np.uint8
            )

        write_aperio(tmp_path / "ramps.svs", settings, (240, 240, 240), ramps)
        for level, step in ((0, 1), (1, 4), (2, 16)):
            # The mean of a ramp over a pixel is its value at the pixel's centre.
            x, y = ((np.arange(side // step) + 0.5) * step - 0.5 for side in (1500, 1100))
            image = _level(tmp_path / "ramps.svs", level).astype(float)
            assert np.abs(image[..., 0] - (20 + x[None] / 7 - 3 / 7)).max() < 4
            assert np.abs(image[..., 1] - (20 + y[:, None] / 5 - 2 / 5)).max() < 4

    def test_a_slide_of_exactly_one_tile_has_one_level(self, tmp_path: Path) -> None:
        settings = PhantomSettings(slides=1, width_um=640, height_um=640, mpp=10, tile_px=64)
        (path,) = write_phantoms(tmp_path, settings)
        with openslide.OpenSlide(path) as slide:
            assert slide.level_dimensions == ((64, 64),)
            assert slide.properties["openslide.objective-power"] == "1"


class TestTruth:
    @pytest.mark.parametrize("slide", ["phantom-01.svs", "phantom-02.svs"])
    def test_tissue_is_dark_inside_its_outline_and_glass_is_bare(
        self, folder: Path, slide: str
    ) -> None:
        image = _level(folder / slide, 1)
        tissue = _painted(_outlines(folder / slide, "Tissue"), (500, 375), 4)
        pen = _painted(_outlines(folder / slide, "Pen"), (500, 375), 4)
        glass = image[0, 250].astype(int)
        darker = (glass - image.astype(int)).max(axis=-1)
        # A JPEG block that holds an outline rings up to its end, 16 pixels with halved chroma.
        bare = _shrunk(~(tissue | pen), 17)
        # Dust lies anywhere; the blocks with a speck ring.
        assert (np.abs(darker[bare]) <= 4).mean() > 0.98
        stained = _shrunk(tissue, 2)
        # Clefts and fat cells are holes; the rest absorbs.
        assert (darker[stained] > 25).mean() > 0.9

    def test_both_truths_are_in_level0_pixels_and_valid(self, folder: Path) -> None:
        for slide in folder.glob("*.svs"):
            for outline in _outlines(slide, "Tissue") + _outlines(slide, "Pen"):
                left, top, right, bottom = outline.bounds
                assert outline.is_valid
                assert left >= 0
                assert top >= 0
                assert right <= 2000
                assert bottom <= 1500

    def test_only_the_slide_with_a_pen_says_so(self, folder: Path) -> None:
        assert not _outlines(folder / "phantom-01.svs", "Pen")
        assert len(_outlines(folder / "phantom-02.svs", "Pen")) == 1

    @pytest.mark.parametrize(
        ("colour", "strongest"), [("green", 1), ("red", 0), ("blue", 2), ("black", None)]
    )
    def test_ink_has_its_colour_on_glass(
        self, tmp_path: Path, colour: Any, strongest: int | None
    ) -> None:
        settings = PhantomSettings(
            1, 4000, 3000, mpp=8, tile_px=64, pen_every=1, pen_colours=(colour,)
        )
        path = tmp_path / "a.svs"
        write_phantom(path, settings, 0)
        tissue = _painted(_outlines(path, "Tissue"), (500, 375), 1)
        pen = _painted(_outlines(path, "Pen"), (500, 375), 1)
        red, green, blue = np.median(_level(path, 0)[_shrunk(pen, 6) & _shrunk(~tissue, 6)], axis=0)
        if strongest is None:
            assert max(red, green, blue) < 90
            assert max(red, green, blue) - min(red, green, blue) < 15
        else:
            others = [value for i, value in enumerate((red, green, blue)) if i != strongest]
            assert (red, green, blue)[strongest] > max(others) + 25

    def test_the_slide_list_names_every_slide_beside_it(self, folder: Path) -> None:
        with (folder / "slides.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == [
            *("sample_id", "image_path", "patient", "site", "label", "metastasis")
        ]
        assert [row["sample_id"] for row in rows] == ["phantom-01", "phantom-02"]
        assert all((folder / row["image_path"]).is_file() for row in rows)

    def test_the_slide_list_says_what_tumour_the_slides_have(self, folder: Path) -> None:
        with (folder / "slides.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["label"] for row in rows] == ["tumour", "normal"]
        for row in rows:
            lengths_um = [
                2 * _longest(outline) for outline in _outlines(folder / row["image_path"], "Tumor")
            ]
            kinds = {"macro" if length > 2000 else "micro" for length in lengths_um}
            assert row["metastasis"] == ("both" if len(kinds) > 1 else "".join(kinds) or "none")
            assert all(length > 200 for length in lengths_um)

    def test_tumour_and_damage_lie_on_tissue(self, folder: Path) -> None:
        for slide in folder.glob("*.svs"):
            # The file has hundredths of a pixel.
            tissue = union_all([piece.buffer(0.02) for piece in _outlines(slide, "Tissue")])
            for name in ("Tumor", "Fold", "Blur"):
                for outline in _outlines(slide, name):
                    assert outline.is_valid
                    assert outline.difference(tissue).area < 1


class TestSameSeedSameBytes:
    def test_threads_change_nothing(self, small: PhantomSettings, tmp_path: Path) -> None:
        settings = replace(small, nuclei=True, width_um=2000, height_um=1500)
        for threads in (1, 3):
            write_phantom(tmp_path / str(threads) / "a.svs", settings, 0, threads=threads)
        one, three = (
            {
                path.relative_to(tmp_path / threads): path.read_bytes()
                for path in (tmp_path / threads).rglob("*")
                if path.is_file()
            }
            for threads in ("1", "3")
        )
        assert len(one) > 3
        assert one == three

    def test_a_slide_written_alone_equals_the_one_written_in_its_folder(
        self, folder: Path, small: PhantomSettings, tmp_path: Path
    ) -> None:
        alone = tmp_path / "other-name.svs"
        threads = cv2.getNumThreads()
        try:
            cv2.setNumThreads(1)
            write_phantom(alone, replace(small, slides=40), 1)
        finally:
            cv2.setNumThreads(threads)
        assert alone.read_bytes() == (folder / "phantom-02.svs").read_bytes()
        assert truth_path(alone).read_bytes() == truth_path(folder / "phantom-02.svs").read_bytes()

    def test_another_seed_and_another_index_give_other_slides(
        self, folder: Path, small: PhantomSettings, tmp_path: Path
    ) -> None:
        other = tmp_path / "phantom-01.svs"
        write_phantom(other, replace(small, seed=6), 0)
        assert other.read_bytes() != (folder / "phantom-01.svs").read_bytes()
        assert truth_path(other).read_text() != truth_path(folder / "phantom-01.svs").read_text()
        first, second = (folder / f"phantom-0{i}.svs" for i in (1, 2))
        assert truth_path(first).read_text() != truth_path(second).read_text()


class TestFailure:
    @pytest.fixture
    def quick(self) -> PhantomSettings:
        return PhantomSettings(2, 4000, 3000, mpp=8, tile_px=64)

    def test_a_full_disk_leaves_nothing_behind(
        self, tmp_path: Path, quick: PhantomSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = itertools.count()
        encode = jpeg.encode

        def full(*args: Any, **settings: Any) -> bytes:
            if next(calls) == 20:
                raise OSError(errno.ENOSPC, "No space left on device")
            return encode(*args, **settings)

        monkeypatch.setattr(jpeg, "encode", full)
        with pytest.raises(StorageError, match="no space left"):
            write_phantoms(tmp_path / "out", quick)
        assert list((tmp_path / "out").rglob("*")) == []

    def test_a_failure_leaves_the_slide_that_was_there(
        self, tmp_path: Path, quick: PhantomSettings
    ) -> None:
        slide = tmp_path / "a.svs"
        slide.write_bytes(b"before")
        (tmp_path / "truth").write_text("a file where a folder should be")
        with pytest.raises(StorageError, match="a file stands where a folder is needed"):
            write_phantom(slide, quick, 0)
        assert slide.read_bytes() == b"before"
        assert {path.name for path in tmp_path.iterdir()} == {"a.svs", "truth"}

    def test_what_a_killed_run_left_is_cleared_away(
        self, tmp_path: Path, quick: PhantomSettings
    ) -> None:
        (tmp_path / ".partial-0123456789ab-a.svs").write_bytes(b"half")
        write_phantom(tmp_path / "a.svs", quick, 0)
        assert {path.name for path in tmp_path.iterdir()} == {"a.svs", "truth"}

    @pytest.mark.parametrize("threads", [1, 3])
    def test_a_full_disk_while_nuclei_are_written_leaves_nothing_behind(
        self,
        tmp_path: Path,
        quick: PhantomSettings,
        threads: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def full(*args: Any, **settings: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(truth, "write_instance_bands", full)
        with pytest.raises(StorageError, match="no space left"):
            write_phantom(tmp_path / "a.svs", replace(quick, nuclei=True), 0, threads=threads)
        assert [path for path in tmp_path.rglob("*") if path.name != "truth"] == []

    def test_useless_outlines_are_refused_before_anything_is_written(
        self, tmp_path: Path, quick: PhantomSettings
    ) -> None:
        outlines = tmp_path / "a.geojson"
        outlines.write_text('{"type": "FeatureCollection", "features": []}')
        asked = replace(quick, tumour_outlines=outlines, tumour_outlines_mpp=0.5)
        with pytest.raises(SettingsError, match="no area of more than"):
            write_phantoms(tmp_path / "out", asked)
        assert not (tmp_path / "out").exists()

    def test_a_slide_list_needs_the_truths(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"phantom-01\.geojson .* write the slide again"):
            write_slide_list(tmp_path, [tmp_path / "phantom-01.svs"])

    def test_an_output_folder_that_is_a_file_is_refused(
        self, tmp_path: Path, quick: PhantomSettings
    ) -> None:
        (tmp_path / "out").write_text("")
        with pytest.raises(StorageError):
            write_phantoms(tmp_path / "out", quick)


def test_memory_does_not_grow_with_the_slide(tmp_path: Path) -> None:
    settings = PhantomSettings(width_um=16_384, height_um=16_384, tile_px=1024)
    tile = np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), np.uint8)

    def rendered(box: Level0Box) -> NDArray[np.uint8] | None:
        return tile if (box.x + box.y) // 1024 % 2 else None

    tracemalloc.start()
    try:
        write_aperio(tmp_path / "a.tif", settings, (240, 240, 240), rendered)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Level 0 is 805 MB and level 1 50 MB; held at a time: one row of level 1 (12.6 MB), one of
    # level 2 (3 MB), a tile of 3 MB, and the spool.
    assert peak < 60e6
