"""How a run is trained, whatever it learns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch

from wsi_tower.batch import usable_cores
from wsi_tower.errors import SettingsError
from wsi_tower.records import plain
from wsi_tower.training.ranks import Ranks

__all__ = ["DeviceName", "OptimiserName", "Precision", "TrainSettings"]

OptimiserName: TypeAlias = Literal["adamw", "adam", "sgd", "lars"]
"""``adam`` adds weight decay to the gradient, ``adamw`` to the step (Loshchilov and Hutter 2019);
``lars`` is for batches of thousands (You, Gitman and Ginsburg 2017)."""

Precision: TypeAlias = Literal["fp32", "bf16"]
"""``bf16``: forward passes under autocast; weights and optimiser stay in fp32."""

DeviceName: TypeAlias = Literal["auto", "cpu", "cuda"]
"""``auto``: a GPU where there is one."""

_CHANGE_NO_WEIGHT = (
    *("device", "threads", "compile", "log_every", "watch_every", "checkpoint_every"),
    "keep_checkpoints",
)
"""Settings that a resumed run may change."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How weights move, and what is written on the way."""

    steps: int
    """Optimiser steps in all."""
    batch_size: int = 64
    """Samples of a step, over all ranks, which share them equally."""
    accumulate: int = 1
    """Parts that a batch is cut into, one after the other through the network, to save memory.
    What an objective compares, it compares within a part."""
    lr: float = 1e-3
    """Learning rate at its highest."""
    min_lr: float = 0.0
    """Learning rate of the last step."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises from 0."""
    weight_decay: float = 1e-4
    """Of weights with two axes or more; biases and norms are let alone."""
    final_weight_decay: float | None = None
    """Weight decay of the last step, reached as half a cosine; None: it stays as it is."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of Adam's two moments; ``sgd`` and ``lars`` take the first as their momentum."""
    optimiser: OptimiserName = "adamw"
    """How gradients become steps."""
    clip_norm: float | None = None
    """Longest gradient, all parameters together; None: as long as it is."""
    precision: Precision = "fp32"
    """Of forward passes."""
    compile: bool = False
    """Whether torch.compile builds the network's parts: minutes at the start for a faster step."""
    channels_last: bool = True
    """Whether pictures and weights lie in memory pixel by pixel, which convolutions like best."""
    seed: int = 0
    """Of every draw."""
    checkpoint_every: int = 500
    """Steps from one checkpoint to the next; there is one at the end in any case."""
    keep_checkpoints: int = 3
    """How many of the newest are kept."""
    log_every: int = 10
    """Steps from one row of the log to the next."""
    watch_every: int = 500
    """Steps from one look at rank and distances to the next; 0: never."""
    patience: int = 0
    """Steps without a lower moving mean of the training loss after which a run ends; 0: never."""
    device: DeviceName = "auto"
    """Where it runs; ranks have a GPU each."""
    threads: int = 0
    """Threads that read tiles; 0: one for each core, shared among the ranks of a machine."""
    decode_on_device: bool = False
    """Whether JPEG tiles travel compressed and the device decodes them. A GPU rounds otherwise than
    a CPU, by a grey level here and there."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "checkpoint_every", "keep_checkpoints"):
            _check_count(name, getattr(self, name), 1)
        _check_count("log_every", self.log_every, 1)
        for name in ("warmup_steps", "watch_every", "patience", "threads"):
            _check_count(name, getattr(self, name), 0)
        self._check_rates()
        for name, choices in _CHOICES.items():
            _check_choice(name, getattr(self, name), choices)
        if self.batch_size % self.accumulate:
            raise SettingsError(
                f"batch_size {self.batch_size} cannot be cut into {self.accumulate} equal parts; "
                f"make accumulate one of its divisors"
            )

    def _check_rates(self) -> None:
        if not 0 < self.lr < math.inf:
            raise SettingsError(f"lr must be above 0, not {self.lr:g}; 0.001 suits most runs")
        if not 0 <= self.min_lr <= self.lr:
            raise SettingsError(
                f"min_lr must lie between 0 and lr ({self.lr:g}), not {self.min_lr:g}"
            )
        if not 0 <= self.weight_decay < math.inf:
            raise SettingsError(f"weight_decay must be 0 or more, not {self.weight_decay:g}")
        last = self.final_weight_decay
        if last is not None and not 0 <= last < math.inf:
            raise SettingsError(f"final_weight_decay must be 0 or more, not {last:g}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise SettingsError(f"betas must be two numbers from 0 to below 1, not {self.betas}")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise SettingsError(
                f"clip_norm must be above 0, not {self.clip_norm:g}; leave it out to clip nothing"
            )

    def that_move_weights(self) -> dict[str, Any]:
        """The settings that a resumed run must share, as plain values."""
        return {name: value for name, value in plain(self).items() if name not in _CHANGE_NO_WEIGHT}

    def torch_device(self) -> torch.device:
        """The device that the run is on.

        Raises:
            SettingsError: a GPU is asked for and there is none, or none for this rank.
        """
        has_gpu = torch.cuda.is_available()
        ranks = Ranks.here()
        if self.device == "cuda" and not has_gpu:
            raise SettingsError(
                "device cuda was asked for, but torch sees no GPU; take device cpu, or install a "
                "torch build for this machine's driver"
            )
        if not has_gpu or self.device == "cpu":
            return torch.device("cpu")
        if ranks.local_rank >= torch.cuda.device_count():
            raise SettingsError(
                f"rank {ranks.rank} is number {ranks.local_rank} of its machine, which has "
                f"{torch.cuda.device_count()} GPU(s); lower --nproc-per-node to that"
            )
        return torch.device("cuda") if ranks.is_alone else torch.device("cuda", ranks.local_rank)

    def reading_threads(self) -> int:
        """How many threads read tiles."""
        return self.threads or max(1, usable_cores() // Ranks.here().local_size)


_CHOICES: dict[str, tuple[str, ...]] = {
    "optimiser": get_args(OptimiserName),
    "precision": get_args(Precision),
    "device": get_args(DeviceName),
}


def _check_count(name: str, value: int, least: int) -> None:
    if value < least:
        raise SettingsError(f"{name} must be {least} or more, not {value}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
