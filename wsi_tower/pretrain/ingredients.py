"""What a pre-training is put together from: settings resolved, pictures opened, parts built."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wsi_tower.errors import SettingsError
from wsi_tower.models import build_encoder
from wsi_tower.pairs import PairSampler
from wsi_tower.pretrain.methods import Method, PresetName, Recipe, method_named, settings_from
from wsi_tower.pretrain.values import settings_of
from wsi_tower.records import bytes_digest, plain
from wsi_tower.training import (
    AugmentSettings,
    FolderPictures,
    StorePictures,
    TileFeed,
    TrainSettings,
    ViewRecipe,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.models import Network
    from wsi_tower.pretrain.settings import PretrainSettings, Start
    from wsi_tower.training import Objective, Partner, PartnerSource
    from wsi_tower.workspace import Workspace

__all__ = ["Ingredients", "Pictures"]

_WARM_UP = 0.05
"""Part of a run in which the learning rate rises (ours; the publications say nothing)."""
_LOOKS = 10
"""How often the collapse watch looks, besides the end."""
_LACKED: dict[Partner, str] = {
    "near": "a near partner",
    "distant": "a distant partner",
    "near-or-distant": "a near or a distant partner",
}


@dataclass(frozen=True)
class Pictures:
    """What is learnt from."""

    source: StorePictures | FolderPictures
    """The pictures."""
    partners: PairSampler | None
    """Who may meet whom; None for flat images."""
    mpp: float | None
    """Their resolution in µm/px; None for flat images."""
    digests: dict[str, str]
    """What identifies each store's contents, or the folder's images, by number and slide. The order
    counts, since draws are keyed by the tiles' numbers; where they lie does not."""

    @classmethod
    def of_stores(
        cls, paths: Sequence[Path], settings: PretrainSettings, warn: Callable[[str], None]
    ) -> Pictures:
        """The tiles of stores.

        Raises:
            TrainingError: the stores do not fit together.
            CorruptStoreError: one cannot be used.
        """
        source = StorePictures.open(paths, mix=settings.mix, strict=settings.strict, warn=warn)
        centres_um = [store.centre_um for store in source.stores]
        mpps = [store.plan.effective_mpp for store in source.stores]
        digests = {
            f"{number} {store.slide.slide_id}": store.header.content_digest
            for number, store in enumerate(source.stores)
        }
        return cls(source, PairSampler(centres_um, settings.pairs), float(np.mean(mpps)), digests)

    @classmethod
    def of_folder(
        cls, folder: Path, side_px: int, settings: PretrainSettings, warn: Callable[[str], None]
    ) -> Pictures:
        """Squares of the images of a folder.

        Raises:
            SettingsError: the folder is none.
            TooFewTilesError: it holds no image.
        """
        source = FolderPictures(folder, side_px=side_px, strict=settings.strict, warn=warn)
        return cls(source, None, None, {"0 images": source.digest()})

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return "squares of images" if self.partners is None else "tiles"

    def anchors(self, objective: Objective, warn: Callable[[str], None]) -> NDArray[np.int64]:
        """Numbers of the tiles that may be anchors; ``warn`` hears how many may not."""
        partner = objective.views().partner
        if partner == "same" or self.partners is None:
            return np.arange(len(self.source))
        if partner == "near-or-distant":
            anchors = self.partners.anchors("near", "distant")
        else:
            anchors = self.partners.anchors(partner)
        left_out = len(self.source) - len(anchors)
        if left_out:
            warn(
                f"{left_out:,} of {len(self.source):,} tiles lack {_LACKED[partner]} and are left "
                f"out as anchors; see them with `wsi-tower pairs`"
            )
        return anchors


