"""A run on toys, as a function and as a process that may be killed: ``toy_run.py FOLDER STEPS``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.training.test_contract import AgreeingViews
from tests.training.toys import TILES, ToyEncoder, ToyPartners, ToyPictures
from wsi_tower.models import Encoder, Network
from wsi_tower.training import (
    AugmentSettings,
    Objective,
    Progress,
    Run,
    TileFeed,
    TrainResult,
    TrainSettings,
    ViewRecipe,
    Watcher,
    train,
)


class ToyObjective(AgreeingViews):
    """With a layer that draws from torch's own generator, as encoders may have."""

    def network(self, encoder: Encoder) -> Network:
        head = nn.Sequential(nn.Dropout(0.2), nn.Linear(encoder.width, 8))
        return Network(encoder, head=head, descriptor="head")


def toy_train(
    folder: Path,
    *,
    objective: Objective | None = None,
    watcher: Watcher | None = None,
    resume: bool = False,
    initial: int = 0,
    run: dict[str, Any] | None = None,
    **settings: Any,
) -> tuple[TrainResult, Network]:
    """Train a toy network for a few steps; ``initial`` seeds its first weights."""
    values: dict[str, Any] = {"steps": 12, "batch_size": 8, "device": "cpu", "threads": 2}
    values |= {"checkpoint_every": 5, "log_every": 1, "watch_every": 4, "warmup_steps": 3}
    chosen = TrainSettings(**(values | settings))
    objective = objective or ToyObjective()
    torch.manual_seed(initial)
    network = objective.network(ToyEncoder())
    augment = AugmentSettings(crop_px=24, stain=0.05, brightness=0.1, hue=0.05, rotate_deg=10)
    feed = TileFeed(
        ToyPictures(),
        np.arange(TILES - 1),
        ViewRecipe(objective.views(), augment),
        chosen,
        partners=ToyPartners(),
    )
    which = Run(folder, "toy", resume=resume, **(run or {}))
    return train(objective, network, feed, chosen, which, watcher), network


class Telling(Watcher):
    """Prints every step as it is done, and leaves time to be killed between two."""

    def stepped(self, progress: Progress, loss: float) -> None:
        del loss
        print(progress.step, flush=True)  # noqa: T201
        time.sleep(0.02)


if __name__ == "__main__":
    torch.set_num_threads(1)
    toy_train(Path(sys.argv[1]), resume=True, watcher=Telling(), steps=int(sys.argv[2]))
