"""What ``wsi-tower evaluate labels`` does once its options are read: curves over few labels."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsi_tower.annotations import find_annotations
from wsi_tower.classify import (
    CurveSettings,
    LearnSettings,
    SplitSettings,
    curve_split,
    linear_curve,
    tile_labels,
)
from wsi_tower.cli.class_options import parsed_rules
from wsi_tower.cli.evaluate_told import (
    Evaluation,
    check_any_match,
    file_notes,
    floor_notes,
    slides_and_tiles,
    stain_notes,
    write_csv,
)
from wsi_tower.errors import ScoreError, SettingsError
from wsi_tower.records import plain, write_bytes_aside
from wsi_tower.report import label_curve_picture
from wsi_tower.scores import LabelCurve, LabelPoint, annotations_saved, is_floor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wsi_tower.classify import Split, TileLabels
    from wsi_tower.cli.evaluate_run import Request
    from wsi_tower.scores import Cohort

__all__ = ["read_curves", "run_labels"]

_COLUMNS = ("name", "fraction", "seed", "score")


def run_labels(request: Request, values: Mapping[str, Any]) -> Evaluation:
    """Learn heads from shares of the training tiles, and say how many labels each way saves.

    Raises:
        WsiTowerError: no embeddings, annotations that do not fit or teach nothing, or a file of
            curves that holds none.
    """
    began = time.perf_counter()
    settings, rules = _curve_settings(values), parsed_rules(values)
    given = [curve for path in values["curves"] for curve in read_curves(path)]
    cohorts = request.opened()
    _check_named(values["against"], cohorts, given)
    files = find_annotations(values["annotations"], [one.slide_id for one in cohorts[0].caches])
    check_any_match(values["annotations"], files, cohorts[0])
    labels = tile_labels(cohorts[0], files, rules)
    split = curve_split(cohorts[0], labels, settings)
    cohorts = request.with_floors(cohorts)
    curves = [linear_curve(cohort, labels, split, settings) for cohort in cohorts] + given
    against = _against(values["against"], curves)
    rows = tuple(_row(curve, against) for curve in curves)
    write_csv(request.csv, [_point(curve, one) for curve in curves for one in curve.points])
    return Evaluation(
        score="labels",
        headline=_headline(cohorts[0], labels, split),
        settings={"curve": plain(settings), "rules": plain(rules), "split": plain(split)},
        rows=rows,
        table=tuple(_table(rows, curves)),
        notes=(
            *_notes(given, against, 1 / len(labels.classes)),
            *file_notes(files, cohorts[0]),
            *stain_notes(cohorts),
            *floor_notes(cohorts),
        ),
        written=tuple(_pictures(request, values, curves, labels)),
        seconds=round(time.perf_counter() - began, 3),
        rows_name="curves",
    )


def read_curves(path: Path) -> list[LabelCurve]:
    """Curves from a table that ``--csv`` wrote, or that another program wrote alike.

    Raises:
        SettingsError: it cannot be read, or is no such table.
        ScoreError: a fraction or score cannot be.
    """
    points: dict[str, list[LabelPoint]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                name, fraction, seed, score = (row[column] for column in _COLUMNS)
                point = LabelPoint(float(fraction), int(seed), float(score))
                points.setdefault(name, []).append(point)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(
            f"--curves {path} is no table of curves with the columns {', '.join(_COLUMNS)} "
            f"({error})"
        ) from error
    if not points:
        raise SettingsError(f"--curves {path} holds no row")
    return [LabelCurve(name, tuple(own)) for name, own in points.items()]


def _curve_settings(values: Mapping[str, Any]) -> CurveSettings:
    return CurveSettings(
        fractions=tuple(values["fractions"]),
        seeds=values["seeds"],
        split=SplitSettings(0, values["test"], values["split_column"], values["seed"]),
        learn=LearnSettings(
            penalty=values["penalty"], balanced=True, calibration="none", seed=values["seed"]
        ),
    )


def _check_named(name: str, cohorts: Sequence[Cohort], given: Sequence[LabelCurve]) -> None:
    """Refuse a slip of the pen before floors are made, which can take hours.

    Raises:
        ScoreError: no curve will be called so.
    """
    names = [one.encoder for one in cohorts] + [curve.name for curve in given]
    if name and name not in names and not is_floor(name):
        raise ScoreError(f"--against {name} is none of the curves {', '.join(names)}, nor a floor")


def _against(name: str, curves: Sequence[LabelCurve]) -> LabelCurve | None:
    """The curve whose score with all labels is to be reached.

    Raises:
        ScoreError: two curves share a name, or none has this one.
    """
    names = [curve.name for curve in curves]
    twice = sorted({one for one in names if names.count(one) > 1})
    if twice:
        raise ScoreError(f"two curves are called {twice[0]}; rename one in its table")
    if not name:
        return None
    if name not in names:
        raise ScoreError(f"--against {name} is none of the curves {', '.join(names)}")
    return curves[names.index(name)]


def _row(curve: LabelCurve, against: LabelCurve | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": curve.name,
        "points": [one._asdict() for one in curve.points],
        "mean": {f"{share:g}": curve.mean_at(share) for share in curve.fractions},
    }
    if against is not None:
        row |= {"against": against.name, "annotations_saved": annotations_saved(curve, against)}
    return row


def _point(curve: LabelCurve, point: LabelPoint) -> dict[str, Any]:
    return {"name": curve.name} | point._asdict()


def _table(
    rows: Sequence[Mapping[str, Any]], curves: Sequence[LabelCurve]
) -> Iterator[tuple[str, ...]]:
    shares = sorted({share for curve in curves for share in curve.fractions})
    saves = "annotations_saved" in rows[0]
    yield ("", *(f"{100 * share:g} %" for share in shares), *(("saved",) if saves else ()))
    for row, curve in zip(rows, curves, strict=True):
        cells = (_cell(curve, share) for share in shares)
        saved = row.get("annotations_saved")
        told = "not reached" if saved is None else f"{saved:.0%}"
        yield (curve.name, *cells, *((told,) if saves else ()))


def _cell(curve: LabelCurve, share: float) -> str:
    scores = curve.scores_at(share)
    if not scores:
        return "–"
    spread = f" ± {np.std(scores, ddof=1):.1%}" if len(scores) > 1 else ""
    return f"{np.mean(scores):.1%}{spread}"


def _headline(cohort: Cohort, labels: TileLabels, split: Split) -> str:
    def told(slides: Sequence[str]) -> str:
        counts = np.sum([labels.counts(one) for one in slides], axis=0).tolist()
        each = zip(counts, labels.classes, strict=True)
        return f"{len(slides)} slides ({', '.join(f'{count:,} {name}' for count, name in each)})"

    return (
        f"{slides_and_tiles(cohort)} of {split.groups} patients; balanced accuracy on "
        f"{told(split.test)}, learnt from shares of the tiles of {told(split.train)}"
    )


def _notes(given: Sequence[LabelCurve], against: LabelCurve | None, chance: float) -> Iterator[str]:
    yield "± is the spread over seeds, which are draws of training tiles; test slides are the same"
    if given:
        names = ", ".join(curve.name for curve in given)
        yield f"{names} are read from a table: only yours to know that the test slides are these"
    if against is None:
        yield "say --against CURVE for the annotations saved"
    elif against.mean_at(1.0) <= chance:
        yield (
            f"{against.name} with all labels is no better than guessing ({chance:.1%}): what is "
            f"saved against it says nothing"
        )


def _pictures(
    request: Request, values: Mapping[str, Any], curves: Sequence[LabelCurve], labels: TileLabels
) -> Iterator[Path]:
    if values["plot"] is None:
        return
    home = request.workspaces[0]
    folder = Path(values["plot"]) if values["plot"] else home.reports / "evaluate"
    path = folder / "labels.png"
    title = f"{', '.join(labels.classes)}: balanced accuracy by the share of labelled tiles"
    write_bytes_aside(path, label_curve_picture(curves, title, chance=1 / len(labels.classes)))
    yield path
