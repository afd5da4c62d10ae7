"""Which pictures train and which validate, by seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.draws import Draws
from wsi_tower.errors import LabelError
from wsi_tower.segment.finetune.pictures import LabelledPicture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LabelledSplit", "split_by_seed"]

_LEAST_PX = 32
"""Side of the least part of a picture that is worth a validation."""


@dataclass(frozen=True, eq=False)
class LabelledSplit:
    """Pictures by what they are for."""

    training: tuple[LabelledPicture, ...]
    """Move weights."""
    validation: tuple[LabelledPicture, ...]
    """Say when to stop, and which weights are best."""


def split_by_seed(
    pictures: Sequence[LabelledPicture],
    labels: float,
    validation: float,
    seed: int,
    warn: Callable[[str], None],
) -> LabelledSplit:
    """Draw the pictures whose masks may be used, and of these the ones for validation.

    What is drawn for a smaller share is drawn for a larger one, too. Validation counts among the
    labels: masks that only say when to stop had to be drawn as well. Tiles of one slide are drawn
    together, since neighbours are alike. One picture or slide alone is cut in two: three quarters
    train and one validates.

    Args:
        pictures: all that there are; tiles of a slide from left to right.
        labels: share of pictures, or slides, that may be used; at least one is.
        validation: share of those for validation; at least one, where there are two or more.
        seed: of the draw.
        warn: hears of a picture or slide that is cut.

    Raises:
        LabelError: one picture alone is too small to be cut, or nothing is left to learn.
    """
    groups: dict[str, list[LabelledPicture]] = {}
    for picture in pictures:
        groups.setdefault(picture.group, []).append(picture)
    keys = Draws(seed, 0, np.arange(len(groups))).bits("labels", 1)[:, 0]
    names = list(groups)
    order = [names[number] for number in np.argsort(keys, kind="stable")]
    chosen = [groups[name] for name in order[: max(1, round(labels * len(groups)))]]
    if len(chosen) == 1:
        split = _cut(chosen[0], warn)
    else:
        count = min(max(1, round(validation * len(chosen))), len(chosen) - 1)
        split = LabelledSplit(_all(chosen[count:]), _all(chosen[:count]))
    if all(picture.is_empty for picture in split.training):
        raise LabelError(
            f"the masks drawn for training are all empty "
            f"({', '.join(dict.fromkeys(picture.group for picture in split.training))}); take "
            f"more labels, or another seed"
        )
    return split


def _all(groups: Sequence[Sequence[LabelledPicture]]) -> tuple[LabelledPicture, ...]:
    return tuple(picture for group in groups for picture in group)


def _cut(group: Sequence[LabelledPicture], warn: Callable[[str], None]) -> LabelledSplit:
    first = group[0]
    if first.slide_id is None:
        return _cut_picture(first, warn)
    cut = len(group) * 3 // 4
    if cut == 0:
        raise LabelError(
            f"{first.slide_id} is the only annotated slide, with one tile; annotate another"
        )
    warn(f"{first.slide_id} is the only annotated slide: its right quarter is for validation")
    return LabelledSplit(tuple(group[:cut]), tuple(group[cut:]))


def _cut_picture(picture: LabelledPicture, warn: Callable[[str], None]) -> LabelledSplit:
    axis = int(np.argmax(picture.mask.shape))
    extent = picture.mask.shape[axis]
    cut = extent * 3 // 4
    if extent - cut < _LEAST_PX:
        raise LabelError(
            f"{picture.name} is the only labelled picture and, at {picture.mask.shape[1]} × "
            f"{picture.mask.shape[0]} px, too small to keep a part for validation; give more"
        )
    warn(f"{picture.name} is the only labelled picture: a quarter of it is kept for validation")
    places = (slice(0, cut), slice(cut, extent))
    parts = []
    for name, place in zip(("training", "validation"), places, strict=True):
        index = (place, slice(None)) if axis == 0 else (slice(None), place)
        part = LabelledPicture(f"{picture.name} ({name})", picture.rgb[index], picture.mask[index])
        parts.append(part)
    return LabelledSplit((parts[0],), (parts[1],))
