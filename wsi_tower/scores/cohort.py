"""The slides that an encoder is scored on: its embedding caches, chosen and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from wsi_tower.annotations import (
    TumourClasses,
    check_on_slide,
    covered_fractions,
    read_annotations,
    tumour_area,
)
from wsi_tower.embeddings import open_cache
from wsi_tower.errors import DuplicateSlideError, NoSlidesError, ScoreError
from wsi_tower.scores.labelled import LabelledSlide
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.annotations import AnnotationFiles
    from wsi_tower.embeddings import EmbeddingCache

__all__ = [
    "Choice",
    "Cohort",
    "check_same_tiles",
    "labelled_slides",
    "open_cohort",
    "tumour_fractions",
]

_PATIENT = "patient"
_PUBLISHED_STAIN = "reinhard"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which slides are scored, and whose they are."""

    where: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Values that a column of the cohort table may have; of every column named."""
    patient_column: str = _PATIENT
    """Column that says whose a slide is; a slide without a value is a patient of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """One encoder's caches of the slides that are scored, by slide id."""

    encoder: str
    """The encoder's slug."""
    caches: tuple[EmbeddingCache, ...]
    """A cache a slide."""
    patients: tuple[str, ...]
    """Whose each slide is."""
    role: Literal["encoder", "floor"] = "encoder"
    """``floor``: what an encoder has to beat."""

    @property
    def descriptor(self) -> str:
        """What describes a tile, and its length: ``head 128``."""
        first = self.caches[0]
        return f"{first.descriptor} {first.features.shape[1]}"

    @property
    def stain(self) -> str:
        """How tiles were normalised: ``reinhard``, ``macenko``, or ``none``."""
        return _stain(self.caches[0])

    @property
    def tiles(self) -> int:
        """Tiles of all slides."""
        return sum(map(len, self.caches))


def open_cohort(
    workspaces: Sequence[Workspace], encoder: str, choice: Choice | None = None
) -> Cohort:
    """Open an encoder's caches in one or more workspaces.

    Args:
        workspaces: where its caches lie; a workspace may have none.
        encoder: its slug, as the folder below ``embeddings`` is called; without one, the folder
            ``<encoder>-reinhard``, which has the published stain normalisation.
        choice: which slides.

    Raises:
        NoSlidesError: there is no cache, or the choice leaves none.
        DuplicateSlideError: two workspaces have a cache of one slide.
        ScoreError: the caches were not made in one way.
        CorruptStoreError: a cache cannot be used.
    """
    choice = choice or Choice()
    found = [open_cache(path) for path in _cache_paths(workspaces, encoder)]
    _check_different_slides(found)
    tables = {cache.workspace: Workspace(cache.workspace).cohort() for cache in found}
    # The workspace's own table may be newer than what a cache was written with.
    columns = [
        cache.slide.cohort | tables[cache.workspace].get(cache.slide_id, {}) for cache in found
    ]
    kept = sorted(
        (cache.slide_id, place)
        for place, (cache, told) in enumerate(zip(found, columns, strict=True))
        if all(told.get(column, "") in values for column, values in choice.where.items())
    )
    if not kept:
        told = " and ".join(f"{name}={'|'.join(sorted(of))}" for name, of in choice.where.items())
        raise NoSlidesError(
            f"none of {len(found)} embedded slides has {told} in the cohort table; look at "
            f"cohort.csv in {found[0].workspace}"
        )
    caches = tuple(found[place] for _, place in kept)
    _check_made_alike(encoder, caches)
    patients = [columns[place].get(choice.patient_column) or slide_id for slide_id, place in kept]
    return Cohort(caches[0].encoder, caches, tuple(patients))


