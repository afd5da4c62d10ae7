"""What ``wsi-tower evaluate segmentation`` does once its options are read: score, compare, tell."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_tower.cli.evaluate_told import Evaluation, span, write_csv
from wsi_tower.errors import SettingsError
from wsi_tower.scores import BootstrapSettings, mean_with_interval, paired_difference
from wsi_tower.segment import ScoringSettings, score_masks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.segment import MaskScores

__all__ = ["run_segmentation"]

_FLOOR = "otsu-haematoxylin"
_HEADS = ("masks", "Dice", "95 % over images", "AJI", "95 % over images", "")
_OBJECTS = {"ids": "the masks' own ids", "components": "pixels connected by sides"}
_SHOWN = 5


@dataclass(frozen=True)
class _Column:
    """One set of masks: a score of each image."""

    name: str
    """The folder's, or the floor's."""
    role: str
    """``predicted``, ``other`` or ``floor``."""
    dice: NDArray[np.float64]
    """Of each image."""
    aji: NDArray[np.float64]
    """Of each image."""


def run_segmentation(values: Mapping[str, Any]) -> Evaluation:
    """Score predicted masks against true ones, beside a floor and others where they are given.

    Raises:
        WsiTowerError: masks do not match, or hold what no mask holds.
    """
    began = time.perf_counter()
    bootstrap = BootstrapSettings(values["resamples"], seed=values["seed"])
    settings = ScoringSettings(
        predicted=values["predicted"],
        masks=values["masks"],
        images=values["images"],
        objects=values["objects"],
        sigma_px=values["sigma_px"],
    )
    found = score_masks(settings)
    columns = [_column(settings.predicted, "predicted", found), *_floor(found)]
    columns += _others(values, settings)
    _check_names_differ(columns)
    write_csv(values["csv"], [asdict(one) for one in found.images])
    rows = tuple(_row(one, columns[0], bootstrap) for one in columns)
    return Evaluation(
        score="segmentation",
        headline=(
            f"{len(found.images)} images, {sum(one.true for one in found.images):,} true objects "
            f"({_OBJECTS[found.true_objects]}), {sum(one.found for one in found.images):,} "
            f"predicted ({_OBJECTS[found.predicted_objects]})"
        ),
        settings={name: str(value) for name, value in asdict(settings).items()}
        | {"predicted_objects": found.predicted_objects, "true_objects": found.true_objects}
        | {"resamples": bootstrap.resamples},
        rows=rows,
        table=(_HEADS, *map(_cells, rows)),
        notes=tuple(_notes(found, rows)),
        written=(),
        seconds=round(time.perf_counter() - began, 3),
        rows_name="masks",
        more={"images": [asdict(one) for one in found.images]},
    )


def _column(folder: Path, role: str, found: MaskScores) -> _Column:
    dices, ajis = ([getattr(one, name) for one in found.images] for name in ("dice", "aji"))
    return _Column(folder.absolute().name, role, np.array(dices), np.array(ajis))


def _floor(found: MaskScores) -> Iterator[_Column]:
    if found.images[0].floor_dice is not None:
        names = ("floor_dice", "floor_aji")
        dices, ajis = ([getattr(one, name) for one in found.images] for name in names)
        yield _Column(_FLOOR, "floor", np.array(dices, np.float64), np.array(ajis, np.float64))


def _others(values: Mapping[str, Any], settings: ScoringSettings) -> Iterator[_Column]:
    for folder in values["against"]:
        own = ScoringSettings(folder, settings.masks, objects=settings.objects)
        yield _column(folder, "other", score_masks(own))


def _check_names_differ(columns: Sequence[_Column]) -> None:
    names = [one.name for one in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(
            f"two folders of predicted masks are called {twice[0]}; rename one, so that rows can "
            f"be told apart"
        )


def _row(column: _Column, first: _Column, bootstrap: BootstrapSettings) -> dict[str, Any]:
    """A set of masks, and how much better the first one is."""
    row: dict[str, Any] = {"masks": column.name, "role": column.role}
    for name in ("dice", "aji"):
        scores = getattr(column, name)
        mean, interval = mean_with_interval(scores, bootstrap)
        row[name] = {"mean": mean, "sd": float(scores.std()), "interval": interval}
        if column is not first:
            better = paired_difference(getattr(first, name), scores, bootstrap)
            row[name]["first_minus_this"] = asdict(better)
    return row


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    scores = [
        cell
        for name in ("dice", "aji")
        for cell in (f"{row[name]['mean']:.3f}", span(row[name]["interval"], ".3f"))
    ]
    return (row["masks"], *scores, "floor" if row["role"] == "floor" else "")


def _notes(found: MaskScores, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    first = rows[0]["masks"]
    for row in rows[1:]:
        for name, told in (("dice", "Dice"), ("aji", "AJI")):
            better = row[name]["first_minus_this"]
            yield (
                f"{told} of {first} − {row['masks']}: {better['mean']:+.3f} "
                f"({span(better['interval'], '+.3f')}), p {better['p_value']:.2g} (Wilcoxon), over "
                f"{better['images']} images"
            )
    if found.true_objects == "components":
        yield (
            "AJI is of connected pixels, since true masks have no ids: nuclei that touch count as "
            "one"
        )
    empty = [one for one in found.images if one.is_empty]
    if empty:
        names = ", ".join(one.name for one in empty[:_SHOWN])
        right = sum(one.found == 0 for one in empty)
        yield (
            f"{len(empty)} true masks are empty ({names}{', …' if len(empty) > _SHOWN else ''}): "
            f"Dice and AJI are 1 for the {right} whose prediction is empty, too, and 0 for the "
            f"others"
        )
    if len(found.images) == 1:
        yield "one image alone gives no interval over images"
