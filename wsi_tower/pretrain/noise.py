"""Random words by the million, made where they are needed: `wsi_tower.draws` spread by torch."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["numbers_below", "words"]


def _signed(word: int) -> int:
    return word - (1 << 64)


# Torch multiplies and adds words of 64 bits as signed ones, which wraps to the same bits.
_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def words(keys: Tensor, count: int) -> Tensor:
    """The first words of the SplitMix64 sequence of each key: int64 (B, count).

    Steele, Lea and Flood 2014, doi 10.1145/2660193.2660195. A word depends on its key and its
    place alone.

    Args:
        keys: int64 (B,), on the device that the words are wanted on.
        count: words of each.
    """
    places = torch.arange(1, count + 1, device=keys.device) * _GOLDEN
    mixed = keys[:, None] + places
    mixed = (mixed ^ _shifted(mixed, 30)) * _MIX_1
    mixed = (mixed ^ _shifted(mixed, 27)) * _MIX_2
    return mixed ^ _shifted(mixed, 31)


def numbers_below(keys: Tensor, count: int, bound: int) -> Tensor:
    """Integers from 0 up to, not with, ``bound``: int64 (B, count).

    Every integer is equally likely to within bound × 2⁻³². ``bound`` is below 2³¹.
    """
    return (_shifted(words(keys, count), 32) * bound) >> 32


def _shifted(mixed: Tensor, by: int) -> Tensor:
    """To the right, with zeros from the left."""
    return (mixed >> by) & ((1 << (64 - by)) - 1)
