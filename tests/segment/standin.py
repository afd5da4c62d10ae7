"""Networks for tests: none is trained, and what they find can be worked out otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch.nn import functional

from wsi_tower.models import Segmenter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

REACH_PX = 4
"""How far `Darkness` sees from a pixel."""


class Darkness(Segmenter):
    """Probability by how dark a pixel's neighbourhood is: the same wherever the pixel lies."""

    kind = "darkness"
    classes = 1

    def __init__(self, middle: float = 0.30, slope: float = 30.0) -> None:
        super().__init__()
        side = 2 * REACH_PX + 1
        self.register_buffer("mean", torch.full((1, 1, side, side), 1 / side**2))
        self.middle, self.slope = middle, slope

    def forward(self, images: Tensor) -> Tensor:
        dark = 1 - images.mean(dim=1, keepdim=True)
        seen: Tensor = functional.conv2d(dark, self.get_buffer("mean"), padding=REACH_PX)
        return (seen - self.middle) * self.slope

    def shape(self) -> dict[str, Any]:
        return {"middle": self.middle, "slope": self.slope}

    @classmethod
    def of_shape(cls, values: Mapping[str, Any]) -> Self:
        return cls(**values)
