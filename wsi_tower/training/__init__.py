"""Training on tiles: feed, loop, augmentation, checkpoints; knows no method by name."""

from wsi_tower.training.agreement import all_or_none, by_first, check_same
from wsi_tower.training.augment import AugmentSettings, augmented, augmented_with_masks
from wsi_tower.training.checkpoint import Checkpoint, Checkpoints
from wsi_tower.training.collapse import Probe, Watch, distance_gap, effective_rank, watched
from wsi_tower.training.colour import haematoxylin
from wsi_tower.training.feed import FedStep, TileFeed, ViewRecipe
from wsi_tower.training.folder import FolderPictures
from wsi_tower.training.interrupt import put_off_interrupts
from wsi_tower.training.joining import joined_ranks
from wsi_tower.training.log import RunLog
from wsi_tower.training.loop import Run, TrainResult, train
from wsi_tower.training.objective import (
    Loss,
    Objective,
    Partner,
    Progress,
    TensorDraws,
    TileBatch,
    ViewPlan,
)
from wsi_tower.training.order import PartnerSource, Share
from wsi_tower.training.pictures import PictureSource, StorePictures
from wsi_tower.training.ranks import Ranks, gathered, mean_over_ranks
from wsi_tower.training.reporting import StepReport, Watcher
from wsi_tower.training.schedule import learning_rate, weight_decay
from wsi_tower.training.settings import DeviceName, OptimiserName, Precision, TrainSettings
from wsi_tower.training.trainee import Trainee

__all__ = [
    "AugmentSettings",
    "Checkpoint",
    "Checkpoints",
    "DeviceName",
    "FedStep",
    "FolderPictures",
    "Loss",
    "Objective",
    "OptimiserName",
    "Partner",
    "PartnerSource",
    "PictureSource",
    "Precision",
    "Probe",
    "Progress",
    "Ranks",
    "Run",
    "RunLog",
    "Share",
    "StepReport",
    "StorePictures",
    "TensorDraws",
    "TileBatch",
    "TileFeed",
    "TrainResult",
    "TrainSettings",
    "Trainee",
    "ViewPlan",
    "ViewRecipe",
    "Watch",
    "Watcher",
    "all_or_none",
    "augmented",
    "augmented_with_masks",
    "by_first",
    "check_same",
    "distance_gap",
    "effective_rank",
    "gathered",
    "haematoxylin",
    "joined_ranks",
    "learning_rate",
    "mean_over_ranks",
    "put_off_interrupts",
    "train",
    "watched",
    "weight_decay",
]
