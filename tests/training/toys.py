"""A set of pictures that anything can learn, a network small enough for it, and batches of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from wsi_tower.draws import Draws
from wsi_tower.models import Encoder, Features
from wsi_tower.training import TensorDraws, TileBatch

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from wsi_tower.training import Partner, ViewPlan

KINDS = 6
TILES = 48
"""Tile n is of kind n modulo `KINDS`; tiles of one kind are near, of two kinds distant."""


class ToyEncoder(Encoder):
    """Two convolutions with BatchNorm: maps of stride 2 and 4, and a pooled feature of 16."""

    architecture = "toy"
    width = 16
    pyramid_channels = (8, 16)
    pyramid_strides = (2, 4)

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.fine = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.coarse = nn.Sequential(
            nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )

    def forward(self, images: Tensor) -> Features:
        fine = self.fine((images - 0.5) / 0.25)
        coarse = self.coarse(fine)
        return Features(coarse.mean(dim=(2, 3)), (fine, coarse))


def toy_tiles(channels: int = 3, side_px: int = 32) -> np.ndarray:
    """Stripes, whose colour, pitch and direction tell the kind: float32 (TILES, C, side, side)."""
    numbers = np.arange(TILES)
    kind = numbers % KINDS
    generator = np.random.default_rng(4)
    colour = generator.uniform(0.2, 0.8, (KINDS, channels))[kind]
    angle, pitch = (np.pi * kind / KINDS)[:, None, None], (3.0 + kind)[:, None, None]
    y, x = np.mgrid[:side_px, :side_px]
    phase = generator.uniform(0, 2 * np.pi, TILES)[:, None, None]
    waves = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / pitch + phase)
    tiles = colour[:, :, None, None] + 0.2 * waves[:, None]
    return np.asarray(np.clip(tiles, 0, 1), np.float32)


def toy_batch(
    plan: ViewPlan, step: int, *, samples: int = 12, channels: int = 3, side_px: int = 32
) -> tuple[TileBatch, TensorDraws]:
    """The batch of a step and the draws that belong to it, as the feed would make them."""
    generator = np.random.default_rng(step)
    tiles = toy_tiles(channels, side_px)
    anchors = generator.permutation(TILES)[:samples]
    is_near = generator.random(samples) < 0.5
    partners = _partners(plan.partner, anchors, is_near, generator)

    def view(numbers: np.ndarray) -> Tensor:
        noise = generator.normal(0, 0.03, (samples, channels, side_px, side_px))
        return torch.from_numpy(np.clip(tiles[numbers] + noise, 0, 1).astype(np.float32))

    local_px = side_px // 2
    batch = TileBatch(
        views=tuple(view(partners if place else anchors) for place in range(plan.views)),
        anchors=torch.from_numpy(anchors),
        local_views=tuple(
            view(anchors)[..., :local_px, :local_px].contiguous() for _ in range(plan.local_views)
        ),
        is_near=torch.from_numpy(is_near) if plan.partner == "near-or-distant" else None,
    )
    return batch, TensorDraws(Draws(0, step, anchors), torch.device("cpu"))


def _partners(
    partner: Partner, anchors: np.ndarray, is_near: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    if partner == "same":
        return anchors
    near = (anchors + KINDS * generator.integers(1, TILES // KINDS, len(anchors))) % TILES
    distant = (anchors + 1 + generator.integers(0, KINDS - 1, len(anchors))) % TILES
    if partner == "near-or-distant":
        return np.where(is_near, near, distant)
    return near if partner == "near" else distant


class ToyPictures:
    """The toy tiles as a source of pictures, with noise of their own and no disk."""

    def __init__(self, count: int = TILES, channels: int = 3, side_px: int = 32) -> None:
        self.side_px, self.channels = side_px, channels
        tiles = toy_tiles(channels, side_px)[np.arange(count) % TILES]
        noise = np.random.default_rng(1).normal(0, 0.02, tiles.shape)
        pixels = np.clip(tiles + noise, 0, 1) * 255
        self.pixels = np.ascontiguousarray(pixels.astype(np.uint8).transpose(0, 2, 3, 1))

    def __len__(self) -> int:
        return len(self.pixels)

    def read_into(self, numbers: np.ndarray, pixels: np.ndarray) -> None:
        pixels[:] = self.pixels[numbers]


class ToyPartners:
    """Tiles of one kind are near, those of another distant; the last tile has no partner."""

    def __init__(self, count: int = TILES) -> None:
        self.count = count

    def has_partner(self, kind: Literal["near", "distant"]) -> np.ndarray:
        del kind
        return np.arange(self.count) < self.count - 1

    def partners(
        self, kind: Literal["near", "distant"], anchors: ArrayLike, draws: Draws
    ) -> np.ndarray:
        anchors = np.asarray(anchors)
        assert self.has_partner(kind)[anchors].all()
        if kind == "near":
            steps = KINDS * (1 + draws.below("near", self.count // KINDS - 1))
        else:
            steps = 1 + draws.below("distant", KINDS - 1)
        return np.asarray((anchors + steps) % self.count, np.int64)
