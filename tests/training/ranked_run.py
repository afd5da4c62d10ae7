"""Ranks as processes of their own: ``ranked_run.py SIZE FOLDER`` runs every scene below in each.

What a rank sees is written to ``FOLDER/rank-N.json``. They are forked by a process that has loaded
everything, since loading takes longer than the scenes do; they meet as those of `torchrun` do.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from tests.training.test_contract import AgreeingViews
from tests.training.toys import TILES, ToyEncoder, ToyPartners, ToyPictures
from wsi_tower.errors import SettingsError, WsiTowerError
from wsi_tower.pretrain import METHODS, settings_from
from wsi_tower.records import bytes_digest
from wsi_tower.training import (
    AugmentSettings,
    Loss,
    Progress,
    Ranks,
    Run,
    TileFeed,
    TrainSettings,
    ViewRecipe,
    all_or_none,
    by_first,
    check_same,
    gathered,
    joined_ranks,
    mean_over_ranks,
    train,
)
from wsi_tower.training.batchnorm import normed_together

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsi_tower.models import Encoder, Network
    from wsi_tower.training import Objective, TensorDraws, TileBatch

STEPS = 5
BATCH = 8


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# ------------------------------------------------------------------ runs


class GroupedEncoder(ToyEncoder):
    """The toy encoder with norms that know nothing of a batch."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__(in_channels)
        self.fine[1], self.coarse[1] = nn.GroupNorm(2, 8), nn.GroupNorm(2, 16)


def method_objective(name: str) -> Objective:
    """A method of toy size: nothing that it counts is above 16."""
    method = METHODS[name]
    counts = {
        key: min(value, 16)
        for key, value in asdict(method.settings()).items()
        if type(value) is int
    }
    objective: Objective = method.objective(settings_from(method, counts))
    return objective


def ranked_train(
    folder: Path,
    objective: Objective,
    *,
    encoder: type[Encoder] = GroupedEncoder,
    resume: bool = False,
    **settings: Any,
) -> tuple[dict[str, Any], str]:
    """A few steps on toy tiles: how they ended, and a digest of all that was moved."""
    values: dict[str, Any] = {"steps": STEPS, "batch_size": BATCH, "device": "cpu", "threads": 1}
    values |= {"log_every": 1, "watch_every": 2, "optimiser": "adam"}
    chosen = TrainSettings(**(values | settings))
    objective.begin(TILES, chosen.seed)
    torch.manual_seed(0)
    objective.begin(TILES, chosen.seed)
    network = objective.network(encoder())
    views = ViewRecipe(objective.views(), AugmentSettings(crop_px=24, brightness=0.1))
    feed = TileFeed(ToyPictures(), np.arange(TILES - 1), views, chosen, partners=ToyPartners())
    result = train(objective, network, feed, chosen, Run(folder, "toy", resume=resume))
    ended = {"steps": result.steps, "loss": result.loss, "early": result.has_stopped_early}
    return ended, state_digest(objective, network)


def state_digest(*modules: nn.Module) -> str:
    """Of every parameter and buffer, BatchNorm's averages with them."""
    tensors = [value for module in modules for value in module.state_dict().values()]
    return bytes_digest([value.contiguous().numpy().tobytes() for value in tensors])


# ------------------------------------------------------------------ scenes


def gathers(folder: Path) -> dict[str, Any]:
    """Two numbers of each rank, weighed by their place among all."""
    rank = Ranks.here().rank
    own = torch.tensor([1.0 + 10 * rank, 2.0 + 10 * rank], requires_grad=True)
    everything = gathered(own)
    torch.autograd.backward((everything * torch.arange(len(everything))).sum() * (rank + 1))
    assert own.grad is not None
    mean = mean_over_ranks(torch.tensor(float(rank)))
    return {"all": everything.tolist(), "gradient": own.grad.tolist(), "mean": mean.item()}


def norms(folder: Path) -> dict[str, Any]:
    """BatchNorm of this rank's share of eight samples: what comes out, and what goes back."""
    ranks = Ranks.here()
    generator = torch.Generator().manual_seed(0)
    batch = 3 + 2 * torch.randn(8, 3, 4, 4, generator=generator)
    slope = torch.randn(8, 3, 4, 4, generator=generator)
    norm = nn.BatchNorm2d(3)
    own = batch.chunk(ranks.size)[ranks.rank].requires_grad_()
    with normed_together(torch.device("cpu")):
        out = norm(own)
    torch.autograd.backward((out * slope.chunk(ranks.size)[ranks.rank]).sum())
    assert own.grad is not None
    assert norm.weight.grad is not None
    return {
        "out": out.tolist(),
        "gradient": own.grad.tolist(),
        "weight_gradient": norm.weight.grad.tolist(),
        "state": [value.tolist() for value in norm.state_dict().values()],
    }


def methods(folder: Path) -> dict[str, Any]:
    """Every method there is, on an encoder without BatchNorm."""
    # Plain steps, since Adam magnifies the rounding of gradients that are nearly 0.
    return {
        name: ranked_train(folder / name, method_objective(name), optimiser="sgd", lr=0.01)
        for name in METHODS
    }


