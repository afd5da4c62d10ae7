"""Pre-training: methods that learn an encoder from tiles without labels."""

from wsi_tower.pretrain.methods import (
    METHODS,
    Method,
    PresetName,
    Recipe,
    method_named,
    settings_from,
)
from wsi_tower.pretrain.objectives.simclr import Simclr, SimclrSettings
from wsi_tower.pretrain.objectives.similarity import Similarity, SimilaritySettings
from wsi_tower.pretrain.objectives.tower import Restoration, Tower, TowerSettings, restore

__all__ = [
    "METHODS",
    "Method",
    "PresetName",
    "Recipe",
    "Restoration",
    "Simclr",
    "SimclrSettings",
    "Similarity",
    "SimilaritySettings",
    "Tower",
    "TowerSettings",
    "method_named",
    "restore",
    "settings_from",
]
