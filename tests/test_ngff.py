"""OME-NGFF labels, opened by ome-zarr's own reader."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from wsi_tower.geometry import LevelSize
from wsi_tower.ngff import read_label_image, write_instance_bands, write_label_image

if TYPE_CHECKING:
    from pathlib import Path

with warnings.catch_warnings():
    # ome-zarr imports what its own dependencies call outdated.
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", FutureWarning)
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

CLASSES = {1: ("tissue", (0, 50, 120, 255)), 2: ("pen", (200, 0, 0, 128))}


@pytest.fixture
def labels() -> np.ndarray:
    image = np.zeros((601, 423), np.uint8)
    image[100:400, 50:300] = 1
    image[450:, 350:] = 2
    return image


@pytest.fixture
def path(tmp_path: Path, labels: np.ndarray) -> Path:
    path = tmp_path / "tissue"
    write_label_image(path, labels, pixel_um=(8.0, 8.25), name="tissue", classes=CLASSES)
    return path


def attributes(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_ome_zarr_s_reader_finds_labels_and_scales(path: Path, labels: np.ndarray) -> None:
    location = parse_url(path)
    assert location is not None
    (node,) = list(Reader(location)())
    assert np.array_equal(np.asarray(node.data[0]), labels)
    assert [np.asarray(level).shape for level in node.data] == [(601, 423), (301, 212), (151, 106)]
    scales = [level[0]["scale"] for level in node.metadata["coordinateTransformations"]]
    assert scales == [[8.25, 8.0], [16.5, 16.0], [33.0, 32.0]]
    assert [axis["unit"] for axis in node.metadata["axes"]] == ["micrometer", "micrometer"]


def test_every_level_takes_every_second_pixel(path: Path, labels: np.ndarray) -> None:
    import zarr

    for level in range(3):
        found = zarr.open_array(path / str(level), mode="r")
        assert np.array_equal(found[:], labels[:: 2**level, :: 2**level])


def test_metadata_is_what_the_specification_says(path: Path) -> None:
    found = attributes(path)
    assert found["version"] == "0.5"
    (multiscale,) = found["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == ["y", "x"]
    assert all(axis["type"] == "space" for axis in multiscale["axes"])
    assert [dataset["path"] for dataset in multiscale["datasets"]] == ["0", "1", "2"]
    assert found["image-label"]["colors"] == [
        {"label-value": 1, "rgba": [0, 50, 120, 255]},
        {"label-value": 2, "rgba": [200, 0, 0, 128]},
    ]
    assert found["image-label"]["properties"] == [
        {"label-value": 1, "class": "tissue"},
        {"label-value": 2, "class": "pen"},
    ]


def test_labels_are_read_back(path: Path, labels: np.ndarray) -> None:
    found = read_label_image(path)
    assert found.dtype == np.uint8
    assert np.array_equal(found, labels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (256, 256), (257, 3), (1025, 700)])
def test_odd_shapes_are_read_back_and_stay_few_files(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    labels = np.random.default_rng(0).integers(0, 3, shape, np.uint8)
    path = tmp_path / "labels"
    write_label_image(path, labels, pixel_um=(1, 1), name="a", classes=CLASSES)
    assert np.array_equal(read_label_image(path), labels)
    levels = len(attributes(path)["multiscales"][0]["datasets"])
    files = [file for file in path.rglob("*") if file.is_file()]
    # The group's metadata, and of every level the metadata and one shard.
    assert len(files) <= 1 + 2 * levels


def test_an_existing_group_is_not_overwritten(path: Path, labels: np.ndarray) -> None:
    with pytest.raises(FileExistsError):
        write_label_image(path, labels, pixel_um=(8, 8), name="tissue", classes=CLASSES)


class TestBands:
    def written(self, path: Path, ids: np.ndarray, rows: int) -> None:
        write_instance_bands(
            path,
            (ids[top : top + rows] for top in range(0, len(ids), rows)),
            size=LevelSize(ids.shape[1], ids.shape[0]),
            pixel_um=(0.5, 0.5),
            name="nuclei",
            more={"kinds": ["a", "b"]},
        )

    @pytest.mark.parametrize("shape", [(1, 1), (300, 700), (512, 64), (1025, 700), (1600, 300)])
    @pytest.mark.parametrize("rows", [1, 97, 256, 1024])
    def test_every_level_takes_every_second_pixel_however_the_bands_come(
        self, tmp_path: Path, shape: tuple[int, int], rows: int
    ) -> None:
        import zarr

        ids = np.random.default_rng(0).integers(0, 2**32, shape, np.uint32)
        self.written(tmp_path / "a", ids, rows)
        for dataset in attributes(tmp_path / "a")["multiscales"][0]["datasets"]:
            found = zarr.open_array(tmp_path / "a" / dataset["path"], mode="r")
            step = 2 ** int(dataset["path"])
            assert found.dtype == np.uint32
            assert np.array_equal(found[:], ids[::step, ::step])

    def test_a_level_has_one_file_every_512_rows(self, tmp_path: Path) -> None:
        ids = np.ones((1600, 2000), np.uint32)
        self.written(tmp_path / "a", ids, 256)
        found = [len([file for file in (tmp_path / "a" / level / "c").rglob("*") if file.is_file()])
                 for level in "0123"]  # fmt: skip
        assert found == [4, 2, 1, 1]  # 1600, 800, 400 and 200 rows

    @pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
    def test_ome_zarr_s_reader_finds_the_labels_and_attributes_stand_beside(
        self, tmp_path: Path
    ) -> None:
        ids = np.arange(600 * 400, dtype=np.uint32).reshape(600, 400)
        self.written(tmp_path / "a", ids, 256)
        location = parse_url(tmp_path / "a")
        assert location is not None
        (node,) = list(Reader(location)())
        assert np.array_equal(np.asarray(node.data[0]), ids)
        assert attributes(tmp_path / "a")["image-label"] == {"version": "0.5"}
        document = json.loads((tmp_path / "a" / "zarr.json").read_text())
        assert document["attributes"]["kinds"] == ["a", "b"]

    @pytest.mark.parametrize("height", [599, 601])
    def test_bands_of_another_height_are_refused(self, tmp_path: Path, height: int) -> None:
        with pytest.raises(ValueError, match=r"rows|shape"):
            write_instance_bands(
                tmp_path / "a",
                iter([np.ones((height, 10), np.uint32)]),
                size=LevelSize(10, 600),
                pixel_um=(1, 1),
                name="a",
                more={},
            )
