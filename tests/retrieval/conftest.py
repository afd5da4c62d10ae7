"""A small cohort with an exact index, and one large enough for codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.retrieval.cohorts import write_cohort
from wsi_tower.retrieval import IndexSettings, TileIndex, build_index
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODED = IndexSettings(kind="compressed", lists=16, code_bytes=4)


@dataclass(frozen=True)
class Cohort:
    """A cohort and its index."""

    workspace: Workspace
    features: list[NDArray[Any]]
    index: TileIndex


def made_cohort(workspace: Workspace, slides: int, tiles: int, settings: IndexSettings) -> Cohort:
    features = write_cohort(workspace.root, slides, tiles)
    build_index([workspace], "tower", settings)
    return Cohort(workspace, features, TileIndex.open(workspace.index("tower")))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Six slides of 40 tiles, flat."""
    workspace = Workspace(tmp_path_factory.mktemp("small"))
    return made_cohort(workspace, 6, 40, IndexSettings())


@pytest.fixture(scope="session")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Eight slides of 1300 tiles, in 16 lists with codes of 4 bytes."""
    return made_cohort(Workspace(tmp_path_factory.mktemp("coded")), 8, 1300, CODED)
