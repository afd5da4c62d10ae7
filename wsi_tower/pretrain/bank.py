"""A memory bank: a descriptor of every tile, as the network last said it.

Wu, Xiong, Yu and Lin 2018 (arXiv 1805.01978), section 3.1. An entry is read at every step and moved
when its tile has been seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsi_tower.draws import Draws
from wsi_tower.errors import CheckpointError
from wsi_tower.pretrain.noise import words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BankPlace", "MemoryBank"]

BankPlace: TypeAlias = Literal["device", "host"]
"""``device``: where the network is. ``host``: in main memory, and only the entries that a step
needs travel."""

_BLOCK = 8192
"""Entries that are made, or compared, at a time."""
_AT_ONCE = 1 << 22
"""Numbers that are float32 at a time: 16 MiB."""
_PER_WORD = 4
"""Random numbers of 16 bits in a word of 64."""


class MemoryBank(nn.Module):
    """Entries of length 1 in float16, by tile number. 256 bytes a tile at 128 numbers."""

    entries: Tensor
    """(N, E) float16."""

    def __init__(
        self, tiles: int, length: int, seed: int, *, momentum: float, place: BankPlace
    ) -> None:
        """Entries begin as random directions, each by seed and tile number.

        Args:
            tiles: N.
            length: E.
            seed: of the first entries.
            momentum: part of an entry that a move leaves as it is.
            place: where entries lie.
        """
        super().__init__()
        self.register_buffer("entries", _random_directions(tiles, length, seed))
        self.register_load_state_dict_pre_hook(_check_fits)  # type: ignore[no-untyped-call]
        self._momentum, self._stays = momentum, place == "host"

    def __len__(self) -> int:
        return len(self.entries)

    def of(self, numbers: Tensor) -> Tensor:
        """Entries of tiles: float32 (…, E), on the device of ``numbers``: int64 (…)."""
        return self._found(numbers).float()

    def scores(self, described: Tensor, numbers: Tensor) -> Tensor:
        """Products v · f of descriptors f with entries of their own: float32 (B, m).

        Args:
            described: f, float32 (B, E).
            numbers: whose entries: int64 (B, m).
        """
        scores: Tensor = _Scores.apply(described, self._found(numbers))
        return scores

    @torch.no_grad()
    def move(self, numbers: Tensor, described: Tensor) -> None:
        """Move entries towards what their tiles are described by now.

        v ← (m · v + (1 − m) · f) / ‖m · v + (1 − m) · f‖, as the released code has it.

        Args:
            numbers: of the tiles, no two alike: int64 (B,).
            described: f, of length 1: (B, E).
        """
        mixed = torch.lerp(described.float(), self.of(numbers), self._momentum)
        moved = functional.normalize(mixed, dim=1).to(self.entries)
        self.entries.index_copy_(0, numbers.to(self.entries.device), moved)

    def log_partition(self, described: Tensor, temperature: float) -> Tensor:
        """The logarithm of Σ exp(v · f / τ) over all entries v.

        Args:
            described: f, float32 (B, E).
            temperature: τ.

        Returns:
            (B,). It holds a block of the bank at a time, whatever is as large as it is.
        """
        partition: Tensor = _LogPartition.apply(described, self, temperature)
        return partition

    def blocks(self, device: torch.device) -> Iterator[Tensor]:
        """All entries, a block at a time: float32 (≤ 8192, E) on a device."""
        for first in range(0, len(self), _BLOCK):
            yield self.entries[first : first + _BLOCK].to(device).float()

    def _found(self, numbers: Tensor) -> Tensor:
        """Entries of tiles as they are kept, on the device of their numbers."""
        entries, device = self.entries, numbers.device
        # Only pinned memory reaches a GPU without a copy in between.
        is_paged = device.type == "cuda" and entries.device.type == "cpu"
        found = torch.empty(
            (numbers.numel(), entries.shape[1]),
            dtype=entries.dtype,
            device=entries.device,
            pin_memory=is_paged,
        )
        torch.index_select(entries, 0, numbers.flatten().to(entries.device), out=found)
        return found.to(device, non_blocking=is_paged).view(*numbers.shape, -1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # What moves a module to a device, or to another type, does it by this.
        return self if self._stays else super()._apply(fn, recurse)  # type: ignore[no-untyped-call]


class _Scores(torch.autograd.Function):
    """Some samples at a time, so that no copy in float32 of all entries is ever made."""

    @staticmethod
    def forward(ctx: Any, described: Tensor, entries: Tensor) -> Tensor:
        ctx.save_for_backward(entries)
        # Autocast would round cosines to 8 bits, which a temperature then multiplies by 14.
        with torch.autocast(described.device.type, enabled=False):
            return torch.cat(
                [
                    torch.bmm(some.float(), own[:, :, None]).squeeze(2)
                    for some, own in _in_portions(entries, described)
                ]
            )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (entries,) = gradients, ctx.saved_tensors
        pulls = [
            torch.bmm(own[:, None], some.float()).squeeze(1)
            for some, own in _in_portions(entries, gradient)
        ]
        return torch.cat(pulls), None


class _LogPartition(torch.autograd.Function):
    """Sum and gradient in one pass over the bank, whose scores would not fit into memory."""

    @staticmethod
    def forward(ctx: Any, described: Tensor, bank: MemoryBank, temperature: float) -> Tensor:
        top = described.new_full((len(described), 1), -torch.inf)
        total, pull = torch.zeros_like(top), torch.zeros_like(described)
        with torch.autocast(described.device.type, enabled=False):
            for block in bank.blocks(described.device):
                scores = described @ block.T / temperature
                new_top = torch.maximum(top, scores.amax(dim=1, keepdim=True))
                shrunk, weights = torch.exp(top - new_top), torch.exp(scores - new_top)
                total = total * shrunk + weights.sum(dim=1, keepdim=True)
                pull = pull * shrunk + weights @ block
                top = new_top
        ctx.save_for_backward(pull / total / temperature)
        return (top + total.log()).squeeze(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (slope,) = gradients, ctx.saved_tensors
        return gradient[:, None] * slope, None, None


def _in_portions(entries: Tensor, samples: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Entries (B, m, E) and what belongs to the samples (B, …), a few samples at a time."""
    count = max(1, _AT_ONCE // entries[0].numel())
    for first in range(0, len(entries), count):
        yield entries[first : first + count], samples[first : first + count]


def _random_directions(tiles: int, length: int, seed: int) -> Tensor:
    """Numbers uniform around 0, as the released code begins with, brought to length 1."""
    directions = torch.empty(tiles, length, dtype=torch.float16)
    (start,) = Draws(seed, 0, [0]).below("memory-bank", 1 << 53).tolist()
    for first in range(0, tiles, _BLOCK):
        block = directions[first : first + _BLOCK]
        keys = words(start + torch.arange(first, first + len(block)), 1)[:, 0]
        drawn = words(keys, -(-length // _PER_WORD)).view(torch.int16)[:, :length]
        block[:] = functional.normalize(drawn + 0.5, dim=1)
    return directions


def _check_fits(bank: nn.Module, state: dict[str, Tensor], prefix: str, *_others: object) -> None:
    assert isinstance(bank, MemoryBank)
    there, here = state[f"{prefix}entries"].shape, bank.entries.shape
    if there[0] != here[0]:
        raise CheckpointError(
            f"the checkpoint's memory bank has an entry for each of {there[0]:,} tiles, and there "
            f"are {here[0]:,}; resume with the tiles it was made with, or start under another name"
        )
