"""Networks before any training: what a trained one has to beat."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from wsi_tower.models.network import Network
    from wsi_tower.models.record import NetworkShape

__all__ = ["untrained_network"]


def untrained_network(shape: NetworkShape, seed: int = 0) -> Network:
    """A network of a shape with random weights, in eval mode and without what describes no tile.

    Args:
        shape: of the trained one.
        seed: decides the weights; torch's own generator is left as it was.

    Raises:
        EncoderError: this timm cannot build the encoder.
    """
    head = shape.head if shape.descriptor == "head" else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return replace(shape, head=head, decoder=None).build().eval()
