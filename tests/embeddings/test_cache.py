"""The cache's file: what other tools find in it, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from tests.embeddings.made import SLIDE, made_cache
from wsi_tower.embeddings import open_cache
from wsi_tower.errors import CorruptStoreError, NoSlidesError, StorageError
from wsi_tower.geometry import Level0Box, Mpp
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def features_of(rows: int = 23, width: int = 7, dtype: Any = np.float32) -> NDArray[Any]:
    return np.random.default_rng(0).normal(size=(rows, width)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_was_written_comes_back(tmp_path: Path, dtype: Any) -> None:
    features = features_of(dtype=dtype)
    slide = replace(SLIDE, bounds=Level0Box(1, 2, 3, 4), mpp=Mpp(0.25, 0.26))
    made_cache(tmp_path, features, slide=slide, mosaic=np.array([3, 1]))
    cache = open_cache(tmp_path / "embeddings" / "tower" / "a.h5")
    assert (len(cache), cache.features.dtype) == (23, dtype)
    np.testing.assert_array_equal(cache.features, features)
    np.testing.assert_array_equal(cache.coords_l0[12], (200, 100))
    np.testing.assert_array_equal(cache.centre_um[12], (62.5, 150 * 0.26))
    np.testing.assert_array_equal(cache.mosaic, (3, 1))
    np.testing.assert_allclose(
        cache.slide_descriptor, features.mean(0, dtype=np.float64), atol=1e-6
    )
    assert (cache.slide, cache.slide_id, cache.encoder) == (slide, "a", "tower")
    assert (cache.encoder_id, cache.descriptor) == ("tower", "pooled")
    assert cache.header.parents == {"tiles": "0" * 32, "encoder": "1" * 32}
    assert cache.workspace == tmp_path
    cache.verify()


def test_features_are_mapped_and_nothing_can_be_written(tmp_path: Path) -> None:
    cache = made_cache(tmp_path, features_of())
    assert isinstance(cache.features, np.memmap)
    for values in (cache.features, cache.coords_l0, cache.centre_um, cache.slide_descriptor):
        assert not values.flags.writeable


def test_the_content_digest_is_of_arrays_alone(tmp_path: Path) -> None:
    features = features_of()
    first = made_cache(tmp_path / "1", features)
    other_cohort = replace(SLIDE, cohort={"patient": "p2"})
    assert made_cache(tmp_path / "2", features, slide=other_cohort).content_digest == (
        first.content_digest
    )
    changed = features.copy()
    changed[3, 3] += 1
    assert made_cache(tmp_path / "3", changed).content_digest != first.content_digest


# ------------------------------------------------------------------ other tools


def test_h5py_alone_reads_it(tmp_path: Path) -> None:
    features = features_of()
    path = made_cache(tmp_path, features).path
    with h5py.File(path, "r") as file:
        assert set(file) == {"features", "coords", "coords_um", "slide_descriptor", "mosaic"}
        dataset = file["features"]
        assert (dataset.chunks, dataset.compression, dataset.dtype) == (None, None, np.float32)
        np.testing.assert_array_equal(dataset[:], features)
        offset = dataset.id.get_offset()
        told = json.loads(file.attrs["wsi_tower"])
    raw = np.frombuffer(path.read_bytes(), "<f4", features.size, offset)
    np.testing.assert_array_equal(raw.reshape(features.shape), features)
    assert (told["kind"], told["format_version"]) == ("embeddings", 1)
    assert told["slide"]["cohort"] == {"patient": "p1"}


def test_clam_reads_it_as_a_bag_and_finds_every_tile_again(tmp_path: Path) -> None:
    """CLAM's multiple-instance data set takes whole arrays; its feature extraction and heatmaps
    read ``patch_size`` pixels of ``patch_level`` at each row of ``coords``."""
    slide = replace(SLIDE, level=1, downsample=4.0, footprint_l0=1024, pitch_l0=768)
    path = made_cache(tmp_path, features_of(), slide=slide).path
    with h5py.File(path, "r") as file:
        bag, coords = file["features"][:], file["coords"][:]
        attributes = dict(file["coords"].attrs)
    assert (bag.shape, bag.dtype, coords.shape) == ((23, 7), np.float32, (23, 2))
    assert coords.dtype == np.int64
    assert attributes["patch_level"] == 1
    assert attributes["patch_size"] * attributes["downsample"][0] == 1024
    np.testing.assert_array_equal(attributes["downsample"], (4, 4))
    np.testing.assert_array_equal(attributes["level_dim"], (250, 200))
    np.testing.assert_array_equal(attributes["downsampled_level_dim"], (250, 200))
    assert (attributes["name"], attributes["save_path"]) == ("a", ".")


@pytest.mark.parametrize(
    ("mpp", "downsample", "level0", "target"),
    [
        (0.2528, 1.0, 40, 40),
        (0.2456, 4.0001, 40, 10),
        (0.499, 1.0, 20, 20),
        (0.35, 1.0, 28.5714, 28.5714),
    ],
)
def test_trident_finds_features_and_the_extent_of_a_tile(
    tmp_path: Path, mpp: float, downsample: float, level0: float, target: float
) -> None:
    """TRIDENT's slide encoders take ``features``, ``coords`` and ``patch_size_level0``; its patcher
    multiplies ``patch_size`` by the two magnifications' ratio."""
    slide = replace(SLIDE, mpp=Mpp(mpp, mpp), footprint_l0=1024, pitch_l0=768)
    slide = replace(slide, downsample=downsample, level=int(downsample > 1))
    path = made_cache(tmp_path, features_of(), slide=slide).path
    with h5py.File(path, "r") as file:
        assert file["features"].attrs["encoder"] == "tower"
        assert file["features"].attrs["name"] == file["coords"].attrs["name"] == "a"
        found = dict(file["coords"].attrs)
        assert file["slide_descriptor"].shape == (7,)
    assert (found["patch_size_level0"], found["level0_width"], found["level0_height"]) == (
        1024, 1000, 800,
    )  # fmt: skip
    assert found["level0_magnification"] == pytest.approx(level0)
    assert found["target_magnification"] == pytest.approx(target)
    footprint = found["patch_size"] * found["level0_magnification"] // found["target_magnification"]
    assert footprint == 1024
    assert found["overlap"] == round(256 / downsample)


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    name = "bad-\udcff"
    cache = made_cache(tmp_path, features_of(), slide=replace(SLIDE, slide_id=name))
    assert cache.slide_id == name


