"""Embeddings: tiles through an encoder, kept a file a slide."""

from wsi_tower.embeddings.cache import (
    CacheContents,
    EmbeddingCache,
    FeatureArray,
    open_cache,
    write_cache,
)
from wsi_tower.embeddings.slide import CachedSlide

__all__ = [
    "CacheContents",
    "CachedSlide",
    "EmbeddingCache",
    "FeatureArray",
    "open_cache",
    "write_cache",
]
