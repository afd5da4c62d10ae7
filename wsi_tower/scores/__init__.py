"""Scores of encoders: pure functions on arrays, each with an interval over slides."""

from wsi_tower.scores.addr import Addr, AddrSettings, SlideAddr, SlidePairs, addr, draw_pairs
from wsi_tower.scores.bootstrap import BootstrapSettings, Interval, interval_over_slides
from wsi_tower.scores.calibration import balanced_accuracy, expected_calibration_error
from wsi_tower.scores.cohort import (
    Choice,
    Cohort,
    check_same_tiles,
    labelled_slides,
    open_cohort,
    tumour_fractions,
)
from wsi_tower.scores.evaluation import (
    TumourScores,
    TumourSettings,
    evaluate_addr,
    evaluate_tumour,
)
from wsi_tower.scores.floors import COLOUR, colour_floor, colour_statistics, floors_of, is_floor
from wsi_tower.scores.label_curve import LabelCurve, LabelPoint, annotations_saved
from wsi_tower.scores.labelled import LabelledSlide, LabelRules
from wsi_tower.scores.nearest import Neighbours, check_finite, nearest_elsewhere
from wsi_tower.scores.overlap import aggregated_jaccard, dice
from wsi_tower.scores.paired import (
    PairedDifference,
    mean_with_interval,
    paired_difference,
    signed_rank_p,
)
from wsi_tower.scores.projection import Projection, ProjectionMethod, projected
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
    "COLOUR",
    "Addr",
    "AddrSettings",
    "BootstrapSettings",
    "Choice",
    "Cohort",
    "Interval",
    "LabelCurve",
    "LabelPoint",
    "LabelRules",
    "LabelledSlide",
    "NeighbourAccuracy",
    "NeighbourSettings",
    "Neighbours",
    "PairedDifference",
    "Projection",
    "ProjectionMethod",
    "Retrieval",
    "RetrievalSettings",
    "Score",
    "SlideAddr",
    "SlidePairs",
    "SlideRetrieval",
    "TumourScores",
    "TumourSettings",
    "addr",
    "aggregated_jaccard",
    "annotations_saved",
    "balanced_accuracy",
    "check_finite",
    "check_same_tiles",
    "colour_floor",
    "colour_statistics",
    "dice",
    "draw_pairs",
    "evaluate_addr",
    "evaluate_tumour",
    "expected_calibration_error",
    "floors_of",
    "interval_over_slides",
    "is_floor",
    "labelled_slides",
    "mean_with_interval",
    "nearest_elsewhere",
    "open_cohort",
    "paired_difference",
    "projected",
    "signed_rank_p",
    "tumour_fractions",
    "tumour_neighbours",
    "tumour_retrieval",
]
