"""What happens to a slide's tiles between their store and the network: stain, then size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.draws import Draws
from wsi_tower.errors import EncoderError
from wsi_tower.geometry import LevelSize
from wsi_tower.slides import resampled
from wsi_tower.stain import DEFAULT_WHITE, StainReference, fitted_stain, white_level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.embeddings.encoders import TileEncoder
    from wsi_tower.embeddings.settings import EmbedSettings
    from wsi_tower.stain import StainMethod, StainStatistics, White
    from wsi_tower.tiles import TilePixels, TileStore

__all__ = ["Preparation", "side_for", "stain_of_store"]

_LIKE_MPP = 0.1
"""Relative difference of resolutions that count as one, as in training."""
_FITTED_TILES = 200
_FITTED_PIXELS = 1 << 22
"""Pixels that stain is fitted on: percentiles change no more beyond."""


def side_for(encoder: TileEncoder, settings: EmbedSettings, tile_px: int, tile_mpp: float) -> int:
    """Side that tiles of a store are given to the network with.

    Raises:
        EncoderError: the encoder was trained at another resolution.
    """
    ratio = 1.0 if encoder.mpp is None else tile_mpp / encoder.mpp
    if settings.input_px is not None:
        side = settings.input_px
    elif settings.resample and abs(ratio - 1) > _LIKE_MPP:
        side = max(1, round(tile_px * ratio))
    else:
        side = encoder.wanted_px or tile_px
    made = tile_mpp * tile_px / side
    if encoder.mpp is not None and abs(made / encoder.mpp - 1) > _LIKE_MPP:
        resized = f", {made:.3g} when resized to {side} px," if side != tile_px else ""
        raise EncoderError(
            f"encoder {encoder.encoder_id} was trained at {encoder.mpp:.4g} µm/px and these tiles "
            f"of {tile_px} px have {tile_mpp:.4g}{resized} so their structures have another size; "
            f"tile again with --mpp {encoder.mpp:.4g}, or let --resample resize them"
        )
    return side


@dataclass(frozen=True)
class Preparation:
    """What is done to tiles before the network sees them."""

    side_px: int
    """Side that they get."""
    reference: StainReference | None = None
    """What their stain is brought to; None leaves it."""
    own_stain: StainStatistics | None = None
    """The slide's own stain."""
    white: White = DEFAULT_WHITE
    """Grey levels of the slide's bare glass."""

    @classmethod
    def of_pictures(
        cls, pictures: NDArray[np.uint8], side_px: int, reference: StainReference | None
    ) -> Preparation:
        """For pictures (B, H, W, 3) of no known slide: stain is fitted on themselves.

        Raises:
            StainError: it cannot be told from them.
        """
        if reference is None:
            return cls(side_px)
        white = white_level(pictures.reshape(-1, *pictures.shape[2:]))
        return cls(side_px, reference, fitted_stain(reference.method, pictures, white), white)

    def prepared(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Tiles (B, T, T, 3) as the network takes them: (B, side, side, 3)."""
        if self.reference is not None and self.own_stain is not None:
            tiles = self.reference.normalised(tiles, self.own_stain, self.white)
        if tiles.shape[1:3] == (self.side_px, self.side_px):
            return tiles
        size = LevelSize(self.side_px, self.side_px)
        return np.stack([resampled(tile, size) for tile in tiles])


def stain_of_store(
    store: TileStore, method: StainMethod, seed: int = 0
) -> tuple[StainStatistics, White]:
    """A slide's stain, fitted on the tissue of up to 200 of its tiles, and its white.

    Raises:
        StainError: it cannot be told from them.
        CorruptStoreError: a tile cannot be read.
        SlideError: the store has no pixels and the slide cannot be read.
    """
    rows = np.arange(len(store))
    keys = Draws(seed, 0, rows).bits("stain", 1)[:, 0]
    chosen = np.sort(np.argsort(keys, kind="stable")[:_FITTED_TILES])
    tiles = _thinned(store.pixels, chosen)
    white = white_level(store.thumbnail.rgb)
    return fitted_stain(method, tiles, white), white


def _thinned(pixels: TilePixels, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Every so many pixels of the tiles, so that memory stays bounded: (P, 3)."""
    every = max(1, int(np.sqrt(len(rows) * pixels.shape[1] ** 2 / _FITTED_PIXELS)))
    return np.concatenate([pixels[row][::every, ::every].reshape(-1, 3) for row in rows.tolist()])
