"""Retrieval: an index of a cohort's tiles, and what looks like this one."""

from wsi_tower.retrieval.answering import Answer, Hit, SlideHit, answer, answer_slides
from wsi_tower.retrieval.asking import AskedTile, Question, refined, slide_cache
from wsi_tower.retrieval.building import IndexChange, build_index, verify_index
from wsi_tower.retrieval.choice import IndexChoice
from wsi_tower.retrieval.elsewhere import search_elsewhere
from wsi_tower.retrieval.exports import hits_csv, hits_geojson
from wsi_tower.retrieval.query_settings import QuerySettings
from wsi_tower.retrieval.questions import (
    Asking,
    parsed_example,
    parsed_position_um,
    question_of,
)
from wsi_tower.retrieval.record import IndexedSlide, IndexRecord
from wsi_tower.retrieval.searching import Nearest, nearest
from wsi_tower.retrieval.settings import IndexKind, IndexSettings, Reduction, SearchSettings
from wsi_tower.retrieval.similarity_map import SimilarityMap, similarity_map
from wsi_tower.retrieval.tile_index import TileIndex

__all__ = [
    "Answer",
    "AskedTile",
    "Asking",
    "Hit",
    "IndexChange",
    "IndexChoice",
    "IndexKind",
    "IndexRecord",
    "IndexSettings",
    "IndexedSlide",
    "Nearest",
    "QuerySettings",
    "Question",
    "Reduction",
    "SearchSettings",
    "SimilarityMap",
    "SlideHit",
    "TileIndex",
    "answer",
    "answer_slides",
    "build_index",
    "hits_csv",
    "hits_geojson",
    "nearest",
    "parsed_example",
    "parsed_position_um",
    "question_of",
    "refined",
    "search_elsewhere",
    "similarity_map",
    "slide_cache",
    "verify_index",
]
