"""Classes of tiles: a head on descriptors, calibrated, its maps, and curves over few labels."""

from wsi_tower.classify.curve import CurveSettings, curve_split, linear_curve
from wsi_tower.classify.drawing import drawn_tiles
from wsi_tower.classify.heads import calibrate, fitted_head
from wsi_tower.classify.labels import UNLABELLED, TileLabels, labels_of_fractions, tile_labels
from wsi_tower.classify.learning import (
    LabelledTiles,
    LearntClassifier,
    PartScores,
    labelled_tiles,
    learn_classifier,
    origin_of,
)
from wsi_tower.classify.settings import (
    Calibration,
    ClassifySettings,
    ClassRules,
    HeadKind,
    LearnSettings,
    SplitSettings,
)
from wsi_tower.classify.slides import (
    STEPS,
    ClassifyJob,
    ClassifyRecipe,
    classified_tiles,
    classify_slide,
    probability_image,
)
from wsi_tower.classify.split import Part, Split, split_cohort, split_patients

__all__ = [
    "STEPS",
    "UNLABELLED",
    "Calibration",
    "ClassRules",
    "ClassifyJob",
    "ClassifyRecipe",
    "ClassifySettings",
    "CurveSettings",
    "HeadKind",
    "LabelledTiles",
    "LearnSettings",
    "LearntClassifier",
    "Part",
    "PartScores",
    "Split",
    "SplitSettings",
    "TileLabels",
    "calibrate",
    "classified_tiles",
    "classify_slide",
    "curve_split",
    "drawn_tiles",
    "fitted_head",
    "labelled_tiles",
    "labels_of_fractions",
    "learn_classifier",
    "linear_curve",
    "origin_of",
    "probability_image",
    "split_cohort",
    "split_patients",
    "tile_labels",
]