def check_same_tiles(cohorts: Sequence[Cohort]) -> None:
    """Refuse encoders that were not given the same tiles: their scores would not compare.

    Raises:
        ScoreError: one lacks a slide of the first, or has other tiles of it.
    """
    first, *others = cohorts
    tiles = {cache.slide_id: cache.array_digests["coords"] for cache in first.caches}
    for other in others:
        found = {cache.slide_id: cache.array_digests["coords"] for cache in other.caches}
        apart = [name for name in sorted(tiles | found) if tiles.get(name) != found.get(name)]
        if apart:
            raise ScoreError(
                f"encoders {first.encoder} and {other.encoder} did not see the same tiles of "
                f"{len(apart)} slides, {apart[0]} for one; embed all of them with both, with "
                f"--overwrite where slides were tiled again"
            )


def tumour_fractions(
    cohort: Cohort, files: AnnotationFiles, classes: TumourClasses | None = None
) -> dict[str, NDArray[np.float64]]:
    """Fraction of each tile within annotated tumour, by slide id.

    A slide without a file has no tumour: Camelyon16 has no file for a normal slide.

    Raises:
        AnnotationError: a file cannot be read, or cannot be of its slide.
    """
    fractions = {}
    for cache in cohort.caches:
        path = files.of_slide.get(cache.slide_id)
        fractions[cache.slide_id] = (
            np.zeros(len(cache))
            if path is None
            else _fractions(path, cache, classes or TumourClasses())
        )
    return fractions


def labelled_slides(
    cohort: Cohort, fractions: Mapping[str, NDArray[np.float64]]
) -> list[LabelledSlide]:
    """A cohort's slides with their labels, as the scores take them."""
    return [
        LabelledSlide(cache.slide_id, patient, cache.features, fractions[cache.slide_id])
        for cache, patient in zip(cohort.caches, cohort.patients, strict=True)
    ]


def _fractions(path: Path, cache: EmbeddingCache, classes: TumourClasses) -> NDArray[np.float64]:
    slide = cache.slide
    annotations = read_annotations(path, slide.bounds)
    check_on_slide(annotations, slide.slide_id, slide.size, slide.mpp)
    area = tumour_area(annotations, classes)
    return covered_fractions(area, cache.coords_l0, slide.footprint_l0)


def _cache_paths(workspaces: Sequence[Workspace], encoder: str) -> list[Path]:
    for name in (encoder, f"{encoder}-{_PUBLISHED_STAIN}"):
        having = [one for one in workspaces if any(one.embeddings(name).glob("[!.]*.h5"))]
        if having:
            return [path for one in having for path in one.embedding_caches(name)]
    return workspaces[0].embedding_caches(encoder)  # which says what there is instead


def _check_different_slides(caches: Iterable[EmbeddingCache]) -> None:
    seen: dict[str, EmbeddingCache] = {}
    for cache in caches:
        other = seen.setdefault(cache.slide_id, cache)
        if other is not cache:
            raise DuplicateSlideError(
                f"{other.path} and {cache.path} are both of slide {cache.slide_id}; leave one of "
                f"the workspaces out"
            )


def _check_made_alike(encoder: str, caches: Sequence[EmbeddingCache]) -> None:
    ways: dict[tuple[object, ...], EmbeddingCache] = {}
    for cache in caches:
        weights = cache.header.parents.get("encoder")
        way = (cache.descriptor, cache.features.shape[1], _stain(cache), weights)
        ways.setdefault(way, cache)
    if len(ways) > 1:
        (one, first), (other, second) = list(ways.items())[:2]
        raise ScoreError(
            f"slides {first.slide_id} and {second.slide_id} were not embedded alike by encoder "
            f"{encoder}: {_told(one)} and {_told(other)}; embed all of them in one way, with "
            f"--overwrite"
        )


def _told(way: tuple[object, ...]) -> str:
    descriptor, width, stain, weights = way
    return f"{descriptor} {width}, stain {stain}, weights {str(weights)[:8]}"


def _stain(cache: EmbeddingCache) -> str:
    return str(cache.header.settings.get("stain", "none"))
