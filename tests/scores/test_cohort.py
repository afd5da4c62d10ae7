"""Which caches are scored together, and the labels of their tiles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.embeddings.made import SLIDE, made_cache
from wsi_tower.annotations import AnnotationFiles
from wsi_tower.errors import AnnotationError, DuplicateSlideError, NoSlidesError, ScoreError
from wsi_tower.scores import (
    Choice,
    check_same_tiles,
    labelled_slides,
    open_cohort,
    tumour_fractions,
)
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = np.arange(80, dtype=np.float32).reshape(20, 4)


def cache(root: Path, slide_id: str, patient: str = "", **more: Any) -> None:
    cohort = {"patient": patient, "split": "test" if patient else "train"}
    slide = replace(SLIDE, slide_id=slide_id, cohort=cohort)
    made_cache(root, FEATURES, slide_id, slide=slide, **more)


def test_slides_come_by_name_with_their_patients(tmp_path: Path) -> None:
    for slide_id, patient in (("b", "p"), ("a", "p"), ("c", "")):
        cache(tmp_path, slide_id, patient)
    cohort = open_cohort([Workspace(tmp_path)], "tower")
    assert [one.slide_id for one in cohort.caches] == ["a", "b", "c"]
    assert cohort.patients == ("p", "p", "c")
    assert (cohort.descriptor, cohort.stain, cohort.tiles) == ("pooled 4", "none", 60)


def test_columns_choose_and_the_workspaces_own_table_wins(tmp_path: Path) -> None:
    for slide_id, patient in (("a", "p"), ("b", "q"), ("c", "")):
        cache(tmp_path, slide_id, patient)
    home = Workspace(tmp_path)
    home.merge_cohort({"b": {"patient": "r", "site": "x"}, "c": {"site": "y"}})
    chosen = open_cohort([home], "tower", Choice({"split": frozenset({"test"})}))
    assert [one.slide_id for one in chosen.caches] == ["a", "b"]
    assert chosen.patients == ("p", "r")
    both = Choice({"site": frozenset({"x", "y"}), "split": frozenset({"train"})}, "site")
    assert open_cohort([home], "tower", both).patients == ("y",)
    with pytest.raises(NoSlidesError, match="none of 3 embedded slides has site=z"):
        open_cohort([home], "tower", Choice({"site": frozenset({"z"})}))


def test_published_stain_is_taken_where_nothing_else_is(tmp_path: Path) -> None:
    cache(tmp_path, "a", settings={"stain": "reinhard"})
    folder = tmp_path / "embeddings" / "tower"
    folder.rename(folder.with_name("tower-reinhard"))
    with pytest.raises(NoSlidesError, match=r"no embeddings of encoder x, only of tower-reinhard"):
        open_cohort([Workspace(tmp_path)], "x")
    assert open_cohort([Workspace(tmp_path)], "tower").stain == "reinhard"


def test_several_workspaces_make_one_cohort(tmp_path: Path) -> None:
    first, second, empty = (Workspace(tmp_path / name) for name in "xyz")
    cache(first.root, "a")
    cache(second.root, "b")
    found = open_cohort([empty, first, second], "tower")
    assert [one.workspace for one in found.caches] == [first.root, second.root]
    cache(second.root, "a")
    with pytest.raises(DuplicateSlideError, match="are both of slide a"):
        open_cohort([first, second], "tower")


@pytest.mark.parametrize(
    "more",
    [
        {"descriptor": "head"},
        {"settings": {"stain": "macenko"}},
        {"parents": {"tiles": "0" * 32, "encoder": "2" * 32}},
    ],
)
def test_caches_made_in_two_ways_are_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    cache(tmp_path, "a")
    cache(tmp_path, "b", **more)
    with pytest.raises(ScoreError, match="slides a and b were not embedded alike by encoder tower"):
        open_cohort([Workspace(tmp_path)], "tower")


def test_encoders_must_have_seen_the_same_tiles(tmp_path: Path) -> None:
    cohorts = []
    for name, slides in (("x", "ab"), ("y", "ab"), ("z", "a")):
        for slide_id in slides:
            cache(tmp_path / name, slide_id)
        cohorts.append(open_cohort([Workspace(tmp_path / name)], "tower"))
    check_same_tiles(cohorts[:2])
    with pytest.raises(ScoreError, match="same tiles of 1 slides, b for one"):
        check_same_tiles(cohorts)
    moved = np.stack([np.arange(20) * 7, np.arange(20)], axis=1)
    cache(tmp_path / "y", "a", coords_l0=moved)
    other = open_cohort([Workspace(tmp_path / "y")], "tower")
    with pytest.raises(ScoreError, match="a for one; embed all of them with both"):
        check_same_tiles([cohorts[0], other])


class TestLabels:
    # Two rows of ten tiles of 100 px on a slide of 1000 × 800 px.

    def labelled(self, root: Path, text: str) -> list[float]:
        cache(root, "a")
        cache(root, "b", "p")
        (root / "a.json").write_text(text)
        cohort = open_cohort([Workspace(root)], "tower")
        fractions = tumour_fractions(cohort, AnnotationFiles({"a": root / "a.json"}, ()))
        assert fractions["b"].tolist() == [0] * 20
        first, second = labelled_slides(cohort, fractions)
        assert (first.slide_id, first.patient, second.patient) == ("a", "a", "p")
        np.testing.assert_array_equal(first.features, FEATURES)
        return [float(one) for one in first.tumour_fraction]

    def test_tiles_are_labelled_by_overlap(self, tmp_path: Path) -> None:
        # 250 × 150 px of tumour with a hole of 50 × 50 px in the second tile.
        text = (
            '{"positive": [{"vertices": [[0, 0], [250, 0], [250, 150], [0, 150]]}],'
            ' "negative": [{"vertices": [[100, 0], [150, 0], [150, 50], [100, 50]]}]}'
        )
        found = self.labelled(tmp_path, text)
        assert found[:3] == [1, 0.75, 0.5]
        assert found[10:13] == [0.5, 0.5, 0.25]
        assert sum(found) == 3.5

    def test_annotations_of_another_slide_are_refused(self, tmp_path: Path) -> None:
        text = '{"positive": [{"vertices": [[0, 0], [9000, 0], [9000, 5000]]}]}'
        with pytest.raises(AnnotationError, match=r"a\.json are not of slide a: outline 0 spans"):
            self.labelled(tmp_path, text)
