"""`finetune_unet`: from an encoder and labelled pictures to a model that segments."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from wsi_tower.errors import SettingsError, StoreBusyError
from wsi_tower.models import (
    SegmenterOrigin,
    check_free_for_segmenter,
    checked_model_name,
    save_segmenter,
    slug,
)
from wsi_tower.records import digest, held_lock, remove_folder
from wsi_tower.runs import begin_run, recorded_ending
from wsi_tower.segment.finetune.fitting import FinetuneWatcher, Fitted, fit
from wsi_tower.segment.finetune.pictures import labelled_pictures
from wsi_tower.segment.finetune.slides import annotated_tiles
from wsi_tower.segment.finetune.split import split_by_seed
from wsi_tower.segment.finetune.start import start_of
from wsi_tower.training import Ranks, Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsi_tower.models import SegmenterRecord
    from wsi_tower.segment.finetune.pictures import LabelledPicture
    from wsi_tower.segment.finetune.settings import FinetuneSettings
    from wsi_tower.segment.finetune.split import LabelledSplit
    from wsi_tower.segment.finetune.start import Start
    from wsi_tower.workspace import Workspace

__all__ = ["METHOD", "Finetuned", "finetune_unet"]

METHOD = "finetune"


@dataclass(frozen=True)
class Finetuned:
    """What a fine-tuning gave."""

    name: str
    """Of run and model."""
    run: Path
    """Folder of the run: settings, log, checkpoints."""
    model: Path
    """Folder of the model."""
    record: SegmenterRecord
    """What the model says of itself."""
    fitted: Fitted
    """The segmenter, and how its training went."""
    split: LabelledSplit
    """Which pictures were for what."""
    seconds: float
    """How long it took, this time."""


def finetune_unet(
    settings: FinetuneSettings, workspace: Workspace, watcher: FinetuneWatcher | None = None
) -> Finetuned:
    """Learn to segment from labelled pictures, beginning with a pre-trained encoder.

    Args:
        settings: from what, to what, and how.
        workspace: has the encoders, and takes run and model.
        watcher: hears how it goes.

    Raises:
        SettingsError: a setting cannot be.
        NoSlidesError: the workspace has no tile stores, and annotations need some.
        AnnotationError: annotations cannot be understood, or reach beyond their slide.
        LabelError: images and masks do not fit together, or nothing can be learnt from them.
        EncoderError: there is no encoder of that name or method, or it gives no maps.
        CorruptStoreError: the encoder's folder is damaged.
        CheckpointError: there is a run of that name, or it cannot be resumed.
        StoreBusyError: another process is working on a run of this name.
        DivergedError: the loss is no longer a number.
        StorageError: the disk refused; no model is left half-written.
        KeyboardInterrupt: it was interrupted; it has a checkpoint and can be resumed.
    """
    began = time.perf_counter()
    watcher = watcher or FinetuneWatcher()
    _check_alone()
    # Nothing is written, and nothing removed, before all is known to be sound.
    name = checked_model_name(settings.name or f"{METHOD}-{slug(settings.init)}")
    check_free_for_segmenter(workspace.model(name))
    pictures, mpp = _pictures(settings, workspace, watcher)
    seed = settings.training.seed
    split = split_by_seed(pictures, settings.labels, settings.validation, seed, watcher.warned)
    start = start_of(settings, mpp, workspace, watcher.warned)
    recipe = _recipe(settings, start, split) | {"mpp": mpp}
    home = workspace.prepared()
    folder = home.run(name)
    with _owned(home, folder):
        if settings.overwrite:
            remove_folder(folder)
        if not any(folder.glob("checkpoints/step-*.pt")):
            begin_run(folder, _told(settings, split, recipe))
        watcher.began(_line(settings, split, start))
        with recorded_ending(folder) as ending:
            run = Run(folder, METHOD, recipe, settings.resume)
            fitted = fit(start.network, split, settings, run, watcher)
            record = _saved(home, name, settings, recipe, fitted)
            ending.has_stopped_early = fitted.has_stopped_early
    seconds = round(time.perf_counter() - began, 1)
    return Finetuned(name, folder, home.model(name), record, fitted, split, seconds)


def _pictures(
    settings: FinetuneSettings, workspace: Workspace, watcher: FinetuneWatcher
) -> tuple[list[LabelledPicture], float]:
    """The labelled pictures, and their µm/px."""
    if settings.annotations is not None:
        return annotated_tiles(
            workspace,
            settings.annotations,
            settings.class_name,
            settings.tiles_per_slide,
            settings.training.seed,
            watcher.warned,
        )
    # The settings refuse to go without.
    assert settings.images is not None
    assert settings.masks is not None
    assert settings.mpp is not None
    found = labelled_pictures(settings.images, settings.masks, settings.only, watcher.warned)
    return found, settings.mpp


def _check_alone() -> None:
    if not Ranks.here().is_alone:
        raise SettingsError("fine-tuning runs in one process; start it without torchrun")


@contextmanager
def _owned(home: Workspace, folder: Path) -> Iterator[None]:
    with held_lock(home.lock(folder), wait=False) as state:
        if state == "busy":
            raise StoreBusyError(
                f"another process is training {folder}; wait for it, stop it, or choose another "
                f"--name"
            )
        yield


def _recipe(settings: FinetuneSettings, start: Start, split: LabelledSplit) -> dict[str, Any]:
    """What decides the weights beside how they move."""
    return settings.that_move_weights() | {
        "encoder": start.encoder,
        "has_trained_decoder": start.has_trained_decoder,
        "parents": start.parents
        | {
            "training": digest([picture.digest() for picture in split.training]),
            "validation": digest([picture.digest() for picture in split.validation]),
        },
        "training_pictures": [picture.name for picture in split.training],
        "validation_pictures": [picture.name for picture in split.validation],
    }


def _told(
    settings: FinetuneSettings, split: LabelledSplit, recipe: dict[str, Any]
) -> dict[str, Any]:
    """A run's settings, to read and to compare."""
    slides = {picture.slide_id for picture in split.training}
    decisive = {"training": settings.training.that_move_weights(), **recipe}
    return {
        "method": METHOD,
        "settings_digest": digest(decisive),
        "counts": {"slides": len(slides - {None}), "tiles": len(split.training)},
        "training": asdict(settings.training),
        **recipe,
    }


def _saved(
    home: Workspace,
    name: str,
    settings: FinetuneSettings,
    recipe: dict[str, Any],
    fitted: Fitted,
) -> SegmenterRecord:
    told = dict(recipe)
    parents = told.pop("parents")
    origin = SegmenterOrigin(
        name,
        METHOD,
        (settings.class_name,),
        recipe["mpp"],
        settings.augment.crop_px,
        settings.threshold,
        settings=told | {"training": settings.training.that_move_weights()},
        parents=parents,
        training={
            "steps": fitted.steps,
            "best_step": fitted.best_step,
            "validation_dice": fitted.dice,
            "stopped_early": fitted.has_stopped_early,
        },
    )
    folder = home.model(name)
    with held_lock(home.lock(folder), wait=True):
        return save_segmenter(folder, fitted.segmenter, origin)


def _line(settings: FinetuneSettings, split: LabelledSplit, start: Start) -> str:
    decoder = "its own decoder" if start.has_trained_decoder else "a fresh decoder"
    training = settings.training
    return (
        f"{start.encoder} with {decoder}: {len(split.training)} pictures train and "
        f"{len(split.validation)} validate, {settings.augment.crop_px}-px crops, up to "
        f"{training.steps} steps of {training.batch_size} on {training.torch_device().type}"
    )
