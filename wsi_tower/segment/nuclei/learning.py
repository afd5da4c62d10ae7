"""`learn_nuclei`: from pictures alone to a model that finds nuclei."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from wsi_tower.errors import SettingsError, StoreBusyError, TooFewTilesError
from wsi_tower.models import (
    ConfidenceNet,
    ConfidenceSegmenter,
    SegmenterOrigin,
    check_free_for_segmenter,
    checked_model_name,
    save_segmenter,
)
from wsi_tower.records import digest, held_lock, plain, remove_folder, write_text_aside
from wsi_tower.runs import begin_run, recorded_ending
from wsi_tower.segment.nuclei.choice import ChannelChoice, choose_channel
from wsi_tower.segment.nuclei.objective import PatchContrast, Pixels
from wsi_tower.training import (
    AugmentSettings,
    FolderPictures,
    Ranks,
    Run,
    StorePictures,
    TileFeed,
    TrainSettings,
    ViewRecipe,
    Watcher,
    train,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.models import SegmenterRecord
    from wsi_tower.segment.nuclei.settings import NucleiSettings
    from wsi_tower.workspace import Workspace

__all__ = ["PATCH_CONTRAST", "LearntNet", "LearntNuclei", "learn_nuclei", "train_net"]

PATCH_CONTRAST = "patch-contrast"
_SAVED_CLASS = "nucleus"
_LOOKED_AT = 10
"""Pictures by which channel and seed are chosen."""
_CROP_PX = 300
_TILE_CROP_PX = 250
_TAUGHT_CROP_PX = 150


@dataclass(frozen=True)
class NucleiPictures:
    """What is learnt from."""

    source: FolderPictures | StorePictures
    """The pictures; no masks."""
    mpp: float
    """Their resolution in µm/px."""
    digests: dict[str, str]
    """What identifies them."""

    @classmethod
    def of(cls, settings: NucleiSettings, workspace: Workspace, watcher: Watcher) -> NucleiPictures:
        """Squares of a folder's pictures, or the workspace's tiles.

        Raises:
            WsiTowerError: there are none, or they do not fit together.
        """
        if settings.images is not None:
            folder = FolderPictures(
                settings.images, side_px=settings.image_px, strict=False, warn=watcher.warned
            )
            if folder.channels != 3:
                raise SettingsError(
                    f"the pictures of {settings.images} are grey, and haematoxylin is told by "
                    f"colour; give coloured ones"
                )
            return cls(folder, settings.mpp, {"images": folder.digest()})
        source = StorePictures.open(
            workspace.tile_stores(), mix=False, strict=False, warn=watcher.warned
        )
        mpp = float(np.mean([store.plan.effective_mpp for store in source.stores]))
        digests = {one.slide.slide_id: one.header.content_digest for one in source.stores}
        return cls(source, mpp, digests)

    def some(self, count: int) -> list[NDArray[np.uint8]]:
        """Up to so many pictures (H, W, 3), evenly among all."""
        count = min(count, len(self.source))
        numbers = np.unique(np.linspace(0, len(self.source) - 1, count).round().astype(np.int64))
        side = self.source.side_px
        pixels = np.empty((len(numbers), side, side, 3), np.uint8)
        self.source.read_into(numbers, pixels)
        return list(pixels)

    def close(self) -> None:
        """Give back files."""
        if isinstance(self.source, StorePictures):
            self.source.close()


@dataclass(frozen=True)
class LearntNet:
    """The network of one seed."""

    seed: int
    """Of its weights and all draws."""
    net: ConfidenceNet
    """Fused, on the CPU."""
    choice: ChannelChoice
    """Its channel, and how well that does by the label-free criterion."""
    steps: int
    """Steps done."""
    has_stopped_early: bool
    """Whether the criterion rose no more."""


@dataclass(frozen=True)
class LearntNuclei:
    """What a label-free training gave."""

    name: str
    """Of run and model."""
    model: Path
    """Folder of the model."""
    record: SegmenterRecord
    """What the model says of itself."""
    best: LearntNet
    """The seed that was kept."""
    nets: tuple[LearntNet, ...]
    """All seeds."""
    seconds: float
    """How long it took, this time."""


def learn_nuclei(
    settings: NucleiSettings, workspace: Workspace, watcher: Watcher | None = None
) -> LearntNuclei:
    """Learn to find nuclei from pictures without labels, and save the model.

    A network is trained for each seed, in ``runs/<name>`` for one and ``runs/<name>-seed-<n>`` for
    several; channel and seed are chosen by `choose_channel`.

    Args:
        settings: from what, and how.
        workspace: has the tiles, where no folder is given, and takes runs and model.
        watcher: hears how it goes.

    Raises:
        SettingsError: a setting cannot be.
        TooFewTilesError: there are fewer pictures than a step takes.
        CheckpointError: there is a run of that name, or it cannot be resumed.
        StoreBusyError: another process is working on a run of this name.
        DivergedError: the loss is no longer a number.
        StorageError: the disk refused; no model is left half-written.
        KeyboardInterrupt: it was interrupted; it has a checkpoint and can be resumed.
    """
    began, watcher = time.perf_counter(), watcher or Watcher()
    if not Ranks.here().is_alone:
        raise SettingsError("nuclei are learnt in one process; start it without torchrun")
    name = checked_model_name(settings.name)
    check_free_for_segmenter(workspace.model(name))
    pictures = NucleiPictures.of(settings, workspace, watcher)
    settings = _with_crop(settings.resolved(), pictures)
    home = workspace.prepared()
    try:
        nets = []
        for seed in settings.seeds:
            run = name if len(settings.seeds) == 1 else f"{name}-seed-{seed}"
            nets.append(train_net(settings, seed, pictures, home, run, watcher))
    finally:
        pictures.close()
    best = max(nets, key=lambda one: (one.choice.is_plausible, one.choice.share))
    if not best.choice.is_plausible:
        watcher.warned(
            "no channel finds objects of the size of nuclei; look at the result, try other seeds, "
            "and check the resolution"
        )
    record = _saved(home, name, settings, pictures, best, nets)
    seconds = round(time.perf_counter() - began, 1)
    return LearntNuclei(name, home.model(name), record, best, tuple(nets), seconds)


def train_net(
    settings: NucleiSettings,
    seed: int,
    pictures: NucleiPictures,
    home: Workspace,
    run: str,
    watcher: Watcher,
) -> LearntNet:
    """Train the network of one seed, in a run of its own.

    Raises:
        WsiTowerError: as `learn_nuclei`.
    """
    training = _training(settings, seed)
    objective = PatchContrast(settings.compared, patience=settings.patience or 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = objective.network(Pixels())
    assert settings.crop_px is not None
    views = ViewRecipe(
        objective.views(),
        AugmentSettings(crop_px=settings.crop_px, flips=False, quarter_turns=False),
    )
    anchors = _one_each(len(pictures.source), training.batch_size)
    feed = TileFeed(pictures.source, anchors, views, training)
    recipe = settings.that_move_weights() | {"pictures": pictures.digests}
    folder = home.run(run)
    with _owned(home, folder):
        if settings.overwrite:
            remove_folder(folder)
        if not any(folder.glob("checkpoints/step-*.pt")):
            begin_run(folder, _told(training, recipe, len(pictures.source)))
        with recorded_ending(folder) as ending:
            told = Run(folder, PATCH_CONTRAST, recipe, settings.resume)
            result = train(objective, network, feed, training, told, watcher)
            learnt = cast("ConfidenceNet", objective.learnt(network).decoder)
            net = learnt.eval().fused().cpu().to(memory_format=torch.channels_last)
            choice = choose_channel(net, pictures.some(_LOOKED_AT), pictures.mpp)
            write_text_aside(folder / "channel.json", json.dumps(asdict(choice), indent=1) + "\n")
            ending.has_stopped_early = result.has_stopped_early
    return LearntNet(seed, net, choice, result.steps, result.has_stopped_early)


def _with_crop(settings: NucleiSettings, pictures: NucleiPictures) -> NucleiSettings:
    """With a crop that fits the pictures.

    Raises:
        SettingsError: it is larger than they are, or smaller than what is compared.
    """
    side = pictures.source.side_px
    wanted = _CROP_PX if settings.images is not None else _TILE_CROP_PX
    if settings.preset != "published":
        wanted = _TAUGHT_CROP_PX
    crop = settings.crop_px or min(wanted, side)
    least = settings.compared.window_px
    if not least <= crop <= side:
        raise SettingsError(
            f"crop_px must lie between {least}, the window, and {side}, the pictures' side, not "
            f"{crop}"
        )
    return replace(settings, crop_px=crop)


def _training(settings: NucleiSettings, seed: int) -> TrainSettings:
    assert settings.max_steps is not None
    assert settings.lr is not None
    return TrainSettings(
        steps=settings.max_steps,
        batch_size=settings.batch_size,
        lr=settings.lr,
        min_lr=settings.lr,
        weight_decay=settings.weight_decay,
        optimiser="adam",
        seed=seed,
        log_every=1,
        watch_every=0,
        checkpoint_every=100,
        keep_checkpoints=1,
        device=settings.device,
        threads=settings.threads,
    )


def _one_each(count: int, batch_size: int) -> NDArray[np.int64]:
    """Numbers of all pictures.

    Raises:
        TooFewTilesError: they do not fill a batch.
    """
    if count < batch_size:
        raise TooFewTilesError(
            f"there are {count} pictures, and a step takes {batch_size}; give more, or lower "
            f"batch_size or image_px"
        )
    return np.arange(count)


@contextmanager
def _owned(home: Workspace, folder: Path) -> Iterator[None]:
    with held_lock(home.lock(folder), wait=False) as state:
        if state == "busy":
            raise StoreBusyError(
                f"another process is training {folder}; wait for it, stop it, or choose another "
                f"name"
            )
        yield


def _told(training: TrainSettings, recipe: dict[str, Any], count: int) -> dict[str, Any]:
    """A run's settings, to read and to compare."""
    decisive = {"training": training.that_move_weights(), **recipe}
    return {
        "method": PATCH_CONTRAST,
        "settings_digest": digest(decisive),
        "counts": {"slides": 0, "tiles": count},
        **decisive,
        "training": asdict(training),
    }


def _saved(
    home: Workspace,
    name: str,
    settings: NucleiSettings,
    pictures: NucleiPictures,
    best: LearntNet,
    nets: list[LearntNet],
) -> SegmenterRecord:
    told = settings.that_move_weights()
    told["training"] = _training(settings, best.seed).that_move_weights()
    tried = [{"seed": one.seed, "steps": one.steps, "choice": plain(one.choice)} for one in nets]
    origin = SegmenterOrigin(
        name,
        PATCH_CONTRAST,
        (_SAVED_CLASS,),
        pictures.mpp,
        cast("int", settings.crop_px),
        settings.threshold,
        settings=told,
        parents={"pictures": digest(dict(pictures.digests))},
        training={"steps": best.steps, "channel": best.choice.channel, "seeds": tried},
    )
    segmenter = ConfidenceSegmenter.of_channel(best.net, best.choice.channel)
    folder = home.model(name)
    with held_lock(home.lock(folder), wait=True):
        return save_segmenter(folder, segmenter, origin)
