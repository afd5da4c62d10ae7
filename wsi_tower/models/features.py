"""What an encoder says of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Features"]


class Features(NamedTuple):
    """Features of a batch of B pictures."""

    pooled: Tensor
    """One vector a picture: (B, D)."""
    pyramid: tuple[Tensor, ...]
    """Feature maps from fine to coarse: (B, C_i, H_i, W_i) each."""
