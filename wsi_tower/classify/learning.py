"""`learn_classifier`: a head from labelled tiles, calibrated and scored on other patients'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wsi_tower.classify.drawing import drawn_tiles
from wsi_tower.classify.heads import calibrate, fitted_head
from wsi_tower.classify.labels import UNLABELLED
from wsi_tower.classify.split import split_cohort
from wsi_tower.errors import LabelError
from wsi_tower.models import ClassifierOrigin
from wsi_tower.records import bytes_digest, plain
from wsi_tower.scores import balanced_accuracy, check_finite, expected_calibration_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.classify.labels import TileLabels
    from wsi_tower.classify.settings import ClassifySettings
    from wsi_tower.classify.split import Split
    from wsi_tower.models import TileClassifier
    from wsi_tower.scores import Cohort

__all__ = [
    "LabelledTiles",
    "LearntClassifier",
    "PartScores",
    "labelled_tiles",
    "learn_classifier",
    "origin_of",
]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledTiles:
    """Tiles of several slides that have a label."""

    features: NDArray[np.float32]
    """Descriptors: (N, D)."""
    labels: NDArray[np.int64]
    """Numbers of classes: (N,)."""


@dataclass(frozen=True, slots=True)
class PartScores:
    """How well a classifier does on the slides of one part."""

    slides: int
    """Slides."""
    tiles: int
    """Labelled tiles."""
    accuracy: float
    """Share of them that is called right."""
    balanced: float
    """Mean of that share over the classes there are."""
    ece_before: float
    """Expected calibration error before calibration."""
    ece: float
    """The same after it."""


@dataclass(frozen=True, slots=True)
class LearntClassifier:
    """A classifier, and what is known of it."""

    head: TileClassifier
    """Calibrated."""
    classes: tuple[str, ...]
    """What its outputs tell."""
    split: Split
    """Whose slides did what."""
    train_tiles: dict[str, int]
    """Tiles that taught, by class."""
    validation: PartScores
    """On the slides that it was calibrated on: too good for that."""
    test: PartScores | None
    """On slides that had no part in it; None where patients were too few."""


def learn_classifier(
    cohort: Cohort, labels: TileLabels, settings: ClassifySettings
) -> LearntClassifier:
    """Fit a head on some patients' tiles, calibrate it on others', score it on yet others'.

    Raises:
        LabelError: there are too few patients, or a class has no training tile.
        ScoreError: a descriptor is not finite.
    """
    split = split_cohort(cohort, labels, settings.split)
    learn = settings.learn
    train = labelled_tiles(cohort, labels, split.train, learn.most_tiles, learn.seed)
    head = fitted_head(train.features, train.labels, labels.classes, learn)
    validation = labelled_tiles(cohort, labels, split.validation)
    calibrate(head, validation.features, validation.labels, learn.calibration)
    counts = np.bincount(train.labels, minlength=len(labels.classes)).tolist()
    test = labelled_tiles(cohort, labels, split.test) if split.test else None
    return LearntClassifier(
        head=head,
        classes=labels.classes,
        split=split,
        train_tiles=dict(zip(labels.classes, counts, strict=True)),
        validation=_scores(head, validation, len(split.validation)),
        test=_scores(head, test, len(split.test)) if test is not None else None,
    )


def labelled_tiles(
    cohort: Cohort,
    labels: TileLabels,
    slide_ids: Sequence[str],
    most: int | None = None,
    seed: int = 0,
) -> LabelledTiles:
    """The labelled tiles of some slides, all or so many, in memory.

    Raises:
        LabelError: there is none.
        ScoreError: a descriptor is not finite.
    """
    wanted = set(slide_ids)
    caches = [cache for cache in cohort.caches if cache.slide_id in wanted]
    for cache in caches:
        check_finite(cache.features, cache.slide_id)
    rows = [np.flatnonzero(labels.of_slide[one.slide_id] != UNLABELLED) for one in caches]
    told = [labels.of_slide[one.slide_id][row] for one, row in zip(caches, rows, strict=True)]
    if not sum(map(len, rows)):
        raise LabelError(
            f"slides {', '.join(sorted(wanted)) or '(none)'} have no labelled tile; annotate them"
        )
    every = np.concatenate(told)
    kept = np.ones(len(every), np.bool_)
    if most is not None and len(every) > most:
        kept[:] = False
        kept[drawn_tiles(every, most / len(every), seed)] = True
    parts = np.split(kept, np.cumsum([len(row) for row in rows])[:-1])
    features = [
        np.asarray(cache.features[row[part]], np.float32)
        for cache, row, part in zip(caches, rows, parts, strict=True)
    ]
    return LabelledTiles(np.concatenate(features), every[kept])


def origin_of(
    learnt: LearntClassifier,
    cohort: Cohort,
    labels: TileLabels,
    settings: ClassifySettings,
    name: str,
) -> ClassifierOrigin:
    """What a saved classifier says of where it comes from."""
    first = cohort.caches[0]
    digests = (cache.content_digest for cache in cohort.caches)
    return ClassifierOrigin(
        name=name,
        classes=learnt.classes,
        encoder=cohort.encoder,
        descriptor=cohort.descriptor,
        stain=cohort.stain,
        tile_um=first.slide.tile_px * first.slide.tile_mpp,
        tile_px=first.slide.tile_px,
        settings=plain(settings),
        parents={
            "encoder": str(first.header.parents.get("encoder", "")),
            "embeddings": bytes_digest(text.encode() for text in digests),
            "labels": labels.digest(),
        },
        training=_told(learnt),
    )


def _told(learnt: LearntClassifier) -> dict[str, Any]:
    """What is known of a classifier as plain values."""
    return {
        "classes": list(learnt.classes),
        "split": plain(learnt.split),
        "train_tiles": learnt.train_tiles,
        "temperature": float(learnt.head.temperature),
        "offset": [float(one) for one in learnt.head.offset],
        "validation": plain(learnt.validation),
        "test": plain(learnt.test) if learnt.test is not None else None,
    }


def _scores(head: TileClassifier, tiles: LabelledTiles, slides: int) -> PartScores:
    features = torch.from_numpy(tiles.features)
    with torch.no_grad():
        before = head.logits(features).double().softmax(dim=1).numpy()
    after = head.probabilities(features).numpy()
    called = after.argmax(axis=1)
    return PartScores(
        slides=slides,
        tiles=len(tiles.labels),
        accuracy=float((called == tiles.labels).mean()),
        balanced=balanced_accuracy(called, tiles.labels),
        ece_before=expected_calibration_error(before, tiles.labels),
        ece=expected_calibration_error(after, tiles.labels),
    )