@dataclass(frozen=True)
class Ingredients:
    """Everything a run needs."""

    method: Method
    """What learns."""
    preset: PresetName
    """Whose recipe the defaults come from."""
    objective: Objective
    """The method with its settings."""
    network: Network
    """With its first weights."""
    pictures: Pictures
    """What it learns from."""
    feed: TileFeed
    """How pictures become batches."""
    training: TrainSettings
    """How weights move."""
    recipe: dict[str, Any]
    """What decides the weights, training apart, as plain values."""

    @classmethod
    def of(
        cls,
        settings: PretrainSettings,
        workspaces: Sequence[Workspace],
        warn: Callable[[str], None],
    ) -> Ingredients:
        """Resolve the settings, open the pictures and build the network.

        Raises:
            WsiTowerError: something of it cannot be; see `pretrain`.
        """
        method = method_named(settings.method)
        preset = _preset(settings)
        recipe = method.recipes[preset]
        objective_settings = settings_from(method, settings.method_values, preset)
        objective = method.objective(objective_settings)
        augment = _augment(settings, method.augmentation_for(preset))
        views = _views(objective, augment)
        pictures = _pictures(settings, workspaces, views, warn)
        anchors = pictures.anchors(objective, warn)
        training = _training(settings, recipe, len(anchors))
        partners: PartnerSource | None = pictures.partners
        feed = TileFeed(pictures.source, anchors, views, training, partners=partners)
        start = settings.start or recipe.start
        backbone = settings.backbone or recipe.backbone
        objective.begin(len(pictures.source), training.seed)
        network = _network(objective, backbone, start, settings, pictures.source.channels)
        told = {
            "objective": plain(objective_settings),
            "augment": plain(augment),
            "backbone": backbone,
            "start": settings.weights.name if settings.weights else start,
            # By content: a file may change under its name.
            "weights": bytes_digest([settings.weights.read_bytes()]) if settings.weights else None,
            "pairs": plain(settings.pairs),
            "tiles": pictures.digests,
        }
        return cls(method, preset, objective, network, pictures, feed, training, told)

    def close(self) -> None:
        """Give back files."""
        if isinstance(self.pictures.source, StorePictures):
            self.pictures.source.close()


def _preset(settings: PretrainSettings) -> PresetName:
    if settings.preset != "auto":
        return settings.preset
    return "paper" if _is_on_gpu(settings) else "small"


def _pictures(
    settings: PretrainSettings,
    workspaces: Sequence[Workspace],
    views: ViewRecipe,
    warn: Callable[[str], None],
) -> Pictures:
    if settings.images is None:
        paths = [path for workspace in workspaces for path in workspace.tile_stores()]
        distinct = {path.resolve(): path for path in paths}
        return Pictures.of_stores(list(distinct.values()), settings, warn)
    side_px = settings.image_px or views.largest_window_px
    return Pictures.of_folder(settings.images, side_px, settings, warn)


def _augment(settings: PretrainSettings, base: AugmentSettings) -> AugmentSettings:
    values = dict(settings.augment_values)
    if settings.crop_px is not None:
        values["crop_px"] = settings.crop_px
    return settings_of(AugmentSettings, values, "augmentation", asdict(base))


def _views(objective: Objective, augment: AugmentSettings) -> ViewRecipe:
    plan = objective.views()
    if plan.local_views and plan.local_px > augment.crop_px:
        raise SettingsError(
            f"small views have {plan.local_px} px and large ones only {augment.crop_px} px; lower "
            f"local_px, or make the crop larger"
        )
    return ViewRecipe(plan, augment)


def _training(settings: PretrainSettings, recipe: Recipe, anchors: int) -> TrainSettings:
    base = recipe.optimiser_values() | {"device": settings.device, "seed": settings.seed}
    if settings.batch_size is not None:
        base["batch_size"] = settings.batch_size
    if settings.lr is not None:
        base["lr"] = settings.lr
    steps = settings.steps
    if steps is None:
        epochs = settings.epochs or recipe.epochs
        steps = epochs * max(1, anchors // int(base["batch_size"]))
    base |= {
        "steps": steps,
        "warmup_steps": round(_WARM_UP * steps),
        "watch_every": max(1, -(-steps // _LOOKS)),
        "precision": "bf16" if _is_on_gpu(settings) else "fp32",
    }
    training = settings_of(TrainSettings, settings.train_values, "training", base)
    if training.batch_size // training.accumulate < 2:
        raise SettingsError(
            f"batch_size {training.batch_size} in {training.accumulate} part(s) leaves one tile "
            f"with nothing to be compared with; take 2 or more in each part"
        )
    return training


def _is_on_gpu(settings: PretrainSettings) -> bool:
    return settings.device != "cpu" and torch.cuda.is_available()


def _network(
    objective: Objective,
    backbone: str,
    start: Start,
    settings: PretrainSettings,
    channels: int,
) -> Network:
    is_pretrained = start == "imagenet" and settings.weights is None
    # The baseline of the papers, not the recipe that timm likes best today.
    name = "imagenet" if is_pretrained and backbone == "resnet50" else backbone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        encoder = build_encoder(
            name, in_channels=channels, pretrained=is_pretrained, weights=settings.weights
        )
        return objective.network(encoder)
