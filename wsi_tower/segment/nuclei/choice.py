"""Which channel means nuclei, found without labels; and the publication's clean-up of a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from wsi_tower.segment.nuclei.haematoxylin import between_class_share, smoothed_haematoxylin
from wsi_tower.segment.objects import label_objects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.models import ConfidenceNet

__all__ = ["ChannelChoice", "best_of", "choose_channel", "cleaned", "picture_confidences"]

_PLAUSIBLE_UM2 = (8.0, 300.0)
"""Area of the object that half of the foreground lies in or below: a lymphocyte's nucleus has
20 µm², a large tumour cell's 200, and some touch."""
_DUST_UM2 = 2.0


@dataclass(frozen=True, slots=True)
class ChannelChoice:
    """The channel that is taken for nuclei, and why."""

    channel: int
    """Its number."""
    shares: tuple[float, ...]
    """Criterion of each channel: see `between_class_share`."""
    areas_um2: tuple[float, ...]
    """Typical area of each channel's objects; 0 where it has none."""
    is_plausible: bool
    """Whether the chosen channel's objects have the size of nuclei; False: no channel's have."""

    @property
    def share(self) -> float:
        """Criterion of the chosen channel."""
        return self.shares[self.channel]


def best_of(shares: Sequence[float], areas_um2: Sequence[float]) -> ChannelChoice:
    """Choose a channel by haematoxylin and size.

    Of those whose objects have the size of nuclei, it is the one whose mask explains most of
    haematoxylin's variance; where none has such objects, the one that explains most.

    Args:
        shares: criterion of each channel.
        areas_um2: typical area of each channel's objects; between 8 and 300 µm² is plausible.
    """
    low, high = _PLAUSIBLE_UM2
    sized = [channel for channel, area in enumerate(areas_um2) if low <= area <= high]
    chosen = max(sized or range(len(shares)), key=lambda channel: shares[channel])
    return ChannelChoice(chosen, tuple(shares), tuple(areas_um2), bool(sized))


def choose_channel(
    net: ConfidenceNet, pictures: Sequence[NDArray[np.uint8]], mpp: float
) -> ChannelChoice:
    """The channel of a trained network that means nuclei, by haematoxylin and size alone.

    Args:
        net: fused, or in eval mode.
        pictures: (H, W, 3) each; no labels.
        mpp: their resolution in µm/px.
    """
    shares, areas = [], []
    for rgb in pictures:
        masks = picture_confidences(net, rgb) > 0.5
        density = smoothed_haematoxylin(_tensor(rgb), 0)
        shares.append(between_class_share(density, torch.from_numpy(masks)[None]).numpy())
        areas.append([_typical_area_um2(mask, mpp) for mask in masks])
    return best_of(np.mean(shares, axis=0).tolist(), np.median(areas, axis=0).tolist())


@torch.no_grad()
def picture_confidences(net: ConfidenceNet, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Confidence of each channel at each pixel of a whole picture (H, W, 3): (K, H, W)."""
    device = net.head.weight.device
    images = _tensor(rgb).to(device, memory_format=torch.channels_last)
    confidences: NDArray[np.float32] = net(images).sigmoid()[0].cpu().numpy()
    return confidences


def cleaned(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (H, W) after the publication's clean-up.

    Opened and closed by a disc of radius 3, then by one of radius 1. Beyond the edges is nothing.
    """
    margin = 8
    result = np.pad(mask, margin).astype(np.uint8)
    for radius in (3, 1):
        along = np.arange(-radius, radius + 1)
        disc = (along[:, None] ** 2 + along**2 <= radius**2).astype(np.uint8)
        result = cv2.morphologyEx(result, cv2.MORPH_OPEN, disc)
        result = cv2.morphologyEx(result, cv2.MORPH_CLOSE, disc)
    return result[margin:-margin, margin:-margin].astype(bool)


def _typical_area_um2(mask: NDArray[np.bool_], mpp: float) -> float:
    """Area of the object in which the middle pixel of the foreground lies, dust left out."""
    areas = np.sort(np.bincount(label_objects(mask).ravel())[1:]) * mpp**2
    areas = areas[areas >= _DUST_UM2]
    if not len(areas):
        return 0.0
    sums = np.cumsum(areas)
    return float(areas[np.searchsorted(sums, sums[-1] / 2)])


def _tensor(rgb: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
