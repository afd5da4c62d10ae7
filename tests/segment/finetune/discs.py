"""Dark discs on a bright ground, and their masks: what a small U-Net learns in seconds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from wsi_tower.segment.finetune import AUGMENT_DEFAULTS, TRAINING_DEFAULTS, FinetuneSettings
from wsi_tower.training import AugmentSettings, TrainSettings

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SMALL: dict[str, Any] = {"init": "random", "backbone": "test_resnet", "decoder_widths": (16, 8, 8)}


def discs(seed: int, side_px: int = 96, count: int = 8) -> tuple[NDArray[Any], NDArray[Any]]:
    """A picture (H, W, 3) and its instance map (H, W): 0 is ground, discs count from 1."""
    random = np.random.default_rng(seed)
    rgb = random.normal((225, 200, 220), 8, (side_px, side_px, 3))
    instances = np.zeros((side_px, side_px), np.uint16)
    y, x = np.mgrid[:side_px, :side_px]
    for number in range(1, count + 1):
        cy, cx = random.uniform(8, side_px - 8, 2)
        inside = (y - cy) ** 2 + (x - cx) ** 2 <= random.uniform(5, 9) ** 2
        rgb[inside] = random.normal((90, 60, 140), 8, (int(inside.sum()), 3))
        instances[inside] = number
    return rgb.clip(0, 255).astype(np.uint8), instances


def write_discs(folder: Path, count: int = 4, side_px: int = 96) -> Path:
    """``images/`` and ``masks/`` of so many pictures; masks in turn 0/1, 0/255 and instances."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for seed in range(count):
        rgb, instances = discs(seed, side_px)
        cv2.imwrite(str(folder / "images" / f"p{seed}.png"), rgb[..., ::-1])
        kinds = ((instances > 0).astype(np.uint8), (instances > 0).astype(np.uint8) * 255)
        mask = (*kinds, instances)[seed % 3]
        cv2.imwrite(str(folder / "masks" / f"p{seed}.png"), mask)
    return folder


def settings_for(folder: Path, *, steps: int = 30, **values: Any) -> FinetuneSettings:
    """A fine-tuning of a small network from random weights on `write_discs`' pictures."""
    training = TrainSettings(
        **dict(TRAINING_DEFAULTS) | {"steps": steps, "log_every": 10, "lr": 5e-3, "device": "cpu"}
    )
    augment = AugmentSettings(**dict(AUGMENT_DEFAULTS) | {"crop_px": 64})
    values = SMALL | {"augment": augment, "training": training} | values
    return FinetuneSettings(folder / "images", folder / "masks", 0.25, **values)


def with_training(settings: FinetuneSettings, **values: Any) -> FinetuneSettings:
    """The settings with other values of ``training``."""
    return replace(settings, training=replace(settings.training, **values))
