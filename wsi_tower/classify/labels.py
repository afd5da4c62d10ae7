"""Classes of tiles, as annotations give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import shapely

from wsi_tower.annotations import check_on_slide, covered_fractions, read_annotations, tumour_area
from wsi_tower.errors import LabelError
from wsi_tower.records import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wsi_tower.annotations import AnnotationFiles, Annotations, Area
    from wsi_tower.classify.settings import ClassRules
    from wsi_tower.embeddings import EmbeddingCache
    from wsi_tower.scores import Cohort

__all__ = ["UNLABELLED", "TileLabels", "labels_of_fractions", "tile_labels"]

UNLABELLED = -1
"""Of tiles that teach nothing."""
_TUMOUR = "tumour"


@dataclass(frozen=True, slots=True, eq=False)
class TileLabels:
    """A class for the tiles of each slide."""

    classes: tuple[str, ...]
    """Names; a tile's label is a place among them."""
    of_slide: Mapping[str, NDArray[np.int64]]
    """By slide id, a label a tile, or `UNLABELLED`: (N,)."""

    def digest(self) -> str:
        """What identifies them."""
        return digest(
            {"classes": list(self.classes)}
            | {name: labels.tolist() for name, labels in sorted(self.of_slide.items())}
        )

    def counts(self, slide_id: str) -> NDArray[np.int64]:
        """Labelled tiles of each class on a slide: (K,)."""
        labels = self.of_slide[slide_id]
        return np.bincount(labels[labels != UNLABELLED], minlength=len(self.classes))


def tile_labels(cohort: Cohort, files: AnnotationFiles, rules: ClassRules) -> TileLabels:
    """The class of every tile of a cohort.

    A slide without a file has background alone, as a normal slide of Camelyon16, or no label at all
    where the rules have no background.

    Raises:
        AnnotationError: a file cannot be read, or cannot be of its slide.
        LabelError: a class that was asked for is nowhere, or there are fewer than two classes.
    """
    drawn = {cache.slide_id: _read(cache, files) for cache in cohort.caches}
    _check_there(drawn, rules)
    names = rules.names
    classes = names if rules.background is None else (*names, rules.background)
    if len(classes) < 2:
        raise LabelError(
            f"{classes[0]} is the only class, and two are needed; name another with --class, or "
            f"let tiles without annotation be one with --background"
        )
    of_slide = {}
    for cache in cohort.caches:
        found = drawn[cache.slide_id]
        columns = [_fractions(found, cache, name, rules) for name in names]
        of_slide[cache.slide_id] = labels_of_fractions(np.stack(columns, axis=1), rules)
    return TileLabels(classes, of_slide)


def labels_of_fractions(fractions: NDArray[np.float64], rules: ClassRules) -> NDArray[np.int64]:
    """The class of tiles of which each class covers so much.

    That of the largest part, where it is large enough; of equal ones the first. Tiles that no class
    touches are background. All others, at the rims, are `UNLABELLED`.

    Args:
        fractions: of each tile within each annotated class: (N, K).
        rules: what is large enough, and whether there is a background.

    Returns:
        Labels, K for background: (N,).
    """
    labels = np.full(len(fractions), UNLABELLED, np.int64)
    is_inside = fractions.max(axis=1) >= rules.least_fraction
    labels[is_inside] = fractions[is_inside].argmax(axis=1)
    if rules.background is not None:
        labels[(fractions == 0).all(axis=1)] = fractions.shape[1]
    return labels


def _read(cache: EmbeddingCache, files: AnnotationFiles) -> Annotations | None:
    path = files.of_slide.get(cache.slide_id)
    if path is None:
        return None
    slide = cache.slide
    annotations = read_annotations(path, slide.bounds)
    check_on_slide(annotations, slide.slide_id, slide.size, slide.mpp)
    return annotations


def _check_there(drawn: Mapping[str, Annotations | None], rules: ClassRules) -> None:
    """Refuse a class of which no slide has an outline.

    Raises:
        LabelError: it is named, and so are the classes there are.
    """
    read = [one for one in drawn.values() if one is not None]
    missing = [
        name for name in rules.names if all(_area(one, name, rules).is_empty for one in read)
    ]
    if missing:
        there = sorted({name for one in read for name in one.classes if name})
        raise LabelError(
            f"no annotation is of class {', '.join(missing)}; there are "
            f"{', '.join(there) or 'none'}: name those to tell apart with --class"
        )


def _fractions(
    annotations: Annotations | None, cache: EmbeddingCache, name: str, rules: ClassRules
) -> NDArray[np.float64]:
    if annotations is None:
        return np.zeros(len(cache))
    return covered_fractions(
        _area(annotations, name, rules), cache.coords_l0, cache.slide.footprint_l0
    )


def _area(annotations: Annotations, name: str, rules: ClassRules) -> Area:
    if name.lower() == _TUMOUR:
        return tumour_area(annotations, rules.tumour)
    named = [one.area for one in annotations.areas if (one.name or "").lower() == name.lower()]
    return cast("Area", shapely.union_all(named))
