"""`pretrain`: from tile stores, or a folder of images, to an encoder."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from wsi_tower import __version__
from wsi_tower.errors import StoreBusyError
from wsi_tower.models import Origin, checked_encoder_name, save_network
from wsi_tower.pretrain.ingredients import Ingredients
from wsi_tower.pretrain.methods import method_named
from wsi_tower.pretrain.objectives.tower import Tower, restore
from wsi_tower.records import held_lock, remove_folder
from wsi_tower.runs import Ending, begin_run, recorded_ending
from wsi_tower.training import (
    Ranks,
    Run,
    TrainResult,
    Watcher,
    all_or_none,
    by_first,
    check_same,
    joined_ranks,
    train,
)

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

    Where `torchrun` started several processes, each calls this; rank 0 writes, and all return the
    same.

    Args:
        settings: what to learn, and how.
        workspaces: whose tile stores to learn from; the first one takes run and encoder.
        watcher: hears how it goes; on ranks other than 0 their own warnings alone.

    Raises:
        NoSlidesError: a workspace has no tile stores.
        SettingsError: a setting cannot be; the message has the nearest name where one is unknown.
        TrainingError: stores do not fit together, there are too few tiles, the loss is no longer a
            number, or the run of this name is another one; see its subclasses.
        EncoderError: the encoder is unknown, or its weights cannot be had.
        CorruptStoreError: a store cannot be used.
        StoreBusyError: another process is working on a run of this name.
        StorageError: the disk refused.
        LostRankError: another process of the run is gone; see also `train`.
        OtherRankError: another process tells what is wrong.
        KeyboardInterrupt: the run was interrupted; it has a checkpoint and can be resumed.
    """
    began = time.perf_counter()
    with joined_ranks() as ranks:
        warnings = _Warnings(watcher or PretrainWatcher(), ranks)
        watcher = (watcher if ranks.is_first else None) or PretrainWatcher()
        # Nothing is written, and nothing removed, before all is known to be sound.
        with all_or_none():
            name = checked_encoder_name(settings.name or method_named(settings.method).name)
            parts = Ingredients.of(settings, workspaces, warnings)
        with closing(parts):
            check_same(_identity(parts, name, settings))
            warnings.are_common = False
            home = by_first(workspaces[0].prepared)
            with _owned(home, name) as folder:
                by_first(partial(_make_room, parts, folder, settings))
                watcher.began(parts)
                run = Run(
                    folder, parts.method.name, parts.recipe, settings.resume, settings.tensorboard
                )
                with recorded_ending(folder) if ranks.is_first else nullcontext(Ending()) as ending:
                    result = train(
                        parts.objective, parts.network, parts.feed, parts.training, run, watcher
                    )
                    strip = by_first(partial(_strip, parts))
                    record = by_first(partial(_saved, parts, home, name, result))
                    ending.has_stopped_early = result.has_stopped_early
    seconds = round(time.perf_counter() - began, 1)
    return Pretrained(name, folder, home.encoders / name, record, result, seconds, strip)


class _Warnings:
    """Hands on what is wrong and stops nothing.

    While a run is put together all ranks find the same, and rank 0 tells it; later each may find
    something of its own.
    """

    def __init__(self, watcher: PretrainWatcher, ranks: Ranks) -> None:
        self._watcher, self._ranks = watcher, ranks
        self.are_common = True

    def __call__(self, message: str) -> None:
        if self._ranks.is_first:
            self._watcher.warned(message)
        elif not self.are_common:
            self._watcher.warned(f"rank {self._ranks.rank}: {message}")


def _identity(parts: Ingredients, name: str, settings: PretrainSettings) -> dict[str, Any]:
    """What must be the same on every rank, as plain values."""
    told = json.loads(json.dumps(_told(parts)))
    del told["training"]["threads"]  # machines may have other numbers of cores
    told |= {"name": name, "resume": settings.resume, "overwrite": settings.overwrite}
    return {**told, "wsi-tower": __version__, "torch": torch.__version__}


@contextmanager
def _owned(home: Workspace, name: str) -> Iterator[Path]:
    """The run's folder, while no other run works on it."""
    folder = home.run(name)
    with ExitStack() as held:
        with all_or_none():
            if Ranks.here().is_first:
                state = held.enter_context(held_lock(home.lock(folder), wait=False))
                if state == "busy":
                    raise StoreBusyError(
                        f"another process is training {folder}; wait for it, stop it, or choose "
                        f"another --name"
                    )
        yield folder


def _make_room(parts: Ingredients, folder: Path, settings: PretrainSettings) -> None:
    """Remove a run that is to be begun again, and write down the settings of one that begins."""
    if settings.overwrite:
        remove_folder(folder)
    # What an attempt without a checkpoint left there may be of other settings.
    if not any(folder.glob("checkpoints/step-*.pt")):
        begin_run(folder, _told(parts))


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
        return save_network(folder, parts.objective.learnt(parts.network), origin)


def _strip(parts: Ingredients) -> NDArray[np.uint8] | None:
    """Some tiles clean, corrupted and restored, where the method restores."""
    objective, network = parts.objective, parts.network
    if not isinstance(objective, Tower) or network.decoder is None:
        return None
    ((batch, draws),) = parts.feed.glimpse(_STRIP_TILES).parts(1)
    rows = restore(objective, network, batch.views[0], draws)
    shown = torch.stack(list(rows)).permute(0, 1, 3, 4, 2)
    pixels: NDArray[np.uint8] = (shown * 255).round().byte().cpu().numpy()
    return pixels
