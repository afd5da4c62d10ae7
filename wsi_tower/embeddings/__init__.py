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
    from wsi_tower.embeddings.embedding import (
        EmbedJob,
        Recipe,
        embed_slide,
        embedder_for,
        recipe_of,
    )
    from wsi_tower.embeddings.encoders import EncoderChoice, TileEncoder, load_tile_encoder
    from wsi_tower.embeddings.export import (
        ExportFormat,
        ExportJob,
        check_export_format,
        export_slide,
        write_bag_list,
    )
    from wsi_tower.embeddings.reading import Reading, read_ahead
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
    "ExportFormat",
    "ExportJob",
    "FeatureArray",
    "ForwardSettings",
    "Reading",
    "Recipe",
    "TileEncoder",
    "check_export_format",
    "embed_slide",
    "embedder_for",
    "export_slide",
    "load_tile_encoder",
    "open_cache",
    "read_ahead",
    "recipe_of",
    "stain_of_store",
    "write_bag_list",
    "write_cache",
]

_LATER = {
    "EmbedJob": "embedding",
    "EmbedSettings": "settings",
    "Embedder": "embedder",
    "EncoderChoice": "encoders",
    "ExportFormat": "export",
    "ExportJob": "export",
    "ForwardSettings": "settings",
    "Reading": "reading",
    "Recipe": "embedding",
    "TileEncoder": "encoders",
    "check_export_format": "export",
    "embed_slide": "embedding",
    "embedder_for": "embedding",
    "export_slide": "export",
    "load_tile_encoder": "encoders",
    "read_ahead": "reading",
    "recipe_of": "embedding",
    "stain_of_store": "tile_pixels",
    "write_bag_list": "export",
}
"""Names by the module that has them."""


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
