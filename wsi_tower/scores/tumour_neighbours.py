"""kNN tumour accuracy: do a tile's neighbours on other patients' slides tell what it is?

Tumour tiles and as many normal ones, drawn from all slides, are each given the class of most of
their k nearest neighbours among the drawn tiles of other patients. Ours; no published protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.draws import Draws
from wsi_tower.errors import ScoreError, SettingsError
from wsi_tower.scores.bootstrap import BootstrapSettings, Interval, interval_over_slides
from wsi_tower.scores.labelled import LabelRules, check_comparable
from wsi_tower.scores.nearest import check_finite, nearest_elsewhere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.scores.labelled import LabelledSlide

__all__ = ["NeighbourAccuracy", "NeighbourSettings", "tumour_neighbours"]


@dataclass(frozen=True, slots=True)
class NeighbourSettings:
    """Who votes."""

    neighbours: int = 15
    """k; odd numbers cannot tie."""
    per_class: int = 10_000
    """Tiles of a class at most."""
    rules: LabelRules = field(default_factory=LabelRules)
    """A tile that may ask is tumour; one that tumour does not touch is normal."""
    seed: int = 0
    """What tiles are drawn depends on it."""

    def __post_init__(self) -> None:
        for name in ("neighbours", "per_class"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; take 1 or more")


@dataclass(frozen=True, slots=True)
class NeighbourAccuracy:
    """How often neighbours are right."""

    neighbours: int
    """k."""
    per_class: int
    """Tiles of each class that were drawn."""
    balanced: float
    """Mean of the two below; guessing gives 0.5."""
    sensitivity: float
    """Share of tumour tiles that were called tumour."""
    specificity: float
    """Share of normal tiles that were called normal."""
    interval: Interval | None
    """Of ``balanced`` over slides."""


def tumour_neighbours(
    slides: Sequence[LabelledSlide],
    settings: NeighbourSettings | None = None,
    bootstrap: BootstrapSettings | None = None,
) -> NeighbourAccuracy:
    """Let neighbours on other patients' slides vote whether a tile is tumour.

    Raises:
        ScoreError: there is nothing to find (see `check_comparable`), no tile is free of tumour, or
            a descriptor is not finite.
    """
    settings = settings or NeighbourSettings()
    check_comparable(slides, settings.rules)
    drawn = _drawn(slides, settings)
    kept = [
        replace(
            slide,
            features=np.asarray(slide.features[rows], np.float32),
            tumour_fraction=slide.tumour_fraction[rows],
        )
        for slide, rows in zip(slides, drawn, strict=True)
    ]
    for slide in kept:
        check_finite(slide.features, slide.slide_id)
    sums = _right(kept, settings.neighbours)
    tumour, called_tumour, normal, called_normal = sums.sum(axis=0)
    return NeighbourAccuracy(
        neighbours=settings.neighbours,
        per_class=int(tumour),
        balanced=float(_balanced(sums.sum(axis=0, keepdims=True))[0]),
        sensitivity=float(called_tumour / tumour),
        specificity=float(called_normal / normal),
        interval=interval_over_slides(sums, _balanced, bootstrap or BootstrapSettings()),
    )


def _drawn(slides: Sequence[LabelledSlide], settings: NeighbourSettings) -> list[NDArray[np.int64]]:
    """Rows of each slide that take part: as many of one class as of the other, over all slides."""
    owners = np.repeat(np.arange(len(slides)), [len(slide.features) for slide in slides])
    rows = np.concatenate([np.arange(len(slide.features)) for slide in slides])
    fractions = np.concatenate([slide.tumour_fraction for slide in slides])
    luck = Draws(settings.seed, 0, np.arange(len(rows))).uniform("neighbours/tiles")
    classes = [
        np.flatnonzero(members)
        for members in (fractions >= settings.rules.query_fraction, fractions == 0)
    ]
    count = min(settings.per_class, *map(len, classes))
    if count == 0:
        raise ScoreError(
            "every tile touches annotated tumour, so that none is normal; add slides or tissue "
            "without tumour"
        )
    chosen = np.concatenate([one[np.argsort(luck[one], kind="stable")][:count] for one in classes])
    chosen.sort()
    return [rows[chosen[owners[chosen] == slide]] for slide in range(len(slides))]


def _right(slides: Sequence[LabelledSlide], neighbours: int) -> NDArray[np.float64]:
    """Of each slide: tumour tiles, those called so, normal tiles, those called so: (S, 4)."""
    everyone = [np.arange(len(slide.features)) for slide in slides]
    patients = [slide.patient for slide in slides]
    found = nearest_elsewhere([one.features for one in slides], patients, everyone, neighbours)
    truth = [slide.tumour_fraction > 0 for slide in slides]
    votes = np.zeros(found.slides.shape)
    for number, is_tumour in enumerate(truth):
        here = found.slides == number
        votes[here] = is_tumour[found.rows[here]]
    voters = (found.slides >= 0).sum(axis=1)
    called = votes.sum(axis=1) > voters / 2
    ends = np.cumsum([len(rows) for rows in everyone])
    return np.array(
        [
            [tumour.sum(), (tumour & yes).sum(), (~tumour).sum(), (~tumour & ~yes).sum()]
            for tumour, yes in zip(truth, np.split(called, ends[:-1]), strict=True)
        ],
        np.float64,
    )


def _balanced(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    tumour, called_tumour, normal, called_normal = sums.T
    both = (tumour > 0) & (normal > 0)
    shares = np.full(len(sums), np.nan)
    shares[both] = (called_tumour[both] / tumour[both] + called_normal[both] / normal[both]) / 2
    return shares
