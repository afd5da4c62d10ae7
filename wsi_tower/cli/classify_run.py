"""What ``wsi-tower classify`` does once its options are read: learn or load, batch, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from wsi_tower.annotations import find_annotations
from wsi_tower.batch import BatchSettings, Outcome, Progress, run_batch
from wsi_tower.classify import (
    STEPS,
    ClassifyJob,
    ClassifyRecipe,
    ClassifySettings,
    LearnSettings,
    SplitSettings,
    classified_tiles,
    classify_slide,
    learn_classifier,
    origin_of,
    tile_labels,
)
from wsi_tower.cli.batch_run import BatchReport, RunClock
from wsi_tower.cli.class_options import parsed_rules
from wsi_tower.cli.evaluate_run import embedded_encoders
from wsi_tower.cli.evaluate_told import check_any_match, file_notes
from wsi_tower.cli.options import parsed_columns
from wsi_tower.cli.progress import watched
from wsi_tower.embeddings import open_cache
from wsi_tower.errors import NoSlidesError, SettingsError
from wsi_tower.models import (
    check_free_for_classifier,
    checked_model_name,
    load_classifier,
    save_classifier,
)
from wsi_tower.records import write_bytes_aside
from wsi_tower.report import PaintedTiles, TileScale, tile_map, tile_shades
from wsi_tower.scores import Choice, open_cohort
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsi_tower.cli.batch_run import RunSummary
    from wsi_tower.cli.options import Shared
    from wsi_tower.models import ClassifierRecord
    from wsi_tower.scores import Cohort

__all__ = ["Classification", "ClassifyRequest", "run_classify"]


@dataclass(frozen=True)
class ClassifyRequest:
    """Everything a run of classifying was asked for."""

    workspaces: tuple[Workspace, ...]
    """Whose embeddings are read; the first has the classifier and takes what is made."""
    slides: tuple[str, ...]
    """Slides to map; empty: all."""
    model: str
    """A classifier of before; empty: learn one."""
    annotations: Path | None
    """What to learn from."""
    encoder: str
    """Whose embeddings; empty: the classifier's, or the only one."""
    name: str
    """Of the new classifier; empty: after the encoder."""
    choice: Choice
    """Slides of the cohort."""
    settings: ClassifySettings
    """How it is learnt."""
    shown: str
    """Class that is mapped; empty: the first."""
    batch: BatchSettings
    """Where slides are worked on."""
    overwrite: bool
    """Whether a classifier of the name, and what is there of slides, is replaced."""
    report: bool
    """Whether to draw pictures and a page."""
    quiet: bool
    """Whether to say nothing on the way."""

    @classmethod
    def parsed(cls, shared: Shared, **values: Any) -> Self:
        """From the command's options.

        Raises:
            SettingsError: a value cannot be right, or it is not said what to learn from.
        """
        if bool(values["model"]) == bool(values["annotations"]):
            raise SettingsError(
                "say either what to learn from, with --annotations FOLDER, or which classifier to "
                "use, with --model NAME"
            )
        return cls(
            workspaces=tuple(Workspace(root.absolute()) for root in shared.workspaces),
            slides=values["slides"],
            model=values["model"],
            annotations=values["annotations"],
            encoder=values["encoder"],
            name=values["name"] and checked_model_name(values["name"]),
            choice=Choice(parsed_columns(values["where"]), values["patient_column"]),
            settings=_settings(values),
            shown=values["show"],
            batch=BatchSettings(values["workers"]),
            overwrite=shared.overwrite,
            report=values["report"],
            quiet=shared.json,
        )


@dataclass(frozen=True)
class Classification:
    """What a run gave."""

    summary: RunSummary
    """A row a slide."""
    record: ClassifierRecord
    """The classifier."""
    is_new: bool
    """Whether this run learnt it."""
    notes: tuple[str, ...]
    """What a reader of the numbers should know."""
    folder: Path
    """What took the results."""

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        told = self.record.to_json()
        kept = ("name", "head", "encoder", "descriptor", "stain", "training")
        classifier = {name: told[name] for name in kept}
        return self.summary.to_json() | {
            "classifier": classifier | {"is_new": self.is_new},
            "folder": str(self.folder),
            "notes": list(self.notes),
        }


def run_classify(request: ClassifyRequest) -> Classification:
    """Learn a classifier where that is asked for, then map slides and write the report.

    Raises:
        WsiTowerError: nothing could be begun: no embeddings, no classifier, labels that teach
            nothing, wrong settings.
    """
    clock = RunClock()
    home = request.workspaces[0].prepared()
    notes: tuple[str, ...] = ()
    if request.model:
        record = load_classifier(request.model, workspace=home).record
        encoder = request.encoder or record.origin.encoder
        cohort = open_cohort(request.workspaces, encoder, request.choice)
    else:
        encoder = request.encoder or _only_encoder(request.workspaces)
        cohort = open_cohort(request.workspaces, encoder, request.choice)
        _paths(request, cohort)  # before learning, which takes time and writes
        record, notes = _learnt(request, home, cohort)
    recipe = _recipe(request, home, record)
    jobs = [ClassifyJob(path, recipe, request.overwrite) for path in _paths(request, cohort)]
    with watched(len(jobs), quiet=request.quiet) as watcher:
        work = classify_and_draw if request.report else classify_slide
        rows = run_batch(jobs, work, request.batch, on_row=watcher.row, progress=watcher.beat)
    report = BatchReport(
        verb="classify",
        workspace=home,
        batch=request.batch,
        settings={"classifier": record.name, "shown": recipe.shown} | record.origin.settings,
        pictures=_picture_path(recipe, "").parent,
        suffix=".png",
    )
    return Classification(
        report.summary(rows, clock, page=request.report),
        record,
        not request.model,
        notes,
        home.classifications(recipe.folder),
    )


