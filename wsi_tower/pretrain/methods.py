"""Every method by name: what it learns by, and what it is trained with unless told otherwise.

A further method is a file in `objectives` and a row here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from wsi_tower.errors import SettingsError
from wsi_tower.pretrain.objectives.byol import Byol, ByolSettings
from wsi_tower.pretrain.objectives.dino import Dino, DinoSettings
from wsi_tower.pretrain.objectives.moco import Moco, MocoSettings
from wsi_tower.pretrain.objectives.npid import Npid, NpidSettings
from wsi_tower.pretrain.objectives.simclr import Simclr, SimclrSettings
from wsi_tower.pretrain.objectives.similarity import Similarity, SimilaritySettings
from wsi_tower.pretrain.objectives.tower import Tower, TowerSettings
from wsi_tower.pretrain.values import nearest, settings_of
from wsi_tower.training import AugmentSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wsi_tower.models import Descriptor
    from wsi_tower.training import Objective, OptimiserName

__all__ = ["METHODS", "Method", "PresetName", "Recipe", "method_named", "settings_from"]

PresetName: TypeAlias = Literal["paper", "small"]
"""``paper`` follows the publication, on a GPU; ``small`` is ours, for a CPU."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a method is trained with under one preset."""

    backbone: str
    """Encoder, by timm's name."""
    crop_px: int
    """Side of a view."""
    batch_size: int
    """Samples of a step."""
    epochs: int
    """How often each tile is an anchor."""
    start: Literal["random", "imagenet"] = "random"
    """Weights that the encoder begins with."""
    optimiser: OptimiserName = "adam"
    """How gradients become steps."""
    lr: float = 1e-3
    """Learning rate at its highest."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of Adam's two moments."""
    weight_decay: float = 0.0
    """Of weights with two axes or more."""
    final_weight_decay: float | None = None
    """Weight decay of the last step; None: it stays."""
    min_lr: float = 0.0
    """Learning rate of the last step."""
    clip_norm: float | None = None
    """Longest gradient."""
    method_values: Mapping[str, object] = field(default_factory=dict)
    """Settings of the method where they are not its defaults, by name."""
    augment_values: Mapping[str, Any] = field(default_factory=dict)
    """Fields of its augmentation that depend on the crop, by name."""

    def optimiser_values(self) -> dict[str, Any]:
        """What of it `TrainSettings` takes, by its names."""
        names = (
            *("batch_size", "optimiser", "lr", "min_lr", "betas", "clip_norm"),
            *("weight_decay", "final_weight_decay"),
        )
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Method:
    """One method and its defaults."""

    name: str
    """What ``--method`` takes."""
    summary: str
    """One line for a list of methods."""
    settings: type[Any]
    """Dataclass of its settings."""
    objective: Callable[[Any], Objective]
    """Makes its objective from them."""
    descriptor: Descriptor
    """What describes a tile once it is trained."""
    augmentation: AugmentSettings
    """What happens to tiles on their way into its views, at the published crop."""
    recipes: Mapping[PresetName, Recipe]
    """What it is trained with, by preset."""

    def augmentation_for(self, preset: PresetName) -> AugmentSettings:
        """Its augmentation at the preset's crop."""
        recipe = self.recipes[preset]
        return replace(self.augmentation, crop_px=recipe.crop_px, **recipe.augment_values)


def method_named(name: str) -> Method:
    """The method of this name.

    Raises:
        SettingsError: there is none; the nearest is named.
    """
    method = METHODS.get(name)
    if method is None:
        raise SettingsError(f"there is no method {name!r}; {nearest(name, METHODS)}")
    return method


def settings_from(
    method: Method, values: Mapping[str, object], preset: PresetName | None = None
) -> Any:
    """The method's settings from plain values by name, text or not.

    Others are those of the preset, or keep their default.

    Raises:
        SettingsError: there is no such setting (the nearest is named), its value is of another
            type, or the settings refuse it.
    """
    base = method.recipes[preset].method_values if preset else None
    return settings_of(method.settings, values, owner=f"method {method.name}", base=base)


def _small_views(crop_px: int, local_px: int) -> tuple[float, float]:
    """0.05 to 0.4 of a large view's area, over a small view's."""
    ratio = (crop_px / local_px) ** 2
    return 0.05 * ratio, 0.4 * ratio


# Stacke et al. 2022 with half their jitter, which is MoCo v2's: colour tells stains apart, so
# practice on H&E is to weaken it. One for all methods that compare views of a tile, so that what
# differs between them is the method.
_TWO_VIEWS = AugmentSettings(
    crop_px=224,
    scale=(0.2, 1.0),
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    jitter_chance=0.8,
)

_TOWER = Method(
    name="tower",
    summary="tell tiles apart and restore them, both in spite of corruption",
    settings=TowerSettings,
    objective=Tower,
    descriptor="pooled",
    # Flips are the release's; colour is changed by the corruption alone.
    augmentation=AugmentSettings(crop_px=224),
    recipes={
        # Batch, rate and epochs are those of its one H&E set (PathMNIST, 28 px); the released
        # scripts for 224 px, X-rays, have 2e-4 with batches of 24 and 32.
        "paper": Recipe("resnet50", 224, batch_size=128, epochs=100, betas=(0.9, 0.99)),
        "small": Recipe("resnet18", 96, batch_size=64, epochs=50, betas=(0.9, 0.99)),
    },
)

