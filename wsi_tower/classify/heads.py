"""Heads fitted to descriptors, and calibrated on others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wsi_tower.errors import LabelError
from wsi_tower.models import LinearClassifier, NeighbourClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from wsi_tower.classify.settings import Calibration, LearnSettings
    from wsi_tower.models import TileClassifier

__all__ = ["calibrate", "fitted_head"]

_STEPS = 300
_LEAST_SPREAD = 1e-6
_COLDEST, _WARMEST = -6.0, 6.0
"""Natural logarithms of temperatures: what no sample contradicts would go on for ever."""


def fitted_head(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    settings: LearnSettings,
) -> TileClassifier:
    """A head, not calibrated, fitted to labelled tiles.

    Args:
        features: descriptors: (N, D).
        labels: numbers of classes: (N,).
        classes: their K names.
        settings: which head.

    Raises:
        LabelError: a class has no tile, or there are no more tiles than neighbours that vote.
    """
    counts = np.bincount(labels, minlength=len(classes))
    without = [name for name, count in zip(classes, counts.tolist(), strict=True) if not count]
    if without:
        raise LabelError(
            f"no training tile is of class {', '.join(without)}; annotate it on slides of more "
            f"patients, or leave it out with --class"
        )
    tensor = torch.from_numpy(np.ascontiguousarray(features, np.float32)).double()
    told = torch.from_numpy(labels)
    if settings.head == "linear":
        return _linear(tensor, told, len(classes), settings)
    return _neighbours(tensor, told, len(classes), settings)


def calibrate(
    head: TileClassifier, features: NDArray[np.float32], labels: NDArray[np.int64], how: Calibration
) -> None:
    """Set a head's temperature, and for ``platt`` its offsets, to the least cross-entropy.

    Temperature scaling is of Guo et al. 2017 (arXiv 1706.04599). With an offset of each class it is
    Platt's (1999) scaling where there are two.

    Args:
        head: fitted to other tiles.
        features: descriptors of tiles of other patients: (N, D), N above 0.
        labels: their classes: (N,).
        how: ``none`` changes nothing.
    """
    if how == "none":
        return
    with torch.no_grad():
        logits = head.logits(torch.from_numpy(np.ascontiguousarray(features, np.float32))).double()
    told = torch.from_numpy(labels)
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    offset = torch.zeros(head.classes, dtype=torch.float64, requires_grad=how == "platt")

    def loss() -> Tensor:
        scaled = logits * torch.exp(-log_temperature.clamp(_COLDEST, _WARMEST)) + offset
        # Without this, the offset of a class that no tile here has would fall for ever.
        return functional.cross_entropy(scaled, told) + 1e-4 * offset.square().sum()

    _minimise(loss, [log_temperature, offset] if how == "platt" else [log_temperature])
    head.temperature.copy_(log_temperature.detach().clamp(_COLDEST, _WARMEST).exp())
    head.offset.copy_(offset.detach())


def _linear(
    features: Tensor, labels: Tensor, classes: int, settings: LearnSettings
) -> LinearClassifier:
    head = LinearClassifier(features.shape[1], classes)
    _standardise(head, features)
    inputs = (features - head.mean) / head.spread
    shares = _weights(labels, classes, balanced=settings.balanced)
    weight = torch.zeros(classes, features.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        each = functional.cross_entropy(inputs @ weight.T + bias, labels, reduction="none")
        penalty = settings.penalty * features.shape[1] / 2 * weight.square().sum()
        return ((each * shares[labels]).sum() + penalty) / len(labels)

    _minimise(loss, [weight, bias])
    head.weight.copy_(weight.detach())
    head.bias.copy_(bias.detach())
    return head


def _neighbours(
    features: Tensor, labels: Tensor, classes: int, settings: LearnSettings
) -> NeighbourClassifier:
    if len(labels) < settings.neighbours:
        raise LabelError(
            f"{len(labels)} training tiles are fewer than the {settings.neighbours} neighbours "
            f"that vote; annotate more, or let fewer vote with --neighbours"
        )
    head = NeighbourClassifier(features.shape[1], classes, len(labels), settings.neighbours)
    _standardise(head, features)
    head.examples.copy_((features - head.mean) / head.spread)
    head.labels.copy_(labels)
    return head


def _standardise(head: TileClassifier, features: Tensor) -> None:
    head.mean.copy_(features.mean(dim=0))
    spread = features.std(dim=0, unbiased=False)
    # What is the same for all training tiles tells nothing, and must not blow up on others.
    head.spread.copy_(torch.where(spread > _LEAST_SPREAD, spread, torch.ones_like(spread)))


def _weights(labels: Tensor, classes: int, *, balanced: bool) -> Tensor:
    """Of each class, 1 on average over tiles: (K,)."""
    counts = torch.bincount(labels, minlength=classes).double()
    return len(labels) / (classes * counts) if balanced else torch.ones_like(counts)


def _minimise(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
    """Newton-like steps (L-BFGS, Liu and Nocedal 1989) until nothing changes; losses are convex."""
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=_STEPS,
        tolerance_grad=1e-8,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]
