"""The two evaluations of the similarity paper, over several encoders and the same tiles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wsi_tower.scores.addr import Addr, AddrSettings, addr, draw_pairs
from wsi_tower.scores.cohort import check_same_tiles, labelled_slides
from wsi_tower.scores.tumour_neighbours import (
    NeighbourAccuracy,
    NeighbourSettings,
    tumour_neighbours,
)
from wsi_tower.scores.tumour_retrieval import Retrieval, RetrievalSettings, tumour_retrieval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from wsi_tower.scores.bootstrap import BootstrapSettings
    from wsi_tower.scores.cohort import Cohort

__all__ = ["TumourScores", "TumourSettings", "evaluate_addr", "evaluate_tumour"]


@dataclass(frozen=True, slots=True)
class TumourSettings:
    """How tumour is asked for."""

    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)
    """What tumour tiles find."""
    neighbours: NeighbourSettings = field(default_factory=NeighbourSettings)
    """What neighbours say."""


@dataclass(frozen=True, slots=True)
class TumourScores:
    """How well an encoder puts tumour together."""

    retrieval: Retrieval
    """Tumour tiles that find tumour elsewhere."""
    neighbours: NeighbourAccuracy
    """Neighbours elsewhere that tell tumour from normal."""


def evaluate_addr(
    cohorts: Sequence[Cohort],
    settings: AddrSettings | None = None,
    bootstrap: BootstrapSettings | None = None,
) -> list[Addr]:
    """ADDR of each encoder, on the same pairs.

    Raises:
        ScoreError: the encoders saw different tiles, or there is nothing to score; see `addr`.
    """
    check_same_tiles(cohorts)
    settings = settings or AddrSettings()
    pairs = [draw_pairs(cache.slide_id, cache.centre_um, settings) for cache in cohorts[0].caches]
    return [addr([one.features for one in cohort.caches], pairs, bootstrap) for cohort in cohorts]


def evaluate_tumour(
    cohorts: Sequence[Cohort],
    fractions: Mapping[str, NDArray[np.float64]],
    settings: TumourSettings | None = None,
    bootstrap: BootstrapSettings | None = None,
) -> list[TumourScores]:
    """Tumour retrieval and voting neighbours of each encoder, on the same queries.

    Args:
        cohorts: the encoders.
        fractions: of each tile within tumour, by slide id, as `tumour_fractions` gives them.
        settings: what asks, and what counts.
        bootstrap: how intervals are drawn.

    Raises:
        ScoreError: the encoders saw different tiles, or there is nothing to find; see
            `tumour_retrieval`.
    """
    check_same_tiles(cohorts)
    settings = settings or TumourSettings()
    scores = []
    for cohort in cohorts:
        slides = labelled_slides(cohort, fractions)
        scores.append(
            TumourScores(
                tumour_retrieval(slides, settings.retrieval, bootstrap),
                tumour_neighbours(slides, settings.neighbours, bootstrap),
            )
        )
    return scores
