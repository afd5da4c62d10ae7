"""Heads that tell the class of a tile from its descriptor: linear, or by neighbours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LinearClassifier", "NeighbourClassifier", "TileClassifier"]

_ROWS_AT_ONCE = 8192
_DISTANCES_AT_ONCE = 1 << 24


class TileClassifier(nn.Module, ABC):
    """Descriptors to the probability of each class; classes exclude each other.

    Descriptors are standardised inside; probabilities are calibrated by a temperature and an
    offset of each class, which are 1 and 0 until they are set.
    """

    kind: ClassVar[str]
    """Which it is, in records."""
    mean: Tensor
    """Of the training descriptors: (D,)."""
    spread: Tensor
    """Their standard deviation, above 0: (D,)."""
    temperature: Tensor
    """What logits are divided by: ()."""
    offset: Tensor
    """What is added to them then: (K,)."""

    def __init__(self, length: int, classes: int) -> None:
        """``length`` is D, of a descriptor; ``classes`` is K."""
        super().__init__()
        self.length, self.classes = length, classes
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("spread", torch.ones(length))
        self.register_buffer("temperature", torch.ones(()))
        self.register_buffer("offset", torch.zeros(classes))

    @abstractmethod
    def standardised_logits(self, features: Tensor) -> Tensor:
        """Logits, not calibrated, of standardised descriptors: (N, K) of (N, D)."""

    @abstractmethod
    def shape(self) -> dict[str, Any]:
        """What `of_shape` builds it from again; plain values."""

    @classmethod
    def of_shape(cls, shape: Mapping[str, Any]) -> Self:
        """One of this shape, whose tensors are still to be loaded."""
        return cls(**shape)

    def standardised(self, features: Tensor) -> Tensor:
        """Descriptors less their mean, by their spread: (N, D)."""
        return (features.float() - self.mean) / self.spread

    def logits(self, features: Tensor) -> Tensor:
        """Logits before calibration: (N, K) of descriptors (N, D), a block at a time."""
        blocks = [self.standardised_logits(self.standardised(block)) for block in _blocks(features)]
        return torch.cat(blocks) if blocks else torch.zeros(0, self.classes)

    def forward(self, features: Tensor) -> Tensor:
        """Calibrated logits: (N, K) of descriptors (N, D)."""
        return self.logits(features) / self.temperature + self.offset

    @torch.no_grad()
    def probabilities(self, features: Tensor) -> Tensor:
        """Of each class, calibrated: (N, K) float64, rows sum to 1."""
        return functional.softmax(self(features).double(), dim=1)


class LinearClassifier(TileClassifier):
    """Multinomial logistic regression."""

    kind = "linear"
    weight: Tensor
    """(K, D)."""
    bias: Tensor
    """(K,)."""

    def __init__(self, length: int, classes: int) -> None:
        """``length`` is D, of a descriptor; ``classes`` is K."""
        super().__init__(length, classes)
        self.register_buffer("weight", torch.zeros(classes, length))
        self.register_buffer("bias", torch.zeros(classes))

    def standardised_logits(self, features: Tensor) -> Tensor:
        """See `TileClassifier`."""
        return functional.linear(features, self.weight, self.bias)

    def shape(self) -> dict[str, Any]:
        """See `TileClassifier`."""
        return {"length": self.length, "classes": self.classes}


class NeighbourClassifier(TileClassifier):
    """Votes of the nearest training tiles: logits are log((votes + 1) / (k + K)).

    One vote is added to each class (Laplace), so that no class is ruled out by k tiles.
    """

    kind = "neighbours"
    examples: Tensor
    """Standardised training descriptors: (M, D)."""
    labels: Tensor
    """Their classes: int64 (M,)."""

    def __init__(self, length: int, classes: int, examples: int, neighbours: int) -> None:
        """``examples`` is M, above ``neighbours``, which is k."""
        super().__init__(length, classes)
        self.neighbours = neighbours
        self.register_buffer("examples", torch.zeros(examples, length))
        self.register_buffer("labels", torch.zeros(examples, dtype=torch.int64))

    def standardised_logits(self, features: Tensor) -> Tensor:
        """See `TileClassifier`."""
        rows = max(1, _DISTANCES_AT_ONCE // max(1, len(self.examples)))
        votes = [self._votes(block) for block in torch.split(features, rows)]
        counts = torch.cat(votes) if votes else torch.zeros(0, self.classes)
        return ((counts + 1) / (self.neighbours + self.classes)).log()

    def _votes(self, features: Tensor) -> Tensor:
        nearest = torch.cdist(features, self.examples).topk(self.neighbours, largest=False).indices
        return functional.one_hot(self.labels[nearest], self.classes).sum(dim=1).float()

    def shape(self) -> dict[str, Any]:
        """See `TileClassifier`."""
        return {
            "length": self.length,
            "classes": self.classes,
            "examples": len(self.examples),
            "neighbours": self.neighbours,
        }


def _blocks(features: Tensor) -> tuple[Tensor, ...]:
    return torch.split(features, _ROWS_AT_ONCE) if len(features) else ()
