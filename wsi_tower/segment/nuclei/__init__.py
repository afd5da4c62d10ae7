"""Nuclei without labels: the tiny network of Boserup and Selvan, trained on pictures alone."""

from wsi_tower.segment.nuclei.choice import (
    ChannelChoice,
    best_of,
    choose_channel,
    cleaned,
    picture_confidences,
)
from wsi_tower.segment.nuclei.haematoxylin import (
    between_class_share,
    confident_pixels,
    otsu_thresholds,
    smoothed_haematoxylin,
)
from wsi_tower.segment.nuclei.learning import METHOD, LearntNet, LearntNuclei, learn_nuclei
from wsi_tower.segment.nuclei.objective import PatchContrast
from wsi_tower.segment.nuclei.settings import (
    ContrastSettings,
    NucleiPreset,
    NucleiSettings,
    contrast_settings,
)

__all__ = [
    "METHOD",
    "ChannelChoice",
    "ContrastSettings",
    "LearntNet",
    "LearntNuclei",
    "NucleiPreset",
    "NucleiSettings",
    "PatchContrast",
    "best_of",
    "between_class_share",
    "choose_channel",
    "cleaned",
    "confident_pixels",
    "contrast_settings",
    "learn_nuclei",
    "otsu_thresholds",
    "picture_confidences",
    "smoothed_haematoxylin",
]
