"""Shards searched by worker processes: the same answers as here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.retrieval.cohorts import allowed_of, write_cohort
from tests.retrieval.conftest import CODED
from wsi_tower.batch import BatchSettings
from wsi_tower.errors import CorruptStoreError
from wsi_tower.retrieval import (
    SearchSettings,
    TileIndex,
    build_index,
    nearest,
    search_elsewhere,
)
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from tests.retrieval.conftest import Cohort

SETTINGS = SearchSettings(compare_below=0, probes=4, candidates=64)


@pytest.fixture
def sharded(tmp_path: Path) -> TileIndex:
    """The coded cohort in two shards."""
    write_cohort(tmp_path, 8, 1300)
    build_index([Workspace(tmp_path)], "tower", replace(CODED, shards=2))
    return TileIndex.open(Workspace(tmp_path).index("tower"))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SETTINGS, SearchSettings()])
def test_two_workers_answer_as_one_index(
    coded: Cohort, sharded: TileIndex, settings: SearchSettings
) -> None:
    vectors = coded.features[0][:5]
    allowed = allowed_of(sharded, [1, 2, 3, 5, 6])
    here = nearest(coded.index, vectors, 12, allowed=allowed, settings=settings)
    there = nearest(
        sharded,
        vectors,
        12,
        allowed=allowed,
        settings=settings,
        search=search_elsewhere(BatchSettings(workers=2)),
    )
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.slides, other.slides)
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.distances, other.distances)


def test_a_shard_that_cannot_be_searched_is_named(sharded: TileIndex) -> None:
    (sharded.path / "shard-1" / "codes.faiss").write_bytes(b"")
    with pytest.raises(CorruptStoreError, match=r"shard 1 of index .* cannot be searched"):
        nearest(
            sharded,
            np.zeros((1, 8), np.float32),
            5,
            settings=SETTINGS,
            search=search_elsewhere(BatchSettings(workers=1)),
        )


def test_an_index_made_anew_meanwhile_is_not_mixed_with_the_old(sharded: TileIndex) -> None:
    home = Workspace(sharded.path.parents[1])
    build_index([home], "tower", replace(CODED, shards=2), without=("s01",))
    with pytest.raises(CorruptStoreError, match="made anew while it was searched"):
        nearest(
            sharded,
            np.zeros((1, 8), np.float32),
            5,
            settings=SETTINGS,
            search=search_elsewhere(BatchSettings(workers=1)),
        )
