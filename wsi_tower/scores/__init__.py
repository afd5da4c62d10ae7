"""Scores of encoders: pure functions on arrays, each with an interval over slides."""

from wsi_tower.scores.addr import Addr, AddrSettings, SlideAddr, SlidePairs, addr, draw_pairs
from wsi_tower.scores.bootstrap import BootstrapSettings, Interval, interval_over_slides
from wsi_tower.scores.labelled import LabelledSlide, LabelRules
from wsi_tower.scores.nearest import Neighbours, check_finite, nearest_elsewhere
from wsi_tower.scores.tumour_neighbours import (
    NeighbourAccuracy,
    NeighbourSettings,
    tumour_neighbours,
)
from wsi_tower.scores.tumour_retrieval import (
    Retrieval,
    RetrievalSettings,
    Score,
    SlideRetrieval,
    tumour_retrieval,
)

__all__ = [
    "Addr",
    "AddrSettings",
    "BootstrapSettings",
    "Interval",
    "LabelRules",
    "LabelledSlide",
    "NeighbourAccuracy",
    "NeighbourSettings",
    "Neighbours",
    "Retrieval",
    "RetrievalSettings",
    "Score",
    "SlideAddr",
    "SlidePairs",
    "SlideRetrieval",
    "addr",
    "check_finite",
    "draw_pairs",
    "interval_over_slides",
    "nearest_elsewhere",
    "tumour_neighbours",
    "tumour_retrieval",
]