_SIMILARITY = Method(
    name="similarity",
    summary="describe near tiles of a slide alike and distant ones apart",
    settings=SimilaritySettings,
    objective=Similarity,
    descriptor="head",
    # From memory of the paper, and in a re-implementation: 20° and 0.075.
    augmentation=AugmentSettings(
        crop_px=224,
        quarter_turns=False,
        rotate_deg=20.0,
        brightness=0.075,
        saturation=0.075,
        hue=0.075,
    ),
    recipes={
        # 32 near and 32 distant partners a tile (unverified), one an epoch.
        "paper": Recipe("resnet50", 224, batch_size=256, epochs=64, start="imagenet"),
        "small": Recipe("resnet18", 96, batch_size=64, epochs=50),
    },
)

_SIMCLR = Method(
    name="simclr",
    summary="tell two views of a tile from those of all other tiles",
    settings=SimclrSettings,
    objective=Simclr,
    descriptor="pooled",
    augmentation=_TWO_VIEWS,
    recipes={
        # Published are four GPUs with 256 each, negatives apart: 256 are what one compares.
        "paper": Recipe("resnet50", 224, batch_size=256, epochs=200),
        "small": Recipe("resnet18", 96, batch_size=64, epochs=50),
    },
)

_BYOL = Method(
    name="byol",
    summary="predict what an averaged copy says of a tile's other view",
    settings=ByolSettings,
    objective=Byol,
    descriptor="pooled",
    augmentation=_TWO_VIEWS,
    recipes={
        # LARS, rate and decay are published for 100 epochs, per 256 tiles of a batch.
        "paper": Recipe(
            "resnet50",
            224,
            batch_size=256,
            epochs=100,
            optimiser="lars",
            lr=0.45,
            weight_decay=1e-6,
        ),
        "small": Recipe("resnet18", 96, batch_size=64, epochs=50),
    },
)

_MOCO = Method(
    name="moco",
    summary="find a tile among what an averaged copy says of all tiles (MoCo v3)",
    settings=MocoSettings,
    objective=Moco,
    descriptor="pooled",
    augmentation=_TWO_VIEWS,
    recipes={
        # LARS, rate and decay are published for 100 epochs of ResNet-50, per 256 tiles of a batch.
        "paper": Recipe(
            "resnet50",
            224,
            batch_size=256,
            epochs=100,
            optimiser="lars",
            lr=0.6,
            weight_decay=1e-6,
        ),
        "small": Recipe("resnet18", 96, batch_size=64, epochs=50),
    },
)

_DINO = Method(
    name="dino",
    summary="choose the same prototypes from small and large views as an averaged copy does",
    settings=DinoSettings,
    objective=Dino,
    descriptor="pooled",
    # Published are 0.4 to 1 of the picture for large views and 0.05 to 0.4 for small ones; the
    # latter are over the small views' own area here.
    augmentation=replace(_TWO_VIEWS, scale=(0.4, 1.0)),
    recipes={
        "paper": Recipe(
            "vit_small_patch16_224",
            224,
            batch_size=256,
            epochs=100,
            optimiser="adamw",
            lr=5e-4,
            weight_decay=0.04,
            final_weight_decay=0.4,
            min_lr=1e-6,
            clip_norm=3.0,
            augment_values={"local_scale": _small_views(224, 96)},
        ),
        "small": Recipe(
            "resnet18",
            96,
            batch_size=64,
            epochs=50,
            optimiser="adamw",
            weight_decay=0.04,
            final_weight_decay=0.4,
            clip_norm=3.0,
            method_values={"local_views": 4, "local_px": 48, "prototypes": 4096},
            augment_values={"local_scale": _small_views(96, 48)},
        ),
    },
)

_NPID = Method(
    name="npid",
    summary="tell a tile from what a memory bank remembers of all others",
    settings=NpidSettings,
    objective=Npid,
    descriptor="head",
    augmentation=_TWO_VIEWS,
    recipes={
        # The release lowers its rate in steps, at 120 and 160 epochs; the loop's cosine does here.
        "paper": Recipe(
            "resnet50",
            224,
            batch_size=256,
            epochs=200,
            optimiser="sgd",
            lr=0.03,
            weight_decay=1e-4,
        ),
        # A bank of some thousand tiles is full before the network has learnt anything, and noise is
        # then what it says itself, which it flees from; by the softmax it does not.
        "small": Recipe(
            "resnet18",
            96,
            batch_size=64,
            epochs=50,
            optimiser="sgd",
            lr=0.03,
            weight_decay=1e-4,
            method_values={"form": "softmax"},
        ),
    },
)

METHODS: Mapping[str, Method] = MappingProxyType(
    {method.name: method for method in (_TOWER, _SIMILARITY, _SIMCLR, _BYOL, _MOCO, _DINO, _NPID)}
)
"""All methods by name."""
