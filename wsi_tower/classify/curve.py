"""`linear_curve`: how well a linear head does with few labelled tiles.

The seam for other ways of learning is `LabelCurve` of the scores room: a fine-tuned encoder or a
network trained from scratch on the same `CurveTiles` gives one, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from wsi_tower.classify.drawing import drawn_tiles
from wsi_tower.classify.heads import fitted_head
from wsi_tower.classify.learning import labelled_tiles
from wsi_tower.classify.settings import LearnSettings, SplitSettings
from wsi_tower.classify.split import split_cohort
from wsi_tower.errors import LabelError, SettingsError
from wsi_tower.scores import LabelCurve, LabelPoint, balanced_accuracy

if TYPE_CHECKING:
    from wsi_tower.classify.labels import TileLabels
    from wsi_tower.classify.split import Split
    from wsi_tower.scores import Cohort

__all__ = ["CurveSettings", "curve_split", "linear_curve"]


@dataclass(frozen=True, slots=True)
class CurveSettings:
    """How a curve is measured."""

    fractions: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 1.0)
    """Shares of the training tiles, of each class alike."""
    seeds: int = 5
    """Draws of tiles at each share; all tiles are drawn once."""
    split: SplitSettings = field(default_factory=lambda: SplitSettings(validation=0, test=0.33))
    """Whose slides train and test; the same for all shares and seeds."""
    learn: LearnSettings = field(default_factory=lambda: LearnSettings(balanced=True))
    """The head; nothing of it is chosen by scores."""

    def __post_init__(self) -> None:
        wrong = [one for one in self.fractions if not 0 < one <= 1]
        if wrong or not self.fractions:
            raise SettingsError(
                f"fractions are {', '.join(f'{one:g}' for one in self.fractions) or 'none'}; "
                f"choose some above 0 and up to 1"
            )
        if self.seeds < 1:
            raise SettingsError(f"seeds is {self.seeds}; take 1 or more")


def curve_split(cohort: Cohort, labels: TileLabels, settings: CurveSettings) -> Split:
    """Whose slides train and whose test, for all curves of a comparison.

    Raises:
        LabelError: no patient is left to test on, or test slides lack a class.
    """
    split = split_cohort(cohort, labels, settings.split)
    if not split.test:
        raise LabelError(
            f"{split.groups} patients have labelled tiles, and two are needed at least: slides of "
            f"one train, those of another test"
        )
    total = np.sum([labels.counts(slide_id) for slide_id in split.test], axis=0).tolist()
    lacking = [one for one, count in zip(labels.classes, total, strict=True) if not count]
    if lacking:
        raise LabelError(
            f"the test slides {', '.join(split.test)} have no tile of class {', '.join(lacking)}; "
            f"annotate it on slides of more patients, or choose test slides with --split-column"
        )
    return split


def linear_curve(
    cohort: Cohort, labels: TileLabels, split: Split, settings: CurveSettings
) -> LabelCurve:
    """Balanced accuracy on the test slides, by share of training tiles and seed.

    Raises:
        LabelError: a class has no training tile.
        ScoreError: a descriptor is not finite.
    """
    train = labelled_tiles(cohort, labels, split.train)
    test = labelled_tiles(cohort, labels, split.test)
    asked = torch.from_numpy(test.features)
    points = []
    for fraction in sorted(set(settings.fractions)):
        for seed in range(settings.seeds if fraction < 1 else 1):
            rows = drawn_tiles(train.labels, fraction, settings.learn.seed + seed)
            head = fitted_head(
                train.features[rows], train.labels[rows], labels.classes, settings.learn
            )
            called = head.probabilities(asked).argmax(dim=1).numpy()
            points.append(LabelPoint(fraction, seed, balanced_accuracy(called, test.labels)))
    return LabelCurve(cohort.encoder, tuple(points))
