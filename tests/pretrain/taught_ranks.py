"""Some steps of each method with a teacher, as one of several ranks: ``taught_ranks.py FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tests.training.toy_run import toy_train
from wsi_tower.pretrain import Byol, ByolSettings, Dino, DinoSettings, Moco, MocoSettings
from wsi_tower.training import Progress, Ranks, Watcher, joined_ranks

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsi_tower.pretrain.teacher import TaughtObjective

OBJECTIVES: dict[str, Callable[[], TaughtObjective]] = {
    "byol": lambda: Byol(ByolSettings(hidden_length=32, momentum=0.8)),
    "moco": lambda: Moco(MocoSettings(hidden_length=32, momentum=0.8)),
    "dino": lambda: Dino(
        DinoSettings(hidden_length=32, prototypes=16, local_views=1, local_px=16, momentum=0.8)
    ),
}


class _Losses(Watcher):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def stepped(self, progress: Progress, loss: float) -> None:
        del progress
        self.losses.append(loss)


def train_all(folder: Path) -> None:
    """Leave ``METHOD-RANK.pt``: the losses that this rank heard of and what it ends with."""
    rank = Ranks.here().rank
    for method, built in OBJECTIVES.items():
        objective, heard = built(), _Losses()
        values: dict[str, Any] = {
            "steps": 4,
            "batch_size": 8,
            "watch_every": 0,
            "optimiser": "sgd",
            "lr": 0.05,
        }
        _, network = toy_train(folder / method, objective=objective, watcher=heard, **values)
        kept = {"network": network.state_dict(), "objective": objective.state_dict()}
        torch.save(kept, folder / f"{method}-{rank}.pt")
        if rank == 0:
            (folder / f"{method}.json").write_text(json.dumps(heard.losses))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined_ranks():
        train_all(Path(sys.argv[1]))
