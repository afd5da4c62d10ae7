"""Segmentation: a model over whole slides, and what is written of the objects that it finds.

Whoever only reads segmentations waits for no torch: what needs it is imported when asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from wsi_tower.segment.fields import (
    ObjectCover,
    SegmentedField,
    object_cover,
    segmented_fields,
)
from wsi_tower.segment.objects import label_objects
from wsi_tower.segment.record import SegmentationRecord, export_path, read_segmentation
from wsi_tower.segment.scoring import ImageScore, MaskScores, ScoringSettings, score_masks

if TYPE_CHECKING:
    from wsi_tower.segment.finetune import (
        AUGMENT_DEFAULTS,
        TRAINING_DEFAULTS,
        Finetuned,
        FinetuneSettings,
        FinetuneWatcher,
        Fitted,
        LabelledPicture,
        LabelledSplit,
        finetune_unet,
        labelled_pictures,
        mean_dice,
        picture_probabilities,
    )
    from wsi_tower.segment.nuclei import (
        PATCH_CONTRAST,
        LearntNuclei,
        NucleiSettings,
        learn_nuclei,
    )
    from wsi_tower.segment.segmenting import SegmentJob, SegmentRecipe, segment_slide
    from wsi_tower.segment.settings import SegmentFormat, SegmentSettings

__all__ = [
    "AUGMENT_DEFAULTS",
    "PATCH_CONTRAST",
    "TRAINING_DEFAULTS",
    "FinetuneSettings",
    "FinetuneWatcher",
    "Finetuned",
    "Fitted",
    "ImageScore",
    "LabelledPicture",
    "LabelledSplit",
    "LearntNuclei",
    "MaskScores",
    "NucleiSettings",
    "ObjectCover",
    "ScoringSettings",
    "SegmentFormat",
    "SegmentJob",
    "SegmentRecipe",
    "SegmentSettings",
    "SegmentationRecord",
    "SegmentedField",
    "export_path",
    "finetune_unet",
    "label_objects",
    "labelled_pictures",
    "learn_nuclei",
    "mean_dice",
    "object_cover",
    "picture_probabilities",
    "read_segmentation",
    "score_masks",
    "segment_slide",
    "segmented_fields",
]

_LATER = {
    "AUGMENT_DEFAULTS": "finetune",
    "PATCH_CONTRAST": "nuclei",
    "TRAINING_DEFAULTS": "finetune",
    "FinetuneSettings": "finetune",
    "FinetuneWatcher": "finetune",
    "Finetuned": "finetune",
    "Fitted": "finetune",
    "LabelledPicture": "finetune",
    "LabelledSplit": "finetune",
    "LearntNuclei": "nuclei",
    "NucleiSettings": "nuclei",
    "SegmentFormat": "settings",
    "SegmentJob": "segmenting",
    "SegmentRecipe": "segmenting",
    "SegmentSettings": "settings",
    "finetune_unet": "finetune",
    "labelled_pictures": "finetune",
    "learn_nuclei": "nuclei",
    "mean_dice": "finetune",
    "picture_probabilities": "finetune",
    "segment_slide": "segmenting",
}
"""Names by the module that has them."""


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