def parts(folder: Path) -> Any:
    """Batches in two parts, of which what is compared is compared within."""
    return ranked_train(folder, method_objective("simclr"), accumulate=2)


def batchnorm(folder: Path) -> Any:
    """An encoder with BatchNorm, and plain steps, which do not magnify rounding."""
    objective = method_objective("tower")
    return ranked_train(folder, objective, encoder=ToyEncoder, optimiser="sgd", lr=1e-2)


def some_steps(folder: Path) -> Any:
    """Parts of the network that are trained in turns, and one that never is."""

    class InTurns(AgreeingViews):
        def network(self, encoder: Encoder) -> Network:
            network = super().network(encoder)
            network.decoder = nn.Linear(2, 2)
            return network

        def trained_parameters(self, network: Network, step: int) -> list[nn.Parameter]:
            assert network.head is not None
            return list((network.head if step % 2 else network.encoder).parameters())

        def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
            del draws
            return Loss(network.describe(batch.views[0]).square().mean())

        def after_step(self, network: Network, batch: TileBatch, progress: Progress) -> None:
            pass

    return ranked_train(folder, InTurns())


class _OnLast(AgreeingViews):
    """Something happens on the last rank alone, when three steps are done."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__()
        self._happens = happens

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        del draws
        return Loss(network.describe(batch.views[0]).square().mean())

    def after_step(self, network: Network, batch: TileBatch, progress: Progress) -> None:
        del network, batch
        ranks = Ranks.here()
        if progress.step == 3 and ranks.rank == ranks.size - 1:
            self._happens()


def interrupt(folder: Path) -> str:
    """Ctrl-C reaches one rank."""
    return _ending(
        lambda: ranked_train(folder, _OnLast(lambda: signal.raise_signal(signal.SIGINT)))
    )


def nan(folder: Path) -> str:
    """The loss of one rank is no number."""

    class Nan(_OnLast):
        factor = 1.0

        def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
            return Loss(super().forward(network, batch, draws).total * self.factor)

    objective = Nan(lambda: setattr(objective, "factor", float("nan")))
    return _ending(lambda: ranked_train(folder, objective))


def patience(folder: Path) -> Any:
    """The loss does not fall."""

    class Stuck(_OnLast):
        def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
            return Loss(2 + 0 * super().forward(network, batch, draws).total)

    return ranked_train(folder, Stuck(lambda: None), steps=50, patience=6)[0]


def full_disk(folder: Path) -> str:
    """The disk is full when the second checkpoint comes."""
    fsync, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:  # the log, the first checkpoint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with patch.object(os, "fsync", full):
        return _ending(lambda: ranked_train(folder, _OnLast(lambda: None), checkpoint_every=2))


def unreadable(folder: Path) -> str:
    """One rank has an error of its own in what all must do."""

    def fail() -> None:
        with all_or_none():
            if Ranks.here().rank == 1:
                raise SettingsError("tile 7 is a lemon")

    return _ending(fail)


def disagree(folder: Path) -> str:
    """Ranks have other settings, one of them deep inside."""
    rate = 0.1 * (1 + Ranks.here().rank)
    return _ending(lambda: check_same({"training": {"lr": rate, "seed": 0}, "method": "tower"}))


def first(folder: Path) -> list[str]:
    """Rank 0 makes something for all, and then cannot."""

    def fail() -> str:
        raise SettingsError("there is no such thing")

    return [by_first(lambda: f"made by {Ranks.here().rank}"), _ending(lambda: by_first(fail))]


def _ending(work: Callable[[], object]) -> str:
    """The error that some work ends with."""
    try:
        work()
    except (WsiTowerError, KeyboardInterrupt) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


SCENES: tuple[Callable[[Path], Any], ...] = (
    *(gathers, norms, methods, parts, batchnorm, some_steps, interrupt, nan, patience),
    *(full_disk, unreadable, disagree, first),
)


def lose_one(folder: Path) -> None:
    """The last rank is killed; comes last, since nothing can be done together after it."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    ranked_train(folder, _OnLast(die), checkpoint_every=2)


# ------------------------------------------------------------------ processes


def play(folder: Path, size: int, rank: int, port: int) -> None:
    """Be a rank."""
    names = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    seen: dict[str, Any] = {}
    told = folder / f"rank-{rank}.json"

    def go() -> None:
        with joined_ranks():
            for scene in SCENES:
                seen[scene.__name__] = scene(folder / scene.__name__)
            told.write_text(json.dumps(seen))
            lose_one(folder / "lose_one")

    seen["lose_one"] = _ending(go)
    told.write_text(json.dumps(seen))


if __name__ == "__main__":
    torch.set_num_threads(1)
    _size, _folder, _port = int(sys.argv[1]), Path(sys.argv[2]), free_port()
    _children = []
    for _rank in range(_size):
        if not (_child := os.fork()):
            play(_folder, _size, _rank, _port)
            os._exit(0)
        _children.append(_child)
    for _child in _children:
        os.waitpid(_child, 0)
