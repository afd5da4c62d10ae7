"""`tower`: a tile is told from others in spite of corruption, and restored from it.

Chen, Li, Chen and Luo 2023 (TOWER, arXiv 2211.14715): one encoder learns by contrast and by
restoration at once, so that encoder and decoder both are a start for segmentation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

import torch

from wsi_tower.errors import SettingsError
from wsi_tower.models import HeadSettings, Network, ProjectionHead, UNetDecoder
from wsi_tower.pretrain.corruption import Corruption, CorruptionSettings
from wsi_tower.pretrain.losses import RestorationNorm, info_nce, nt_xent, restoration_loss
from wsi_tower.pretrain.values import check_above_0, check_choice, check_count
from wsi_tower.training import Loss, Objective, TensorDraws, TileBatch, ViewPlan, gathered

if TYPE_CHECKING:
    from torch import Tensor, nn

    from wsi_tower.models import Encoder, Features

__all__ = ["Contrast", "Restoration", "Tower", "TowerSettings", "restore"]

Contrast: TypeAlias = Literal["nt-xent", "info-nce"]
"""Among which views a tile is told apart."""

_CONTRASTS = {"nt-xent": nt_xent, "info-nce": info_nce}


@dataclass(frozen=True, slots=True)
class TowerSettings(CorruptionSettings):
    """How clean and corrupted tiles are compared, and how tiles are corrupted.

    A weight of 0 leaves that part out: it is neither built nor computed.
    """

    contrast_weight: float = 1.0
    """Weight of the contrastive loss (published: 1 to 1)."""
    restoration_weight: float = 1.0
    """Weight of the restoration loss (published: 1 to 1)."""
    contrast: Contrast = "nt-xent"
    """``nt-xent``: both views of all other tiles are negatives (released code). ``info-nce``: a
    clean tile is told from the corrupted views of the others alone."""
    temperature: float = 0.1
    """Of the contrastive loss (released code)."""
    descriptor_length: int = 128
    """E: length of what is compared (released code)."""
    restoration: RestorationNorm = "l1"
    """``l1`` for pictures of 224 px and more, ``mse`` for those of 28 px (released code)."""

    def __post_init__(self) -> None:
        CorruptionSettings.__post_init__(self)
        for name in ("contrast_weight", "restoration_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"{name} is {getattr(self, name):g}; choose 0 or more")
        if self.contrast_weight == self.restoration_weight == 0:
            raise SettingsError(
                "contrast_weight and restoration_weight are both 0, so nothing would be learnt; "
                "choose more than 0 for one"
            )
        check_choice("contrast", self.contrast, get_args(Contrast))
        check_choice("restoration", self.restoration, get_args(RestorationNorm))
        check_above_0("temperature", self.temperature)
        check_count("descriptor_length", self.descriptor_length)


class Restoration(NamedTuple):
    """What the network makes of corrupted tiles: (B, C, H, W) each, values in [0, 1]."""

    clean: Tensor
    corrupted: Tensor
    restored: Tensor


class Tower(Objective):
    """TOWER on tiles."""

    def __init__(self, settings: TowerSettings) -> None:
        super().__init__()
        self.settings = settings
        self.corruption = Corruption(settings)

    def views(self) -> ViewPlan:
        """One clean view; its corrupted twin is made where the batch lies."""
        return ViewPlan(views=1)

    def network(self, encoder: Encoder) -> Network:
        """Encoder, head (Linear, ReLU, Linear) and U-Net decoder.

        Raises:
            EncoderError: tiles are to be restored by an encoder without feature maps.
        """
        settings = self.settings
        head = decoder = None
        if settings.contrast_weight:
            head = ProjectionHead(encoder.width, HeadSettings(out=settings.descriptor_length))
        if settings.restoration_weight:
            decoder = UNetDecoder.on(encoder, encoder.in_channels)
        return Network(encoder, head=head, decoder=decoder)

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        """Both losses, the contrastive one among the tiles of all ranks.

        The corrupted view passes the encoder once for the two.
        """
        clean = batch.views[0]
        features = network.encoder(self.corruption(clean, draws))
        settings = self.settings
        terms: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        if network.head is not None:
            compare = _CONTRASTS[settings.contrast]
            own = gathered(network.head(network.encoder(clean).pooled))
            other = gathered(network.head(features.pooled))
            loss = compare(own, other, settings.temperature)
            terms.append(settings.contrast_weight * loss)
            parts["contrast"] = loss.detach()
        if network.decoder is not None:
            restored = _restored(network.decoder, features, clean)
            loss = restoration_loss(restored, clean, settings.restoration)
            terms.append(settings.restoration_weight * loss)
            parts["restoration"] = loss.detach()
        return Loss(torch.stack(terms).sum(), parts)


def restore(objective: Tower, network: Network, clean: Tensor, draws: TensorDraws) -> Restoration:
    """Corrupt tiles as in training and restore them, to look at. The network is left as it was.

    Args:
        objective: how tiles are corrupted.
        network: what `Tower.network` made, with a decoder.
        clean: tiles, (B, C, H, W) in [0, 1].
        draws: of the same B samples.

    Raises:
        SettingsError: the network restores nothing.
    """
    if network.decoder is None:
        raise SettingsError(
            "this network has no decoder to restore tiles with, since it was built with "
            "restoration_weight=0; train with more than 0"
        )
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            corrupted = objective.corruption(clean, draws)
            restored = _restored(network.decoder, network.encoder(corrupted), clean)
    finally:
        network.train(was_training)
    return Restoration(clean, corrupted, restored)


def _restored(decoder: nn.Module, features: Features, clean: Tensor) -> Tensor:
    height, width = clean.shape[-2:]
    logits: Tensor = decoder(features.pyramid, (height, width))
    # In float32 also under autocast: bfloat16 knows no more than 256 greys in [½, 1].
    return torch.sigmoid(logits.float())
