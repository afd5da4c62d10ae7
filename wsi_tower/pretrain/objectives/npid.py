"""`npid`: every tile is a class of its own, told from others by a memory bank.

Wu, Xiong, Yu and Lin 2018, Unsupervised feature learning via non-parametric instance discrimination
(arXiv 1805.01978). One view of a tile is compared with what the bank remembers of tiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

import torch
from torch import Tensor

from wsi_tower.errors import SettingsError, TooFewTilesError, TrainingError
from wsi_tower.models import HeadSettings, Network, ProjectionHead
from wsi_tower.pretrain.bank import BankPlace, MemoryBank
from wsi_tower.pretrain.losses import noise_contrast, sampled_softmax
from wsi_tower.pretrain.noise import numbers_below
from wsi_tower.pretrain.values import check_above_0, check_choice, check_count, check_share
from wsi_tower.training import Loss, Objective, TensorDraws, TileBatch, ViewPlan, gathered

if TYPE_CHECKING:
    from wsi_tower.models import Encoder
    from wsi_tower.training import Progress

__all__ = ["InstanceForm", "Npid", "NpidSettings"]

InstanceForm: TypeAlias = Literal["nce", "softmax", "sampled-softmax"]
"""How a tile is told from others."""

_USUAL_NOISE = 4096


@dataclass(frozen=True, slots=True)
class NpidSettings:
    """How a tile is told from others, and how the bank follows."""

    form: InstanceForm = "nce"
    """``nce``: own entry from noise, by noise-contrastive estimation (published). ``softmax``: by
    the softmax over all entries (equation 2 of the paper). ``sampled-softmax``: over the own
    entry and a sample of the others."""
    noise: int | None = None
    """m: entries that a tile is told from in a step; None: 4,096 (published), or all others where
    there are fewer. ``softmax`` takes all."""
    temperature: float = 0.07
    """τ (published)."""
    momentum: float = 0.5
    """Part of an entry that a step leaves as it is (released code)."""
    proximal_weight: float = 0.0
    """λ: weight of the squared distance from the own entry (section 3.3 of the paper). The
    released code has momentum in its place."""
    descriptor_length: int = 128
    """E (published)."""
    bank: BankPlace = "device"
    """Where the bank lies. ``host`` spares the memory of a GPU: 2.6 GB for ten million tiles."""

    def __post_init__(self) -> None:
        check_choice("form", self.form, get_args(InstanceForm))
        check_choice("bank", self.bank, get_args(BankPlace))
        check_above_0("temperature", self.temperature)
        check_share("momentum", self.momentum)
        check_count("descriptor_length", self.descriptor_length)
        if self.noise is not None:
            check_count("noise", self.noise)
            if self.form == "softmax":
                raise SettingsError(
                    f"noise is {self.noise}, but softmax tells a tile from all others; leave it "
                    f"out, or choose sampled-softmax"
                )
        if not 0 <= self.proximal_weight < math.inf:
            raise SettingsError(f"proximal_weight is {self.proximal_weight:g}; choose 0 or more")


class _Heard(NamedTuple):
    """What a pass in training leaves for the move after it: no part of any state."""

    anchors: Tensor
    described: Tensor
    log_z: Tensor


class Npid(Objective):
    """Instance discrimination on tiles."""

    log_z: Tensor
    """Logarithm of Z, the normalising constant; infinite before the first step."""

    def __init__(self, settings: NpidSettings) -> None:
        super().__init__()
        self.settings = settings
        self.bank: MemoryBank | None = None
        self.register_buffer("log_z", torch.tensor(torch.inf))
        self._noise = 0
        self._heard: list[_Heard] = []

    def begin(self, tiles: int, seed: int) -> None:
        """Make the bank.

        Raises:
            TooFewTilesError: there are fewer tiles than a tile is to be told from.
        """
        settings = self.settings
        self._noise = _noise_among(tiles, settings.noise)
        self.bank = MemoryBank(
            tiles,
            settings.descriptor_length,
            seed,
            momentum=settings.momentum,
            place=settings.bank,
        )

    def views(self) -> ViewPlan:
        """One view: what it is compared with is remembered."""
        return ViewPlan(views=1)

    def network(self, encoder: Encoder) -> Network:
        """Encoder and one linear layer, whose output of length 1 describes a tile."""
        layer = HeadSettings(out=self.settings.descriptor_length, layers=1, unit_length=True)
        return Network(encoder, head=ProjectionHead(encoder.width, layer), descriptor="head")

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        """How badly tiles are told from others by their entries.

        Raises:
            TrainingError: `begin` has not been called.
        """
        bank, settings = self._begun(), self.settings
        described = network.describe(batch.views[0]).float()
        remembered = bank.of(batch.anchors)
        alike = (described * remembered).sum(dim=1)
        own, log_z = alike / settings.temperature, self.log_z
        if settings.form == "softmax":
            total = (bank.log_partition(described, settings.temperature) - own).mean()
        else:
            others = self._scores_of_others(described, batch.anchors, draws)
            if settings.form == "sampled-softmax":
                total = sampled_softmax(own, others)
            else:
                log_z = self._log_z_by(others.detach())
                total = noise_contrast(own, others, log_z, len(bank))
        if settings.proximal_weight:
            apart = (described - remembered).square().sum(dim=1).mean()
            total = total + settings.proximal_weight * apart
        # What is not trained on does not move the bank either.
        if total.requires_grad:
            self._heard.append(_Heard(batch.anchors, described.detach(), log_z))
        return Loss(total, {"agreement": alike.detach().mean()})

    def after_step(self, network: Network, batch: TileBatch, progress: Progress) -> None:  # noqa: ARG002
        """The batch's entries move, on all ranks alike, to what the step was taken from."""
        if not self._heard:
            return
        # The batch's own parts passed last.
        parts = len(batch.anchors) // len(self._heard[-1].anchors)
        anchors, described, log_zs = map(list, zip(*self._heard[-parts:], strict=True))
        self._heard.clear()
        self._begun().move(gathered(torch.cat(anchors)), gathered(torch.cat(described)))
        if self.log_z.isinf():
            self.log_z.copy_(_log_mean_exp(torch.stack(log_zs)))

    def _scores_of_others(self, described: Tensor, anchors: Tensor, draws: TensorDraws) -> Tensor:
        """Scores v · f / τ of each sample's own draw of entries: (B, m)."""
        bank = self._begun()
        keys = draws.below("noise", 1 << 53)
        if self.settings.form == "nce":
            # By the noise's definition any entry may be drawn, the own one too.
            numbers = numbers_below(keys, self._noise, len(bank))
        else:
            numbers = numbers_below(keys, self._noise, len(bank) - 1)
            numbers = numbers + (numbers >= anchors[:, None])
        return bank.scores(described, numbers) / self.settings.temperature

    def _log_z_by(self, noise: Tensor) -> Tensor:
        """What Z is; before the first step, what its batch makes of it: N times the noise's mean.

        That is n/m · Σ exp(v · f / τ) (section 3.2 of the paper) for all samples of all ranks.
        """
        if not self.log_z.isinf():
            return self.log_z
        means = gathered(_log_mean_exp(noise)[None])
        return math.log(len(self._begun())) + _log_mean_exp(means)

    def _begun(self) -> MemoryBank:
        if self.bank is None:
            raise TrainingError(
                "npid has no memory bank yet; call begin with the number of tiles before its first "
                "step"
            )
        return self.bank


def _noise_among(tiles: int, wanted: int | None) -> int:
    """m: what is wanted, or by default as much as there is."""
    if wanted is None:
        return max(1, min(_USUAL_NOISE, tiles - 1))
    if wanted >= tiles:
        raise TooFewTilesError(
            f"noise is {wanted:,}, but a tile has only {tiles - 1:,} others to be told from; lower "
            f"noise, leave it out to take what there is, or add slides"
        )
    return wanted


def _log_mean_exp(logarithms: Tensor) -> Tensor:
    flat = logarithms.flatten()
    return torch.logsumexp(flat, dim=0) - math.log(len(flat))
