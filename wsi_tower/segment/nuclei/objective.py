"""`PatchContrast`: nuclei by contrast of windows (Boserup and Selvan 2023), and by a teacher."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor
from torch.nn import functional

from wsi_tower.models import ConfidenceNet, Encoder, Features, Network, lifted
from wsi_tower.segment.nuclei.haematoxylin import (
    between_class_share,
    confident_pixels,
    smoothed_haematoxylin,
)
from wsi_tower.segment.nuclei.losses import (
    Sets,
    contrast_losses,
    drawn_places,
    pixel_entropy,
    similarities,
    window_means,
    windows_at,
)
from wsi_tower.training import Loss, Objective, ViewPlan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from wsi_tower.segment.nuclei.settings import ContrastSettings
    from wsi_tower.training import Progress, TensorDraws, TileBatch

__all__ = ["PatchContrast", "Pixels", "drawn_sets"]

_SMOOTHING = 0.1
"""Weight of a step in the moving mean of the criterion: it looks back ten steps or so."""
_LEAST_GAIN = 0.001
"""Of the criterion, to count as better."""


class Pixels(Encoder):
    """A picture as its own feature map, for a network that is all decoder."""

    architecture, in_channels, width = "pixels", 3, 3
    pyramid_channels, pyramid_strides = (3,), (1,)

    def forward(self, images: Tensor) -> Features:
        """Mean colours (B, 3), and the pictures."""
        return Features(images.mean((2, 3)), (images,))


class PatchContrast(Objective):
    """Windows that a channel is sure of look alike, and unlike those that it is sure are not its.

    A step in which some channel has no positive or no negative window is skipped, as published,
    unless there is a teacher. The network of the best criterion, the share of haematoxylin's
    variance that the best channel's mask explains, is kept aside. All draws of anchors are the
    first sample's.
    """

    best_share: Tensor
    best_step: Tensor
    shares: Tensor
    steps: Tensor
    best: nn.Module

    def __init__(self, settings: ContrastSettings, *, patience: int = 0) -> None:
        """``patience``: steps without a better criterion after which it is over; 0: never."""
        super().__init__()
        self.settings, self.patience = settings, patience
        self._is_skipped = False
        self._seen = torch.zeros(settings.classes)
        self.register_buffer("shares", torch.zeros(settings.classes))
        for name in ("best_share", "best_step", "steps"):
            self.register_buffer(name, torch.zeros(()))

    def views(self) -> ViewPlan:
        """The pictures themselves."""
        return ViewPlan(views=1)

    def network(self, encoder: Encoder) -> Network:
        """A `ConfidenceNet` as the decoder of pictures that nothing encodes."""
        net = ConfidenceNet(self.settings.classes, in_channels=encoder.in_channels)
        self.best = copy.deepcopy(net).requires_grad_(False)
        return Network(encoder, decoder=net)

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        """The loss of pictures (B, 3, H, W)."""
        settings, (images,) = self.settings, batch.views
        logits = _net(network)(images)
        confidence = logits.float().sigmoid()
        entropy = window_means(pixel_entropy(confidence), settings.window_px, settings.stride_px)
        sets = drawn_sets(lifted(images), confidence, entropy, draws, settings)
        self._is_skipped = not all(len(one.positives) and len(one.negatives) for one in sets)
        nothing = logits.sum() * 0
        losses = {"intra": nothing, "inter": nothing, "teacher": nothing}
        if not self._is_skipped:
            intra, inter = contrast_losses(sets, len(images), settings.temperature)
            losses |= {"intra": intra, "inter": inter}
        if settings.teacher:
            losses["teacher"] = self._taught(images, logits)
        total = settings.contrast * (losses["intra"] + losses["inter"])
        total = total + settings.teacher * losses["teacher"]
        with torch.no_grad():
            self._seen = between_class_share(smoothed_haematoxylin(images, 0), confidence > 0.5)
            curves = {
                "separation": _separation(sets, logits),
                "entropy": entropy.mean(),
                "haematoxylin": self._seen.max(),
                "skipped": logits.new_tensor(float(self._is_skipped)),
            }
        parts = {name: loss.detach() for name, loss in losses.items()}
        return Loss(total, parts | curves)

    def trained_parameters(self, network: Network, step: int) -> Iterable[nn.Parameter]:
        """Nothing in a step that is skipped: neither momentum nor decay moves it."""
        is_still = self._is_skipped and not self.settings.teacher
        return () if is_still else super().trained_parameters(network, step)

    def after_step(self, network: Network, batch: TileBatch, progress: Progress) -> None:
        """Keep the network aside where the criterion was never better."""
        del batch
        self.steps.fill_(progress.step)
        weight = 1.0 if progress.step == 1 else _SMOOTHING
        self.shares.lerp_(self._seen.to(self.shares), weight)
        if self.shares.max() > self.best_share + _LEAST_GAIN:
            self.best_share.copy_(self.shares.max())
            self.best_step.fill_(progress.step)
            self.best.load_state_dict(_net(network).state_dict())

    def is_over(self) -> bool:
        """Whether the criterion has not risen for as long as patience goes."""
        return 0 < self.patience <= int(self.steps - self.best_step)

    def learnt(self, network: Network) -> Network:
        """The network of the best criterion; without patience the last, as published."""
        if not self.patience or not self.best_step:
            return network
        return Network(network.encoder, decoder=self.best)

    def _taught(self, images: Tensor, logits: Tensor) -> Tensor:
        """Cross-entropy of the first channel with the pixels that haematoxylin is sure of."""
        settings = self.settings
        density = smoothed_haematoxylin(images, settings.teacher_sigma_px)
        yes, no = confident_pixels(density, settings.teacher_margin)
        is_sure = yes | no
        loss = functional.binary_cross_entropy_with_logits(
            logits[:, 0], yes.to(logits.dtype), reduction="none"
        )
        return (loss * is_sure).sum() / is_sure.sum().clamp(min=1)


def drawn_sets(
    images: Tensor,
    confidence: Tensor,
    entropy: Tensor,
    draws: TensorDraws,
    settings: ContrastSettings,
) -> list[Sets]:
    """Windows of each channel: drawn by entropy, sorted by a coin of their confidence.

    Args:
        images: (B, 3, H, W); what is compared is their windows times the confidence's.
        confidence: (B, K, H, W).
        entropy: means of windows: (B, K, R, C).
        draws: of the B pictures.
        settings: how many, and how large.
    """
    channels, columns = entropy.shape[1], entropy.shape[3]
    places = drawn_places(
        entropy.detach().flatten(2), draws.uniform("windows", channels, settings.windows)
    )
    means = window_means(confidence.detach(), settings.window_px, settings.stride_px).flatten(2)
    coins = draws.uniform("labels", channels, settings.windows)
    is_positive = coins < means.gather(2, places)
    anchors = draws.uniform("anchors", channels, settings.anchors)[0]
    sets = []
    for channel in range(channels):
        tops = places[:, channel] // columns * settings.stride_px
        lefts = places[:, channel] % columns * settings.stride_px
        both = torch.cat((images, confidence[:, channel : channel + 1]), 1)
        windows = windows_at(both, tops, lefts, settings.window_px)
        rows = (windows[:, :, :3] * windows[:, :, 3:]).flatten(2).flatten(0, 1)
        chosen = is_positive[:, channel].flatten()
        positives, negatives = rows[chosen], rows[~chosen]
        numbers = (anchors[channel] * len(positives)).long()
        sets.append(Sets(positives[numbers] if len(positives) else positives, positives, negatives))
    return sets


def _separation(sets: list[Sets], like: Tensor) -> Tensor:
    """How much more alike positives are to one another than to negatives, as published.

    Mean over the channels that have both, 0 where none has.
    """
    gaps = [
        similarities(one.anchors, one.positives).mean()
        - similarities(one.anchors, one.negatives).mean()
        for one in sets
        if len(one.positives) and len(one.negatives)
    ]
    return torch.stack(gaps).mean() if gaps else like.new_zeros(())


def _net(network: Network) -> ConfidenceNet:
    return cast("ConfidenceNet", network.decoder)
