"""What a pre-training is put together from: settings resolved, pictures opened, parts built."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wsi_tower.errors import EncoderError, SettingsError
from wsi_tower.models import build_encoder
from wsi_tower.pairs import PairSampler
from wsi_tower.pretrain.methods import Method, PresetName, Recipe, method_named, settings_from
from wsi_tower.pretrain.values import settings_of
from wsi_tower.records import bytes_digest, digest, plain
from wsi_tower.training import (
    AugmentSettings,
    FolderPictures,
    StorePictures,
    TileFeed,
    TrainSettings,
    ViewRecipe,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.models import Network
    from wsi_tower.pretrain.settings import PretrainSettings
    from wsi_tower.training import Objective, Partner
    from wsi_tower.workspace import Workspace

__all__ = ["Ingredients", "OpenPictures", "Pictures", "Plan"]

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
    def slides(self) -> int:
        """How many slides they are of; 0 for flat images."""
        return 0 if self.partners is None else len(self.digests)

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


class OpenPictures:
    """Opens what is learnt from, once for all runs that learn from the same."""

    def __init__(self, workspaces: Sequence[Workspace], warn: Callable[[str], None]) -> None:
        self._workspaces, self._warn = workspaces, warn
        self._open: dict[Hashable, Pictures] = {}

    def wanted(self, settings: PretrainSettings, views: ViewRecipe) -> Pictures:
        """The pictures of a run.

        Raises:
            WsiTowerError: they cannot be had; see `Pictures`.
        """
        if settings.images is None:
            key: Hashable = (settings.mix, settings.strict, settings.pairs)
        else:
            side_px = settings.image_px or views.largest_window_px
            key = (settings.images, side_px, settings.strict)
        if key not in self._open:
            self._open[key] = _pictures(settings, self._workspaces, views, self._warn)
        return self._open[key]

    def close(self) -> None:
        """Give back files."""
        for pictures in self._open.values():
            if isinstance(pictures.source, StorePictures):
                pictures.source.close()


@dataclass(frozen=True)
class Plan:
    """A run with every setting resolved, before its network is built."""

    method: Method
    """What learns."""
    preset: PresetName
    """Whose recipe the defaults come from."""
    objective: Objective
    """The method with its settings."""
    pictures: Pictures
    """What it learns from."""
    views: ViewRecipe
    """What becomes of them."""
    anchors: NDArray[np.int64]
    """Numbers of the tiles that may be anchors."""
    training: TrainSettings
    """How weights move."""
    recipe: dict[str, Any]
    """What decides the weights, training apart, as plain values."""

    @classmethod
    def resolved(
        cls, settings: PretrainSettings, opened: OpenPictures, warn: Callable[[str], None]
    ) -> Plan:
        """Resolve the settings.

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
        pictures = opened.wanted(settings, views)
        anchors = pictures.anchors(objective, warn)
        training = _training(settings, recipe, len(anchors))
        start = settings.start or recipe.start
        told = {
            "objective": plain(objective_settings),
            "augment": plain(augment),
            "backbone": settings.backbone or recipe.backbone,
            "start": settings.weights.name if settings.weights else start,
            # By content: a file may change under its name.
            "weights": _content_digest(settings.weights) if settings.weights else None,
            "pairs": plain(settings.pairs),
            "tiles": pictures.digests,
        }
        return cls(method, preset, objective, pictures, views, anchors, training, told)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the weights, as run.json has it."""
        training = {"training": self.training.that_move_weights()}
        return {"method": self.method.name, **training, **self.recipe}

    @property
    def settings_digest(self) -> str:
        """Of the `identity`: runs with the same one give the same weights."""
        return digest(self.identity)


@dataclass(frozen=True)
class Ingredients(Plan):
    """Everything a run needs: its plan, with the network built."""

    network: Network
    """With its first weights."""
    feed: TileFeed
    """How pictures become batches."""

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
        plan = Plan.resolved(settings, OpenPictures(workspaces, warn), warn)
        source, partners = plan.pictures.source, plan.pictures.partners
        feed = TileFeed(source, plan.anchors, plan.views, plan.training, partners=partners)
        plan.objective.begin(len(source), plan.training.seed)
        planned = {field.name: getattr(plan, field.name) for field in fields(plan)}
        return cls(**planned, network=_network(plan, settings), feed=feed)

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


def _content_digest(weights: Path) -> str:
    try:
        return bytes_digest([weights.read_bytes()])
    except OSError as error:
        raise EncoderError(
            f"weights {weights} cannot be read ({error.strerror}); give the path of a file"
        ) from error


def _network(plan: Plan, settings: PretrainSettings) -> Network:
    start = settings.start or plan.method.recipes[plan.preset].start
    is_pretrained = start == "imagenet" and settings.weights is None
    backbone = plan.recipe["backbone"]
    # The baseline of the papers, not the recipe that timm likes best today.
    name = "imagenet" if is_pretrained and backbone == "resnet50" else backbone
    channels = plan.pictures.source.channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        encoder = build_encoder(
            name, in_channels=channels, pretrained=is_pretrained, weights=settings.weights
        )
        return plan.objective.network(encoder)