# ------------------------------------------------------------------ complete or absent


def test_a_failed_write_leaves_the_old_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made_cache(tmp_path, features_of())

    def full(self: object, *arguments: object, **values: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.File, "create_dataset", full)
    with pytest.raises(StorageError, match="no space left on the device"):
        made_cache(tmp_path, features_of(5))
    assert open_cache(before.path).content_digest == before.content_digest
    assert list(before.path.parent.iterdir()) == [before.path]


# ------------------------------------------------------------------ what is refused


def rewritten(path: Path, **changes: Any) -> None:
    with h5py.File(path, "r+") as file:
        told = json.loads(file.attrs["wsi_tower"])
        file.attrs["wsi_tower"] = json.dumps(told | changes)


def test_a_truncated_cache_is_refused_at_any_length(tmp_path: Path) -> None:
    path = made_cache(tmp_path, features_of()).path
    content = path.read_bytes()
    for share in (0, 0.2, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(CorruptStoreError, match=r"a\.h5 cannot be used: .* --overwrite"):
            open_cache(path)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n" + b"\0" * 2000])
def test_what_is_no_hdf5_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError, match=r"a\.h5 cannot be used"):
        open_cache(path)


def test_foreign_hdf5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["features"] = features_of()
    with pytest.raises(CorruptStoreError, match="no wsi-tower embedding cache"):
        open_cache(path)


def test_a_missing_cache_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorruptStoreError, match=r"a\.h5 .* does not exist"):
        open_cache(tmp_path / "a.h5")


@pytest.mark.parametrize(("version", "remedy"), [(2, "update it"), (0, "embed again with")])
def test_another_version_is_refused(tmp_path: Path, version: int, remedy: str) -> None:
    path = made_cache(tmp_path, features_of()).path
    rewritten(path, format_version=version)
    with pytest.raises(CorruptStoreError, match=f"format version {version}.*{remedy}"):
        open_cache(path)


@pytest.mark.parametrize("change", [{"slide": {}}, {"array_digests": None}, {"parents": 3}])
def test_a_damaged_header_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = made_cache(tmp_path, features_of()).path
    rewritten(path, **change)
    with pytest.raises(CorruptStoreError, match=r"a\.h5"):
        open_cache(path)


@pytest.mark.parametrize("name", ["coords", "coords_um", "slide_descriptor"])
def test_a_changed_small_array_is_seen_when_opened(tmp_path: Path, name: str) -> None:
    path = made_cache(tmp_path, features_of()).path
    with h5py.File(path, "r+") as file:
        file[name][0] = file[name][0] + 1
    with pytest.raises(CorruptStoreError, match=f"its {name} is not what was written"):
        open_cache(path)


def test_changed_features_are_seen_when_verified(tmp_path: Path) -> None:
    path = made_cache(tmp_path, features_of()).path
    with h5py.File(path, "r+") as file:
        file["features"][4, 4] += 1
    with pytest.raises(CorruptStoreError, match="its features are not what was written"):
        open_cache(path).verify()


# ------------------------------------------------------------------ in the workspace


def test_a_workspace_lists_caches_and_says_what_there_is(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with pytest.raises(NoSlidesError, match=r"no embeddings of encoder tower, nor of any other"):
        workspace.embedding_caches("tower")
    for slide_id in ("b", "a"):
        made_cache(tmp_path, features_of(), slide_id)
    assert [path.name for path in workspace.embedding_caches("tower")] == ["a.h5", "b.h5"]
    assert workspace.embedding_cache("tower", "a") == workspace.embeddings("tower") / "a.h5"
    with pytest.raises(NoSlidesError, match=r"encoder simclr, only of tower; .*--encoder simclr"):
        workspace.embedding_caches("simclr")
