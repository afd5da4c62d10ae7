"""What a memory bank costs: time of a step, memory, and its checkpoint.

    python -m benchmarks.bank                       # ten million tiles × 128: 2.6 GB, minutes

A step is all that `npid` does beside its network: it draws noise, finds entries, compares, takes
gradients and moves the batch's entries. Prints a table and writes ``benchmarks/results/bank.json``.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.results import RESULTS, write_results
from wsi_tower.draws import Draws
from wsi_tower.models import Encoder, Features
from wsi_tower.pretrain import Npid, NpidSettings
from wsi_tower.training import Checkpoint, Checkpoints, Progress, TensorDraws, TileBatch

if TYPE_CHECKING:
    from wsi_tower.pretrain.bank import BankPlace

SEED = 1


class _Flat(Encoder):
    """As good as no network: means of pictures, by one layer."""

    architecture = "flat"
    in_channels = 3
    width = 128
    pyramid_channels = ()
    pyramid_strides = ()

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, self.width)

    def forward(self, images: Tensor) -> Features:
        return Features(self.layer(images.mean(dim=(2, 3))), ())


@click.command()
@click.option("--tiles", default=10_000_000, show_default=True)
@click.option("--noise", default=4096, show_default=True)
@click.option("--repeats", default=7, show_default=True)
@click.option("--bank", default="device", type=click.Choice(["device", "host"]))
@click.option("--device", default="cpu", show_default=True)
def main(**options: Any) -> None:
    """Measure a memory bank."""
    place: BankPlace = options["bank"]
    objective = Npid(NpidSettings(noise=options["noise"], bank=place))
    measured = {"resident before, MB": _status_mb("VmRSS")}
    began = time.perf_counter()
    objective.begin(options["tiles"], SEED)
    objective.to(options["device"])
    measured["first entries, s"] = time.perf_counter() - began
    measured["resident with the bank, MB"] = _status_mb("VmRSS")
    for batch_size in (64, 256):
        name = f"a step of {batch_size}, ms"
        measured[name] = 1e3 * _step_seconds(objective, batch_size, options)
    measured |= _checkpointed(objective)
    for name, value in measured.items():
        click.echo(f"{name:<40}{value:>12,.1f}")
    write_results("bank", {"options": options, "measured": measured})


def _step_seconds(objective: Npid, batch_size: int, options: dict[str, Any]) -> float:
    """Median over the repeats."""
    device = torch.device(options["device"])
    network = objective.network(_Flat()).to(device)
    generator = np.random.default_rng(SEED)
    seconds = []
    for step in range(-1, options["repeats"]):
        anchors = generator.choice(options["tiles"], batch_size, replace=False)
        batch = TileBatch(
            (torch.rand(batch_size, 3, 8, 8, device=device),), torch.from_numpy(anchors).to(device)
        )
        draws = TensorDraws(Draws(SEED, step + 1, anchors), device)
        began = time.perf_counter()
        torch.autograd.backward(objective(network, batch, draws).total)
        objective.after_step(network, batch, Progress(step + 2, options["repeats"] + 1))
        if device.type == "cuda":
            torch.cuda.synchronize()
        if step >= 0:
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _checkpointed(objective: Npid) -> dict[str, float]:
    """Writing and reading a checkpoint, and the memory that either took beside the bank's own."""
    measured = {}
    with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
        kept = Checkpoints(Path(folder), "npid", {})
        before = _status_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
        began = time.perf_counter()
        path = kept.save(Checkpoint(1, {"objective": objective.state_dict()}))
        measured["checkpoint written, s"] = time.perf_counter() - began
        measured["at most more memory, MB"] = _status_mb("VmHWM") - before
        measured["checkpoint, MB"] = path.stat().st_size / 1e6
        before = _status_mb("RssAnon")
        began = time.perf_counter()
        found = kept.newest(click.echo)
        assert found is not None
        objective.load_state_dict(found.state["objective"])
        measured["checkpoint read, s"] = time.perf_counter() - began
        # Pages of the file itself are mapped, and the system takes them back when it likes.
        measured["more memory after it, file apart, MB"] = _status_mb("RssAnon") - before
    return measured


def _status_mb(name: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition(f"{name}:")[2].split()[0]) / 1e3


if __name__ == "__main__":
    main()
