"""Training on tiles: feed, loop, augmentation, checkpoints; knows no method by name."""

from wsi_tower.training.objective import (
    Loss,
    Objective,
    Partner,
    Progress,
    TensorDraws,
    TileBatch,
    ViewPlan,
)

__all__ = ["Loss", "Objective", "Partner", "Progress", "TensorDraws", "TileBatch", "ViewPlan"]
