"""Pre-training: methods that learn an encoder from tiles without labels."""

from wsi_tower.pretrain.ingredients import Ingredients, OpenPictures, Pictures, Plan
from wsi_tower.pretrain.methods import (
    METHODS,
    Method,
    PresetName,
    Recipe,
    method_named,
    settings_from,
)
from wsi_tower.pretrain.objectives.byol import Byol, ByolSettings
from wsi_tower.pretrain.objectives.dino import Dino, DinoSettings
from wsi_tower.pretrain.objectives.moco import Moco, MocoSettings
from wsi_tower.pretrain.objectives.npid import Npid, NpidSettings
from wsi_tower.pretrain.objectives.simclr import Simclr, SimclrSettings
from wsi_tower.pretrain.objectives.similarity import Similarity, SimilaritySettings
from wsi_tower.pretrain.objectives.tower import Restoration, Tower, TowerSettings, restore
from wsi_tower.pretrain.run import Pretrained, PretrainWatcher, pretrain
from wsi_tower.pretrain.settings import PretrainSettings, Start
from wsi_tower.pretrain.values import nearest, settings_of, several_valued

__all__ = [
    "METHODS",
    "Byol",
    "ByolSettings",
    "Dino",
    "DinoSettings",
    "Ingredients",
    "Method",
    "Moco",
    "MocoSettings",
    "Npid",
    "NpidSettings",
    "OpenPictures",
    "Pictures",
    "Plan",
    "PresetName",
    "PretrainSettings",
    "PretrainWatcher",
    "Pretrained",
    "Recipe",
    "Restoration",
    "Simclr",
    "SimclrSettings",
    "Similarity",
    "SimilaritySettings",
    "Start",
    "Tower",
    "TowerSettings",
    "method_named",
    "nearest",
    "pretrain",
    "restore",
    "settings_from",
    "settings_of",
    "several_valued",
]
