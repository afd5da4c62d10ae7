"""`Embedder`: an encoder on a device, through which any number of tiles pass."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from wsi_tower.batch import unwatched
from wsi_tower.embeddings.reading import Reading, read_ahead
from wsi_tower.embeddings.tile_pixels import Preparation, side_for, stain_of_store
from wsi_tower.errors import EncoderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from wsi_tower.embeddings.cache import FeatureArray
    from wsi_tower.embeddings.encoders import TileEncoder
    from wsi_tower.embeddings.settings import EmbedSettings, ForwardSettings
    from wsi_tower.stain import StainReference
    from wsi_tower.tiles import TileStore

__all__ = ["Embedder"]

_IN_FLIGHT = 2
"""Batches that a GPU may have before it when their features are waited for."""


class Embedder:
    """Turns tiles into features; the same for a slide, a region or a picture."""

    def __init__(
        self,
        encoder: TileEncoder,
        settings: EmbedSettings,
        forward: ForwardSettings,
        *,
        device: torch.device | None = None,
        reference: StainReference | None = None,
    ) -> None:
        """Bring the encoder to its device.

        Args:
            encoder: whose features.
            settings: what is made.
            forward: batch and threads.
            device: where; None: the first of ``forward``.
            reference: what stain is brought to; with ``stain`` none, none.
        """
        self.encoder, self.settings, self.forward = encoder, settings, forward
        self.device = device or forward.devices()[0]
        self.reference = reference
        # Convolutions like pixels best whose colours lie together, as tiles come.
        module = encoder.module.to(self.device).to(memory_format=torch.channels_last)
        self.module: Callable[[Tensor], Tensor] = (
            torch.compile(module, dynamic=False) if forward.compile else module
        )

    def preparation_for(self, store: TileStore) -> Preparation:
        """What happens to the tiles of a store before the network.

        Raises:
            EncoderError: the encoder was trained at another resolution.
            StainError: the slide's stain cannot be told.
        """
        plan = store.plan
        side_px = side_for(self.encoder, self.settings, plan.tile_px, plan.effective_mpp)
        if self.reference is None:
            return Preparation(side_px)
        own, white = stain_of_store(store, self.reference.method, self.settings.seed)
        return Preparation(side_px, self.reference, own, white)

    def of_store(
        self, store: TileStore, progress: Callable[[int, int], None] = unwatched
    ) -> FeatureArray:
        """Features of every tile of a store: (N, D) in the settings' type.

        Raises:
            EncoderError: the encoder cannot take the tiles, or gives no finite number for one.
            StainError: the slide's stain cannot be told.
            CorruptStoreError: a tile cannot be read.
            SlideError: the store has no pixels and the slide cannot be read.
        """
        preparation, pixels, total = self.preparation_for(store), store.pixels, len(store)

        def read(first: int, into: NDArray[np.uint8]) -> None:
            into[:] = preparation.prepared(pixels[first : first + len(into)])

        features: FeatureArray | None = None
        done = 0
        with closing(read_ahead(self._reading(total, preparation.side_px), read)) as batches:
            for vectors in self._vectors_of(batches):
                if features is None:
                    features = np.empty((total, vectors.shape[1]), self.settings.dtype)
                features[done : done + len(vectors)] = self._stored(vectors, done)
                done += len(vectors)
                progress(done, total)
        assert features is not None, "a store has tiles"
        return features

    def of_pictures(self, pictures: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
        """Features of square pictures of no known slide, such as crops: float32 (B, D).

        Where stain is normalised, it is fitted on the pictures themselves.

        Args:
            pictures: uint8 (B, T, T, 3), red first.
            mpp: their resolution in µm/px.

        Raises:
            EncoderError: as in `of_store`.
            StainError: their stain cannot be told.
        """
        side_px = side_for(self.encoder, self.settings, pictures.shape[1], mpp)
        preparation = Preparation.of_pictures(pictures, side_px, self.reference)

        def read(first: int, into: NDArray[np.uint8]) -> None:
            into[:] = preparation.prepared(pictures[first : first + len(into)])

        with closing(read_ahead(self._reading(len(pictures), side_px), read)) as batches:
            return np.concatenate([self._finite(one, 0) for one in self._vectors_of(batches)])

    def _reading(self, tiles: int, side_px: int) -> Reading:
        return Reading(
            tiles,
            side_px,
            self.forward.batch_size,
            self.forward.reading_threads(),
            pinned=self.device.type == "cuda",
        )

    def _vectors_of(self, batches: Iterable[Tensor]) -> Iterator[NDArray[np.float32]]:
        """Features of batches, each asked for while the device has the next before it."""
        in_flight: deque[Tensor] = deque()
        for batch in batches:
            in_flight.append(self._forwarded(batch))
            if len(in_flight) >= (_IN_FLIGHT if self.device.type == "cuda" else 1):
                yield in_flight.popleft().cpu().numpy()
        while in_flight:
            yield in_flight.popleft().cpu().numpy()

    @torch.inference_mode()
    def _forwarded(self, pixels: Tensor) -> Tensor:
        """Features of pixels (B, side, side, 3), float32 (B, D) on the device."""
        count = len(pixels)
        if self.forward.compile and count < self.forward.batch_size:
            # A batch of another size would be compiled anew.
            pixels = functional.pad(pixels, (0, 0) * 3 + (0, self.forward.batch_size - count))
        images = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        images = images.to(torch.float32).div_(255)
        is_half = self.settings.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_half):
            vectors = self.module(images)
        return vectors[:count].float()

    def _stored(self, vectors: NDArray[np.float32], first: int) -> FeatureArray:
        """Features as they are stored, known to be finite.

        Raises:
            EncoderError: one is not.
        """
        self._finite(vectors, first)
        if self.settings.dtype == "float32":
            return vectors
        with np.errstate(over="ignore"):
            half = vectors.astype(np.float16)
        if not np.isfinite(half).all():
            largest = float(np.abs(vectors).max())
            raise EncoderError(
                f"features of encoder {self.encoder.encoder_id} reach {largest:.3g}, more than "
                f"float16 holds (65504); store them with --dtype float32"
            )
        return half

    def _finite(self, vectors: NDArray[np.float32], first: int) -> NDArray[np.float32]:
        unsound = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(unsound):
            raise EncoderError(
                f"encoder {self.encoder.encoder_id} gives no finite numbers for tile row "
                f"{first + unsound[0]}; try --precision fp32, or train it again"
            )
        return vectors
