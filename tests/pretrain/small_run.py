"""A pre-training of seconds, as a function and as a process: ``small_run.py WORKSPACE``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from wsi_tower.pairs import PairSettings
from wsi_tower.pretrain import Ingredients, Pretrained, PretrainSettings, PretrainWatcher, pretrain
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from wsi_tower.training import Progress

PAIRS = PairSettings(near_um=200, far_um=1500)
"""Of slides some millimetres wide."""


class Heard(PretrainWatcher):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.ingredients: list[Ingredients] = []
        self.steps: list[int] = []
        self.resumed_after: list[int] = []

    def began(self, ingredients: Ingredients) -> None:
        self.ingredients.append(ingredients)

    def stepped(self, progress: Progress, loss: float) -> None:
        del loss
        self.steps.append(progress.step)

    def resumed(self, step: int) -> None:
        self.resumed_after.append(step)

    def warned(self, message: str) -> None:
        self.messages.append(message)


class Telling(PretrainWatcher):
    """Prints every step, and leaves time to be killed between two."""

    def stepped(self, progress: Progress, loss: float) -> None:
        del loss
        print(progress.step, flush=True)  # noqa: T201
        time.sleep(0.05)


def small_pretrain(
    *workspaces: Path, watcher: PretrainWatcher | None = None, **settings: Any
) -> Pretrained:
    """A few steps of a network of a few million weights on views of 32 px."""
    values: dict[str, Any] = {"steps": 3, "batch_size": 8, "backbone": "resnet10t", "crop_px": 32}
    values |= {"device": "cpu", "pairs": PAIRS}
    # The watch sees more tiles than these steps do.
    settings["train_values"] = {"watch_every": 0} | settings.get("train_values", {})
    chosen = PretrainSettings(**(values | settings))
    return pretrain(chosen, [Workspace(root) for root in workspaces], watcher)


if __name__ == "__main__":
    torch.set_num_threads(1)
    small_pretrain(
        Path(sys.argv[1]), watcher=Telling(), steps=5, train_values={"checkpoint_every": 2}
    )
