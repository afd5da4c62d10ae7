"""Random numbers that depend on what they are for, never on who asks or in which order.

A draw is keyed by (seed, stream, step, sample): the same for any number of workers, threads and
ranks, and for a run that was stopped and resumed. Each key starts a SplitMix64 sequence (Steele,
Lea and Flood 2014, doi 10.1145/2660193.2660195), computed for a whole batch at once.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Draws"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MANTISSA_BITS = 53


class Draws:
    """The draws of one step for a batch of samples."""

    def __init__(self, seed: int, step: int, samples: ArrayLike) -> None:
        """``samples`` number the batch: any distinct integers, in any order; (B,)."""
        self.seed = seed
        self.step = step
        self.samples: NDArray[np.int64] = np.asarray(samples, np.int64)

    def __len__(self) -> int:
        return len(self.samples)

    def bits(self, stream: str, count: int) -> NDArray[np.uint64]:
        """Random 64-bit words: (B, count). ``stream`` names what they are for."""
        step = np.array([self.step], np.uint64)  # an array, since scalars warn when they wrap
        keys = _mixed(_stream_key(self.seed, stream) + step * _GOLDEN)
        keys = _mixed(keys + self.samples.astype(np.uint64) * _GOLDEN)
        places = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
        return _mixed(keys[:, None] + places)

    def uniform(self, stream: str, *shape: int) -> NDArray[np.float64]:
        """Numbers in [0, 1), uniform on the grid of 2⁻⁵³: (B, *shape)."""
        words = self.bits(stream, math.prod(shape)) >> np.uint64(64 - _MANTISSA_BITS)
        values = words.astype(np.float64) * 2.0**-_MANTISSA_BITS
        return values.reshape(len(self), *shape)

    def normal(self, stream: str, *shape: int) -> NDArray[np.float64]:
        """Standard normal numbers, by Box and Muller's transform: (B, *shape)."""
        radius, angle = np.moveaxis(self.uniform(stream, 2, *shape), 1, 0)
        values: NDArray[np.float64] = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)
        return values

    def below(self, stream: str, bounds: ArrayLike) -> NDArray[np.int64]:
        """An integer from 0 up to, not with, each sample's bound: (B,).

        Every integer is equally likely to within bound × 2⁻⁵³.
        """
        chosen: NDArray[np.int64] = (self.uniform(stream) * np.asarray(bounds)).astype(np.int64)
        return chosen


def _stream_key(seed: int, stream: str) -> NDArray[np.uint64]:
    key = blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
    return np.frombuffer(key, "<u8")


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function; unsigned arithmetic wraps."""
    words = (words ^ (words >> np.uint64(30))) * _MIX_1
    words = (words ^ (words >> np.uint64(27))) * _MIX_2
    return words ^ (words >> np.uint64(31))
