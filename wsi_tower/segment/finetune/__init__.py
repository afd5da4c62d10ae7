"""Fine-tuning: a U-Net from few labels, begun with an encoder that needed none."""

from wsi_tower.segment.finetune.fitting import FinetuneWatcher, Fitted, fit
from wsi_tower.segment.finetune.objective import MaskObjective, dice_and_cross_entropy
from wsi_tower.segment.finetune.pictures import LabelledPicture, labelled_pictures
from wsi_tower.segment.finetune.seeing import mean_dice, picture_probabilities
from wsi_tower.segment.finetune.settings import (
    AUGMENT_DEFAULTS,
    TRAINING_DEFAULTS,
    FinetuneSettings,
)
from wsi_tower.segment.finetune.slides import annotated_tiles
from wsi_tower.segment.finetune.split import LabelledSplit, split_by_seed
from wsi_tower.segment.finetune.start import Start, start_of
from wsi_tower.segment.finetune.tuning import Finetuned, finetune_unet

__all__ = [
    "AUGMENT_DEFAULTS",
    "TRAINING_DEFAULTS",
    "FinetuneSettings",
    "FinetuneWatcher",
    "Finetuned",
    "Fitted",
    "LabelledPicture",
    "LabelledSplit",
    "MaskObjective",
    "Start",
    "annotated_tiles",
    "dice_and_cross_entropy",
    "finetune_unet",
    "fit",
    "labelled_pictures",
    "mean_dice",
    "picture_probabilities",
    "split_by_seed",
    "start_of",
]
