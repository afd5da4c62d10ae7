"""A segmenter on whole flat pictures, and how well it does."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
import torch

from wsi_tower.segment.finetune.feed import mirrored_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.models import Segmenter
    from wsi_tower.segment.finetune.pictures import LabelledPicture

__all__ = ["mean_dice", "picture_probabilities"]


@torch.no_grad()
def picture_probabilities(
    segmenter: Segmenter, rgb: NDArray[np.uint8], window_px: int, overlap_px: int = 0
) -> NDArray[np.float32]:
    """Probability of each class at each pixel of a picture.

    Args:
        segmenter: in eval mode; pictures go to its device.
        rgb: (H, W, 3).
        window_px: side of the windows that it sees, one at a time.
        overlap_px: what neighbouring windows share; there their mean counts, each window weighing
            less towards its edges.

    Returns:
        (K, H, W) in [0, 1].
    """
    height, width = rgb.shape[:2]
    whole = mirrored_to(rgb, window_px)
    device = next(segmenter.parameters()).device
    steps = np.arange(window_px)
    line = np.minimum(np.minimum(steps, steps[::-1]), overlap_px).astype(np.float32) + 1
    weight = np.outer(line, line)
    total = np.zeros((segmenter.classes, *whole.shape[:2]), np.float32)
    weights = np.zeros(whole.shape[:2], np.float32)
    for top in _starts(whole.shape[0], window_px, overlap_px):
        for left in _starts(whole.shape[1], window_px, overlap_px):
            place = (slice(top, top + window_px), slice(left, left + window_px))
            pixels = torch.from_numpy(np.ascontiguousarray(whole[place])).to(device)
            images = (pixels.permute(2, 0, 1)[None] / 255).contiguous(
                memory_format=torch.channels_last
            )
            total[:, *place] += segmenter.probabilities(images)[0].cpu().numpy() * weight
            weights[place] += weight
    return (total / weights)[:, :height, :width].astype(np.float32, copy=False)


def mean_dice(
    segmenter: Segmenter, pictures: Sequence[LabelledPicture], window_px: int, threshold: float
) -> float:
    """Mean over pictures of the first class's Dice: 2 |A ∩ B| / (|A| + |B|); 1 if both are empty.

    Tiles of a slide count as one picture, since most of them may be empty. The segmenter is in eval
    mode for the time.
    """
    was_training = segmenter.training
    segmenter.eval()
    common: dict[str, int] = defaultdict(int)
    sizes: dict[str, int] = defaultdict(int)
    for picture in pictures:
        found = picture_probabilities(segmenter, picture.rgb, window_px)[0] >= threshold
        truth = picture.mask > 0
        common[picture.group] += int((found & truth).sum())
        sizes[picture.group] += int(found.sum()) + int(truth.sum())
    segmenter.train(was_training)
    scores = [2 * common[group] / size if size else 1.0 for group, size in sizes.items()]
    return fmean(scores)


def _starts(extent: int, window_px: int, overlap_px: int) -> list[int]:
    step = window_px - overlap_px
    starts = list(range(0, max(1, extent - window_px + 1), step))
    if starts[-1] + window_px < extent:
        starts.append(extent - window_px)
    return starts
