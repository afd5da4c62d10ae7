"""The index on disk: made, brought up to date, verified; whole or absent."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import faiss
import h5py
import numpy as np
import pytest

from tests.retrieval.cohorts import nearest_by_hand, write_slide
from tests.retrieval.conftest import CODED, Cohort, made_cohort
from wsi_tower.errors import (
    CorruptStoreError,
    DuplicateSlideError,
    EncoderError,
    NoSlidesError,
    OtherSettingsError,
    StoreBusyError,
)
from wsi_tower.geometry import Level0Box
from wsi_tower.records import held_lock
from wsi_tower.retrieval import (
    IndexSettings,
    SearchSettings,
    TileIndex,
    build_index,
    nearest,
    verify_index,
)
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

THOROUGH = SearchSettings(compare_below=0, probes=16, candidates=20_000)


@pytest.fixture
def flat(tmp_path: Path) -> Cohort:
    """Four slides of 20 tiles that a test may change."""
    return made_cohort(Workspace(tmp_path), 4, 20, IndexSettings())


@pytest.fixture
def changing(coded: Cohort, tmp_path: Path) -> Cohort:
    """A copy of the coded cohort that a test may change."""
    shutil.copytree(coded.workspace.root, tmp_path, dirs_exist_ok=True)
    workspace = Workspace(tmp_path)
    return Cohort(workspace, list(coded.features), TileIndex.open(workspace.index("tower")))


def reopened(cohort: Cohort) -> TileIndex:
    return TileIndex.open(cohort.workspace.index("tower"))


def test_columns_follow_every_tile(flat: Cohort) -> None:
    index = reopened(flat)
    slide = index.slides[3]
    assert slide.cohort == {"patient": "p1", "site": "breast"}
    assert (slide.slide_id, slide.tiles, slide.footprint_um) == ("s03", 20, (25.0, 25.0))
    # Row 13: fourth column, second row of tiles of 100 px at 0.25 µm/px.
    np.testing.assert_array_equal(index.centre_um(3)[13], (87.5, 37.5))
    assert isinstance(index.centre_um(3).base, np.memmap)
    np.testing.assert_allclose(index.slide_descriptors[3], flat.features[3].mean(axis=0), atol=1e-6)
    assert index.record.columns == ("patient", "site")


def test_the_cohort_table_comes_before_what_a_cache_remembers(flat: Cohort) -> None:
    flat.workspace.merge_cohort({"s01": {"site": "skin", "label": "tumour"}})
    change = build_index([flat.workspace], "tower")
    assert change.status == "updated"
    assert (change.added, change.removed) == ((), ())
    cohort = reopened(flat).slides[1].cohort
    assert cohort == {"patient": "p0", "site": "skin", "label": "tumour"}


def test_a_second_run_has_nothing_to_do(flat: Cohort) -> None:
    before = (flat.workspace.index("tower") / "index.json").read_bytes()
    assert build_index([flat.workspace], "tower").status == "unchanged"
    assert (flat.workspace.index("tower") / "index.json").read_bytes() == before


def test_the_same_embeddings_give_the_same_index(coded: Cohort, changing: Cohort) -> None:
    change = build_index([changing.workspace], "tower", CODED, overwrite=True)
    assert change.status == "made"
    assert change.record.file_digests == coded.index.record.file_digests
    assert change.record.header.content_digest == coded.index.record.header.content_digest


def test_slides_go_in_and_out_without_learning_anew(changing: Cohort) -> None:
    """Afterwards it holds what an index with the same lists, made at once, would hold."""
    workspace, features = changing.workspace, changing.features
    workspace.embedding_cache("tower", "s02").unlink()
    changed = features[5][::-1].copy()
    write_slide(workspace.root, 5, changed)
    added = np.random.default_rng(99).normal(size=(700, 8)).astype(np.float32)
    write_slide(workspace.root, 8, added)
    change = build_index([workspace], "tower", CODED)
    assert change.status == "updated"
    assert change.added == ("s05", "s08")
    assert change.removed == ("s02", "s05")
    index = reopened(changing)
    verify_index(index)
    assert [slide.slide_id for slide in index.slides] == [
        f"s0{n}" for n in (0, 1, 3, 4, 5, 6, 7, 8)
    ]
    now = [features[n] for n in (0, 1, 3, 4)] + [changed, features[6], features[7], added]
    for slide, own in enumerate(now):
        vector = own[11]
        (found,) = nearest(index, vector[None], 6, settings=THOROUGH)
        places = list(zip(found.slides.tolist(), found.rows.tolist(), strict=True))
        assert places == nearest_by_hand(now, vector, 6, list(range(8)))
        assert places[0] == (slide, 11)
        assert index.slides[slide].tiles == len(own)
        np.testing.assert_array_equal(
            index.centre_um(slide), index.cache(slide).centre_um.astype(np.float32)
        )


def test_slides_can_be_left_out(flat: Cohort) -> None:
    change = build_index([flat.workspace], "tower", without=("s00", "s02"))
    assert change.removed == ("s00", "s02")
    assert [slide.slide_id for slide in reopened(flat).slides] == ["s01", "s03"]
    assert change.record.choice.why[0].startswith("flat: 40 tiles")
    with pytest.raises(NoSlidesError, match="every slide is left out"):
        build_index([flat.workspace], "tower", without=[f"s0{n}" for n in range(4)])


def test_an_index_that_outgrows_its_kind_is_made_anew(flat: Cohort) -> None:
    asked = IndexSettings(exact_below=10_000, lists=4, code_bytes=2)
    build_index([flat.workspace], "tower", asked, overwrite=True)
    assert reopened(flat).record.choice.kind == "flat"
    write_slide(flat.workspace.root, 4, np.random.default_rng(0).normal(size=(9984, 8)))
    change = build_index([flat.workspace], "tower", asked)
    assert (change.status, change.record.choice.kind) == ("made", "compressed")


def test_an_index_says_when_it_outgrew_what_it_learnt_from(changing: Cohort) -> None:
    change = build_index([changing.workspace], "tower", CODED)
    assert not change.has_outgrown
    grown = replace(change, record=replace(change.record, tiles_learnt_from=2000))
    assert grown.has_outgrown


def test_other_settings_are_told_and_never_mixed(flat: Cohort) -> None:
    with pytest.raises(OtherSettingsError, match=r"shards is 1 there and 2 now.*--overwrite"):
        build_index([flat.workspace], "tower", IndexSettings(shards=2))
    change = build_index([flat.workspace], "tower", IndexSettings(shards=2), overwrite=True)
    assert [slide.shard for slide in change.record.slides] == [0, 1, 0, 1]


def test_embeddings_of_two_encoders_do_not_belong_together(flat: Cohort) -> None:
    features = np.zeros((5, 8), np.float32)
    parents = {"tiles": "0" * 32, "encoder": "2" * 32}
    write_slide(flat.workspace.root, 9, features, parents=parents)
    with pytest.raises(
        EncoderError, match=r"s00\.h5 and .*s09\.h5 do not belong together: encoder's"
    ):
        build_index([flat.workspace], "tower")
    write_slide(flat.workspace.root, 9, np.zeros((5, 9), np.float32))
    with pytest.raises(EncoderError, match="length of descriptors 8 and 9"):
        build_index([flat.workspace], "tower")


def test_an_encoder_trained_again_makes_the_index_anew(flat: Cohort) -> None:
    parents = {"tiles": "0" * 32, "encoder": "2" * 32}
    for number, features in enumerate(flat.features):
        write_slide(flat.workspace.root, number, features, parents=parents)
    assert build_index([flat.workspace], "tower").status == "made"


def test_several_workspaces_share_an_index(flat: Cohort, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "other")
    write_slide(other.root, 7, np.ones((6, 8), np.float32))
    change = build_index([flat.workspace, other], "tower")
    assert change.added == ("s07",)
    index = reopened(flat)
    assert index.cache(4).path == other.embedding_cache("tower", "s07")
    write_slide(other.root, 0, np.ones((6, 8), np.float32))
    with pytest.raises(DuplicateSlideError, match="both of slide s00"):
        build_index([flat.workspace, other], "tower")


def test_the_workspace_can_be_moved(flat: Cohort, tmp_path: Path) -> None:
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    shutil.copytree(tmp_path, moved)
    shutil.rmtree(tmp_path)
    verify_index(TileIndex.open(Workspace(moved).index("tower")))
    assert build_index([Workspace(moved)], "tower").status == "unchanged"


def test_a_killed_run_leaves_the_old_index(
    changing: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*told: object) -> None:
        raise KeyboardInterrupt

    write_slide(changing.workspace.root, 8, np.ones((60, 8), np.float32))
    with monkeypatch.context() as patch:
        patch.setattr("wsi_tower.retrieval.building.write_record", killed)
        with pytest.raises(KeyboardInterrupt):
            build_index([changing.workspace], "tower", CODED)
    assert len(reopened(changing).slides) == 8
    verify_index(reopened(changing))
    assert build_index([changing.workspace], "tower", CODED).added == ("s08",)
    assert sorted(path.name for path in changing.workspace.index("tower").parent.iterdir()) == [
        "tower"
    ]


def test_only_one_process_makes_an_index(flat: Cohort) -> None:
    lock = flat.workspace.lock(flat.workspace.index("tower"))
    with (
        held_lock(lock, wait=False),
        pytest.raises(StoreBusyError, match="another process is writing"),
    ):
        build_index([flat.workspace], "tower")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("index.json", cut),
        ("shard-0/codes.faiss", cut),
        ("shard-0/codes.faiss", flip),
        ("shard-0/centre_um.npy", cut),
        ("shard-0/centre_um.npy", flip),
        ("slide_descriptors.npy", flip),
    ],
)
def test_verify_finds_every_damage(
    changing: Cohort, name: str, damage: Callable[[Path], None]
) -> None:
    damage(changing.workspace.index("tower") / name)
    with pytest.raises(CorruptStoreError, match="--overwrite"):
        verify_index(reopened(changing))


def test_verify_reads_the_embeddings_too(flat: Cohort) -> None:
    verify_index(reopened(flat))
    path = flat.workspace.embedding_cache("tower", "s01")
    with h5py.File(path, "r+") as file:
        file["features"][3, 2] += 1
    with pytest.raises(CorruptStoreError, match="its features are not what was written"):
        verify_index(reopened(flat))


def test_a_cut_index_is_refused_when_it_is_searched(changing: Cohort) -> None:
    cut(changing.workspace.index("tower") / "shard-0" / "codes.faiss")
    vector = changing.features[0][:1]
    with pytest.raises(CorruptStoreError, match=r"codes\.faiss cannot be read"):
        nearest(reopened(changing), vector, 5, settings=THOROUGH)


def test_codes_of_other_slides_are_refused(changing: Cohort) -> None:
    path = changing.workspace.index("tower") / "shard-0" / "codes.faiss"
    codes = faiss.read_index(str(path))
    codes.remove_ids(np.arange(5))
    faiss.write_index(codes, str(path))
    with pytest.raises(CorruptStoreError, match="10,395 codes for 10,400 tiles"):
        nearest(reopened(changing), changing.features[0][:1], 5, settings=THOROUGH)


def test_a_cache_that_changed_after_indexing_is_named(flat: Cohort) -> None:
    write_slide(flat.workspace.root, 2, flat.features[2] + 1)
    with pytest.raises(CorruptStoreError, match=r"s02\.h5 changed after it was indexed"):
        nearest(reopened(flat), flat.features[0][:1], 5)
    flat.workspace.embedding_cache("tower", "s02").unlink()
    with pytest.raises(CorruptStoreError, match=r"s02\.h5 cannot be used: it does not exist"):
        nearest(reopened(flat), flat.features[0][:1], 5)


@pytest.mark.parametrize(
    ("version", "remedy"), [(2, "so update it"), (0, "so remake the index"), (None, "so remake")]
)
def test_another_version_is_refused(flat: Cohort, version: int | None, remedy: str) -> None:
    path = flat.workspace.index("tower") / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": version}))
    with pytest.raises(CorruptStoreError, match=f"format version {version}.*{remedy}"):
        reopened(flat)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "no record of a wsi-tower index"),
        ("[]", "no record of a wsi-tower index"),
        ('{"kind": "index", "format_version": 1}', "no sound wsi-tower header"),
    ],
)
def test_what_is_no_index_is_refused(flat: Cohort, text: str, said: str) -> None:
    (flat.workspace.index("tower") / "index.json").write_text(text)
    with pytest.raises(CorruptStoreError, match=said):
        reopened(flat)


def test_a_record_without_a_slide_s_columns_is_refused(flat: Cohort) -> None:
    path = flat.workspace.index("tower") / "index.json"
    values = json.loads(path.read_text())
    del values["slides"][1]["mpp"]
    path.write_text(json.dumps(values))
    with pytest.raises(CorruptStoreError, match="'mpp' is missing or wrong"):
        reopened(flat)


def test_bounds_come_back(tmp_path: Path) -> None:
    bounds = Level0Box(10, 20, 300, 400)
    write_slide(tmp_path, 0, np.ones((3, 8), np.float32), of_slide={"bounds": bounds})
    build_index([Workspace(tmp_path)], "tower")
    assert TileIndex.open(Workspace(tmp_path).index("tower")).slides[0].bounds == bounds
