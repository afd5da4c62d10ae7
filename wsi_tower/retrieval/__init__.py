"""Retrieval: an index of a cohort's tiles, and what looks like this one."""

from wsi_tower.retrieval.building import IndexChange, build_index, verify_index
from wsi_tower.retrieval.choice import IndexChoice
from wsi_tower.retrieval.record import IndexedSlide, IndexRecord
from wsi_tower.retrieval.searching import Nearest, nearest
from wsi_tower.retrieval.settings import IndexKind, IndexSettings, Reduction, SearchSettings
from wsi_tower.retrieval.tile_index import TileIndex

__all__ = [
    "IndexChange",
    "IndexChoice",
    "IndexKind",
    "IndexRecord",
    "IndexSettings",
    "IndexedSlide",
    "Nearest",
    "Reduction",
    "SearchSettings",
    "TileIndex",
    "build_index",
    "nearest",
    "verify_index",
]
