"""Embeddings: tiles through an encoder, kept a file a slide.

Whoever only reads caches waits for no torch: what needs it is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from wsi_tower.embeddings.cache import (
    CacheContents,
    EmbeddingCache,
    FeatureArray,
    open_cache,
    write_cache,
)
from wsi_tower.embeddings.slide import CachedSlide

if TYPE_CHECKING:
    from wsi_tower.embeddings.embedder import Embedder
    from wsi_tower.embeddings.embedding import EmbedJob, Recipe, embed_slide, embedder_for
    from wsi_tower.embeddings.encoders import EncoderChoice, TileEncoder, load_tile_encoder
    from wsi_tower.embeddings.settings import EmbedSettings, ForwardSettings
    from wsi_tower.embeddings.tile_pixels import stain_of_store

__all__ = [
    "CacheContents",
    "CachedSlide",
    "EmbedJob",
    "EmbedSettings",
    "Embedder",
    "EmbeddingCache",
    "EncoderChoice",
    "FeatureArray",
    "ForwardSettings",
    "Recipe",
    "TileEncoder",
    "embed_slide",
    "embedder_for",
    "load_tile_encoder",
    "open_cache",
    "stain_of_store",
    "write_cache",
]

_WITH_TORCH = {
    "EmbedJob": "embedding",
    "EmbedSettings": "settings",
    "Embedder": "embedder",
    "EncoderChoice": "encoders",
    "ForwardSettings": "settings",
    "Recipe": "embedding",
    "TileEncoder": "encoders",
    "embed_slide": "embedding",
    "embedder_for": "embedding",
    "load_tile_encoder": "encoders",
    "stain_of_store": "tile_pixels",
}
"""Names by the module that has them."""


def __getattr__(name: str) -> object:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)
