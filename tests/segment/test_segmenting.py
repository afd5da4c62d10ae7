"""A whole slide: what is written agrees with itself, is whole or absent, and is not made twice."""

from __future__ import annotations

import csv
import errno
import json
import shutil
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely
import torch

from tests.segment.conftest import job_for, saved_model
from tests.segment.standin import REACH_PX, Darkness
from wsi_tower.annotations import read_geojson_polygons
from wsi_tower.errors import (
    EmptySlideError,
    ModelError,
    OtherResolutionError,
    OtherSettingsError,
    StorageError,
)
from wsi_tower.geometry import LevelBox
from wsi_tower.ngff import label_levels
from wsi_tower.segment import (
    SegmentSettings,
    export_path,
    label_objects,
    object_cover,
    read_segmentation,
    segment_slide,
    segmented_fields,
    writing,
)
from wsi_tower.tiles import TileStore

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.workspace import Workspace

with warnings.catch_warnings():
    # ome-zarr imports what its own dependencies call outdated.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", FutureWarning)
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

ALL = ("geojson", "dsa", "csv", "tiff")


def labels_at(path: Path) -> NDArray[np.uint32]:
    return np.asarray(label_levels(path)[0][:], np.uint32)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_agrees_with_itself(study: Workspace) -> None:
    job = job_for(study, formats=ALL)
    outcome = segment_slide(job)
    assert outcome.status == "done"
    record, labels = read_segmentation(job.path), labels_at(job.path)
    assert record.mpp == pytest.approx(1.0)
    assert record.objects == labels.max() == outcome.details["objects"] > 20
    with export_path(job.path, "csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == list(range(1, record.objects + 1))
    areas = np.bincount(labels.ravel())[1:]
    assert [float(row["area_um2"]) for row in rows] == pytest.approx(areas.tolist(), rel=1e-3)
    assert 0.8 * areas.sum() / 1e6 <= record.areas_mm2["nucleus"] <= areas.sum() / 1e6
    assert record.area_fraction == pytest.approx(record.areas_mm2["nucleus"] / record.tissue_mm2)
    assert {row["class"] for row in rows} == {"nucleus"}
    outlines = read_geojson_polygons(export_path(job.path, "geojson"))
    told = json.loads(export_path(job.path, "dsa").read_text(encoding="utf-8"))
    assert len(outlines) == record.objects
    assert len(told["elements"]) >= record.objects
    large = np.flatnonzero(areas > 60)
    by_name = json.loads(export_path(job.path, "geojson").read_text(encoding="utf-8"))["features"]
    shapes = {int(one["properties"]["name"]): one["geometry"] for one in by_name}
    for row in large[:20].tolist():
        outline = shapely.geometry.shape(shapes[row + 1])
        assert outline.area == pytest.approx(areas[row], rel=0.1)
        assert outline.bounds[0] <= float(rows[row]["x_l0"]) <= outline.bounds[2]


def test_the_labels_are_the_network_s_on_the_whole_picture(study: Workspace) -> None:
    job = job_for(study, min_area_um2=0)
    segment_slide(job)
    labels = labels_at(job.path)
    with TileStore.open(job.store) as store, store.open_slide() as slide:
        size = slide.info.size
        pixels = slide.read_level_box(0, LevelBox(0, 0, size.width, size.height))
        tissue = store.tissue_labels == 1
        pitch = store.tissue_pitch_l0
    images = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    whole = Darkness().probabilities(images)[0, 0].numpy() >= 0.5
    y, x = (np.minimum(((np.arange(side) + 0.5) / pitch).astype(int), end - 1)
            for side, end in zip(whole.shape, tissue.shape, strict=True))  # fmt: skip
    on_tissue = tissue[np.ix_(y, x)]
    objects = label_objects(whole)
    inside = np.zeros_like(whole)
    inside[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX] = True
    kept = 0
    for number in range(1, objects.max() + 1):
        own = objects == number
        if (own & on_tissue).sum() * 2 < own.sum() or not inside[own].all():
            continue
        # Of objects that reach off the tissue, the far end may lie where no window looked.
        if on_tissue[own].all():
            kept += 1
            (there,) = np.unique(labels[own])
            assert there > 0
            assert (labels == there).sum() == own.sum()
    assert kept > 20


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_ome_zarr_s_reader_finds_the_labels_and_their_scale(study: Workspace) -> None:
    job = job_for(study)
    segment_slide(job)
    location = parse_url(job.path)
    assert location is not None
    (node,) = list(Reader(location)())
    assert np.array_equal(np.asarray(node.data[0]), labels_at(job.path))
    scales = [level[0]["scale"] for level in node.metadata["coordinateTransformations"]]
    assert scales[:2] == [[1.0, 1.0], [2.0, 2.0]]


@pytest.mark.parametrize("window", [96, 200, 333])
def test_the_size_of_windows_makes_no_difference(study: Workspace, window: int) -> None:
    job = job_for(study, min_area_um2=0)
    segment_slide(job)
    labels, record = labels_at(job.path), read_segmentation(job.path)
    segment_slide(job_for(study, min_area_um2=0, window_px=window, overwrite=True))
    again = labels_at(job.path)
    tissue_only = (labels > 0) != (again > 0)
    # Off the tissue, other windows see other parts of the glass; at thresholds, rounding decides.
    assert tissue_only.mean() < 0.002
    assert read_segmentation(job.path).objects == pytest.approx(record.objects, rel=0.03)


def test_a_rerun_skips_and_other_settings_are_told(study: Workspace) -> None:
    segment_slide(job_for(study))
    before = files_in(study.segmentations("dark"))
    assert segment_slide(job_for(study)).status == "skipped"
    with pytest.raises(OtherSettingsError, match=r"threshold is 0\.5 there and 0\.7 now.*--name"):
        segment_slide(job_for(study, threshold=0.7))
    assert segment_slide(job_for(study, threshold=0.7, overwrite=True)).status == "done"
    assert files_in(study.segmentations("dark")) == before


def test_a_slide_at_another_resolution_is_refused_or_resampled(study: Workspace) -> None:
    shutil.rmtree(study.model("dark"))
    saved_model(study, mpp=1.5)
    with pytest.raises(OtherResolutionError, match="--resample"):
        segment_slide(job_for(study))
    assert not study.segmentation("dark", "phantom-01").exists()
    job = job_for(study, resample=True)
    segment_slide(job)
    record = read_segmentation(job.path)
    assert record.mpp == pytest.approx(1.5)
    assert record.pitch_l0 == pytest.approx(1.5)
    assert labels_at(job.path).shape == (734, 934)


def test_a_mask_without_tissue_is_empty(study: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TileStore, "tissue_labels", np.zeros((140, 175), np.uint8))
    with pytest.raises(EmptySlideError, match="phantom-01 has no tissue"):
        segment_slide(job_for(study))


def test_a_model_trained_again_meanwhile_is_refused(study: Workspace) -> None:
    job = job_for(study)
    recipe = replace(job.recipe, digest="0" * 32)
    with pytest.raises(ModelError, match="trained again"):
        segment_slide(replace(job, recipe=recipe))


def test_a_full_disk_leaves_what_was_there(
    study: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_for(study)
    segment_slide(job)
    before, labels = files_in(study.segmentations("dark")), labels_at(job.path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(writing, "write_objects_csv", full)
    with pytest.raises(StorageError, match="no space left"):
        segment_slide(job_for(study, threshold=0.7, overwrite=True))
    assert files_in(study.segmentations("dark")) == before
    assert np.array_equal(labels_at(job.path), labels)
    monkeypatch.undo()


def test_fields_show_what_the_labels_hold(study: Workspace) -> None:
    job = job_for(study)
    segment_slide(job)
    labels = labels_at(job.path)
    cover = object_cover(job.path, 25.0)
    covered = cover.fraction.sum() * cover.pitch_l0**2
    assert covered == pytest.approx(np.count_nonzero(labels), rel=0.05)
    with TileStore.open(job.store) as store, store.open_slide() as slide:
        fields = segmented_fields(job.path, slide, side_um=100)
        for field in fields:
            box = field.box_l0
            rows, columns = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
            assert np.array_equal(labels[rows, columns], field.ids)
            there = slide.read_level_box(0, LevelBox(box.x, box.y, box.width, box.height))
            assert np.array_equal(there, field.rgb)
    assert len(fields) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"threshold": 1.0}, "threshold must lie between 0 and 1, not 1.0"),
        ({"overlap_px": 400}, "between 0 and half of window_px 512, not 400"),
        ({"window_px": 8}, "window_px must lie between 32"),
        ({"formats": ("shp",)}, "format 'shp' is unknown; take of geojson, dsa, csv, tiff"),
        ({"min_area_um2": -1.0}, "min_area_um2 must be 0 or more"),
        ({"split_um": 0.0}, "split_um must be above 0"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SegmentSettings(**settings)  # type: ignore[arg-type]
