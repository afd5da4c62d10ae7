"""Batches of crops with their masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from wsi_tower.draws import Draws
from wsi_tower.training import FedStep, TensorDraws, TileBatch, augmented_with_masks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.segment.finetune.pictures import LabelledPicture
    from wsi_tower.training import AugmentSettings

__all__ = ["LabelledFeed", "mirrored_to"]


class LabelledFeed:
    """Gives the batch of any step: crops from anywhere, each picture as often as it is large."""

    def __init__(
        self,
        pictures: Sequence[LabelledPicture],
        augment: AugmentSettings,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._augment, self._batch_size, self._seed = augment, batch_size, seed
        self._device, self._side_px = device, augment.largest_window_px
        self._stacks = [
            mirrored_to(np.dstack((picture.rgb, picture.mask)), self._side_px)
            for picture in pictures
        ]
        areas = np.array([stack.shape[0] * stack.shape[1] for stack in self._stacks], np.float64)
        self._bounds = np.cumsum(areas / areas.sum())

    def step(self, step: int) -> FedStep:
        """The batch of a step, counted from 0."""
        draws = Draws(self._seed, step, np.arange(self._batch_size))
        numbers = np.searchsorted(self._bounds, draws.uniform("picture"), side="right")
        numbers = np.minimum(numbers, len(self._stacks) - 1)
        crops = torch.from_numpy(self._crops(numbers, draws)).to(self._device)
        crops = crops.permute(0, 3, 1, 2)
        tensor_draws = TensorDraws(draws, self._device)
        views = augmented_with_masks(crops[:, :3], crops[:, 3:], self._augment, tensor_draws, "0")
        return FedStep(step, TileBatch(views, torch.from_numpy(numbers).to(self._device)), draws)

    def _crops(self, numbers: NDArray[np.int64], draws: Draws) -> NDArray[np.uint8]:
        side = self._side_px
        shapes = np.array([self._stacks[number].shape[:2] for number in numbers])
        tops = draws.below("top", shapes[:, 0] - side + 1)
        lefts = draws.below("left", shapes[:, 1] - side + 1)
        return np.stack(
            [
                self._stacks[number][top : top + side, left : left + side]
                for number, top, left in zip(numbers, tops, lefts, strict=True)
            ]
        )


def mirrored_to(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Pixels (H, W, C) continued by their mirror image to ``side_px`` at least, below and right."""
    missing = [max(0, side_px - extent) for extent in pixels.shape[:2]]
    if not any(missing):
        return pixels
    return np.pad(pixels, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")
