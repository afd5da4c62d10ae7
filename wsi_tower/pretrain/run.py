"""`pretrain`: from tile stores, or a folder of images, to an encoder."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from wsi_tower.errors import StoreBusyError
from wsi_tower.models import Origin, checked_encoder_name, save_network
from wsi_tower.pretrain.ingredients import Ingredients
from wsi_tower.pretrain.methods import method_named
from wsi_tower.pretrain.objectives.tower import Tower, restore
from wsi_tower.records import held_lock, remove_folder
from wsi_tower.runs import begin_run, recorded_ending
from wsi_tower.training import Run, TrainResult, Watcher, train

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from wsi_tower.models import EncoderRecord
    from wsi_tower.pretrain.settings import PretrainSettings
    from wsi_tower.workspace import Workspace

__all__ = ["PretrainWatcher", "Pretrained", "pretrain"]

_STRIP_TILES = 8


class PretrainWatcher(Watcher):
    """Hears how a pre-training goes; override what you want to hear."""

    def began(self, ingredients: Ingredients) -> None:
        """Everything is put together; the first step comes next."""


@dataclass(frozen=True)
class Pretrained:
    """What a pre-training gave."""

    name: str
    """Of run and encoder."""
    run: Path
    """Folder of the run: settings, log, checkpoints."""
    encoder: Path
    """Folder of the encoder."""
    record: EncoderRecord
    """What the encoder says of itself."""
    result: TrainResult
    """How the training ended."""
    seconds: float
    """How long it took, this time."""
    strip: NDArray[np.uint8] | None
    """Tiles clean, corrupted and restored, where the method restores: (3, K, H, W, C)."""


def pretrain(
    settings: PretrainSettings,
    workspaces: Sequence[Workspace],
    watcher: PretrainWatcher | None = None,
) -> Pretrained:
    """Learn an encoder from tiles without labels.

    Args:
        settings: what to learn, and how.
        workspaces: whose tile stores to learn from; the first one takes run and encoder.
        watcher: hears how it goes.

    Raises:
        NoSlidesError: a workspace has no tile stores.
        SettingsError: a setting cannot be; the message has the nearest name where one is unknown.
        TrainingError: stores do not fit together, there are too few tiles, the loss is no longer a
            number, or the run of this name is another one; see its subclasses.
        EncoderError: the encoder is unknown, or its weights cannot be had.
        CorruptStoreError: a store cannot be used.
        StoreBusyError: another process is working on a run of this name.
        StorageError: the disk refused.
        KeyboardInterrupt: the run was interrupted; it has a checkpoint and can be resumed.
    """
    watcher = watcher or PretrainWatcher()
    began = time.perf_counter()
    name = checked_encoder_name(settings.name or method_named(settings.method).name)
    # Nothing is written, and nothing removed, before all that was asked for is known to be sound.
    with closing(Ingredients.of(settings, workspaces, watcher.warned)) as parts:
        home = workspaces[0].prepared()
        with _owned(home, name) as folder:
            if settings.overwrite:
                remove_folder(folder)
            watcher.began(parts)
            run = _begun(parts, folder, settings)
            with recorded_ending(folder) as ending:
                result = train(
                    parts.objective, parts.network, parts.feed, parts.training, run, watcher
                )
                strip = _strip(parts)
                record = _saved(parts, home, name, result)
                ending.has_stopped_early = result.has_stopped_early
    seconds = round(time.perf_counter() - began, 1)
    return Pretrained(name, folder, home.encoders / name, record, result, seconds, strip)


@contextmanager
def _owned(home: Workspace, name: str) -> Iterator[Path]:
    """The run's folder, while no other process works on it."""
    folder = home.run(name)
    with held_lock(home.lock(folder), wait=False) as state:
        if state == "busy":
            raise StoreBusyError(
                f"another process is training {folder}; wait for it, stop it, or choose another "
                f"--name"
            )
        yield folder


def _begun(parts: Ingredients, folder: Path, settings: PretrainSettings) -> Run:
    # What an attempt without a checkpoint left there may be of other settings.
    if not any(folder.glob("checkpoints/step-*.pt")):
        begin_run(folder, _told(parts))
    return Run(
        folder,
        parts.method.name,
        parts.recipe,
        resume=settings.resume,
        tensorboard=settings.tensorboard,
    )


def _told(parts: Ingredients) -> dict[str, Any]:
    """A run's settings, to read and to compare."""
    told: dict[str, Any] = {"method": parts.method.name, "settings_digest": parts.settings_digest}
    told |= {"counts": {"slides": parts.pictures.slides, "tiles": len(parts.pictures.source)}}
    return told | {"preset": parts.preset, "training": asdict(parts.training)} | parts.recipe


def _saved(parts: Ingredients, home: Workspace, name: str, result: TrainResult) -> EncoderRecord:
    folder = home.encoders / name
    training = {"preset": parts.preset, "steps": result.steps, "loss": result.loss}
    training |= {"stopped_early": result.has_stopped_early}
    origin = Origin(
        encoder_id=name,
        method=parts.method.name,
        input_px=parts.feed.recipe.augment.crop_px,
        mpp=parts.pictures.mpp,
        settings=parts.recipe | {"training": parts.training.that_move_weights()},
        parents=parts.pictures.digests,
        training=training,
    )
    with held_lock(home.lock(folder), wait=True):
        return save_network(folder, parts.network, origin)


def _strip(parts: Ingredients) -> NDArray[np.uint8] | None:
    """Some tiles clean, corrupted and restored, where the method restores."""
    objective, network = parts.objective, parts.network
    if not isinstance(objective, Tower) or network.decoder is None:
        return None
    with torch.no_grad():
        (fed,) = parts.feed.steps(0, 1)
        ((batch, draws),) = fed.parts(1)
        rows = restore(objective, network, batch.views[0], draws)
    shown = torch.stack([row[:_STRIP_TILES] for row in rows]).permute(0, 1, 3, 4, 2)
    pixels: NDArray[np.uint8] = (shown * 255).round().byte().cpu().numpy()
    return pixels