def classify_and_draw(job: ClassifyJob, wait: bool, progress: Progress) -> Outcome:
    """Classify one slide and draw its map; runs in workers."""
    outcome = classify_slide(job, wait, progress)
    picture = _picture_path(job.recipe, job.slide_id)
    if outcome.status == "done" or not picture.exists():
        cache = open_cache(job.cache)
        side_l0 = np.full((len(cache), 2), cache.slide.footprint_l0)
        tiles = PaintedTiles(np.hstack([cache.coords_l0, side_l0]), classified_tiles(job, cache))
        shown = job.recipe.shown
        with TileStore.open(cache.workspace / cache.slide.tile_store) as store:
            image = tile_map(
                f"{shown} on {job.slide_id} ({job.recipe.folder})",
                store.thumbnail,
                store.slide.mpp,
                tiles,
                TileScale(f"probability of {shown}", 0, 1),
            )
        write_bytes_aside(picture, image)
    return outcome


def _settings(values: dict[str, Any]) -> ClassifySettings:
    split = SplitSettings(
        values["validation"], values["test"], values["split_column"], values["seed"]
    )
    own = ("head", "penalty", "neighbours", "balanced", "calibration", "seed")
    return ClassifySettings(
        parsed_rules(values), split, LearnSettings(**{name: values[name] for name in own})
    )


def _only_encoder(workspaces: tuple[Workspace, ...]) -> str:
    """The encoder that has embeddings, where there is one.

    Raises:
        NoSlidesError: there is none.
        SettingsError: there are several.
    """
    names = list(embedded_encoders(workspaces))
    if not names:
        raise NoSlidesError(
            f"workspace {workspaces[0].root} has no embeddings; make them with `wsi-tower embed "
            f"-w {workspaces[0].root}`, or choose another workspace with -w"
        )
    if len(names) > 1:
        raise SettingsError(
            f"there are embeddings of {', '.join(names)}; choose one with --encoder"
        )
    return names[0]


def _learnt(
    request: ClassifyRequest, home: Workspace, cohort: Cohort
) -> tuple[ClassifierRecord, tuple[str, ...]]:
    """Learn and save a classifier.

    Raises:
        WsiTowerError: annotations do not fit or teach nothing, or the name is taken.
    """
    folder = home.model(request.name or f"classify-{cohort.encoder}")
    check_free_for_classifier(folder, overwrite=request.overwrite)
    assert request.annotations is not None
    files = find_annotations(request.annotations, [one.slide_id for one in cohort.caches])
    check_any_match(request.annotations, files, cohort)
    labels = tile_labels(cohort, files, request.settings.rules)
    _shown(request, labels.classes)
    learnt = learn_classifier(cohort, labels, request.settings)
    origin = origin_of(learnt, cohort, labels, request.settings, folder.name)
    with home.owned(folder, wait=False):
        record = save_classifier(folder, learnt.head, origin)
    return record, tuple(file_notes(files, cohort))


def _recipe(request: ClassifyRequest, home: Workspace, record: ClassifierRecord) -> ClassifyRecipe:
    model = request.model or record.name
    return ClassifyRecipe(
        workspace=home,
        model=str(Path(model).absolute()) if "/" in model else model,
        folder=record.name,
        digest=record.header.content_digest,
        shown=_shown(request, record.origin.classes),
        colours=tuple(tile_shades(STEPS)),
    )


def _shown(request: ClassifyRequest, classes: Sequence[str]) -> str:
    """The class to map.

    Raises:
        SettingsError: it is none of the classifier's.
    """
    shown = request.shown or classes[0]
    if shown not in classes:
        raise SettingsError(
            f"--show {shown} is none of the classes that are told, {', '.join(classes)}"
        )
    return shown


def _paths(request: ClassifyRequest, cohort: Cohort) -> list[Path]:
    """Caches of the slides to map.

    Raises:
        NoSlidesError: one is not embedded.
    """
    paths = {cache.slide_id: cache.path for cache in cohort.caches}
    # A shell completes files: what is meant by slides/a.svs is slide a.
    named = [name if name in paths else Path(name).stem for name in request.slides]
    missing = [told for told, name in zip(request.slides, named, strict=True) if name not in paths]
    if missing:
        raise NoSlidesError(
            f"slide {missing[0]} has no embeddings of {cohort.encoder}; the slides are "
            f"{', '.join(list(paths)[:5])}{', …' if len(paths) > 5 else ''}"
        )
    return [paths[name] for name in dict.fromkeys(named)] if named else list(paths.values())


def _picture_path(recipe: ClassifyRecipe, slide_id: str) -> Path:
    folder = recipe.workspace.reports / "pictures" / f"classes-{recipe.folder}"
    return folder / f"{slide_id}.png"
