"""One pre-training of `benchmarks.methods`, in a process of its own: prints JSON at its end.

    python -m benchmarks.method_run METHOD WORKSPACE --began S --seconds S --preset P --device D

``--began`` is when the process was started, on the clock that all processes of a machine share.
"""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
import torch
from torch.utils.flop_counter import FlopCounterMode

from wsi_tower.models import Encoder
from wsi_tower.pairs import PairSettings
from wsi_tower.pretrain import Ingredients, PresetName, PretrainSettings, PretrainWatcher, pretrain
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from torch import Tensor, nn

    from wsi_tower.models import Features
    from wsi_tower.training import DeviceName, Progress

PAIRS = PairSettings(near_um=500, far_um=2500)
"""Of a slide of 5 mm."""


@click.command()
@click.argument("method")
@click.argument("workspace", type=click.Path(path_type=Path))
@click.option("--began", type=float, required=True)
@click.option("--seconds", type=float, required=True)
@click.option("--preset", required=True)
@click.option("--device", required=True)
def main(method: str, workspace: Path, **options: Any) -> None:
    """Train for some seconds after the first step."""
    settings = PretrainSettings(
        method=method,
        preset=cast("PresetName", options["preset"]),
        device=cast("DeviceName", options["device"]),
        steps=10**6,
        pairs=PAIRS,
        overwrite=True,
        train_values={"watch_every": 0, "checkpoint_every": 10**6},
    )
    timed = _Timed(options["began"], options["seconds"])
    try:
        pretrain(settings, [Workspace(workspace)], timed)
    except _EnoughError:
        click.echo(json.dumps(timed.told))


class _EnoughError(Exception):
    """Ends a run from its watcher."""


class _Timed(PretrainWatcher):
    """Takes the time of steps, and ends the run."""

    def __init__(self, began: float, seconds: float) -> None:
        self._began, self._seconds = began, seconds
        self._since: float | None = None
        self._steps = self._batch_size = 0
        self._flops: _EncoderFlops | None = None
        self.told: dict[str, float] = {}

    def began(self, ingredients: Ingredients) -> None:
        self._batch_size = ingredients.training.batch_size
        if ingredients.feed.device.type == "cuda":
            self._flops = _EncoderFlops(ingredients)

    def stepped(self, progress: Progress, loss: float) -> None:
        del progress, loss
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self.told["seconds_to_first_step"] = now - self._began
            if self._flops is not None:
                self._flops.total = 0
            return
        self._steps += 1
        passed = now - self._since
        if passed >= self._seconds:
            self.told["images_per_second"] = self._batch_size * self._steps / passed
            if self._flops is not None:
                self.told["encoder_tflops"] = self._flops.total / passed / 1e12
                self.told["device_mb"] = torch.cuda.max_memory_allocated() / 1e6
            raise _EnoughError


class _EncoderFlops:
    """What the encoders of a run compute: a pass forward, and twice as much for one backward."""

    def __init__(self, ingredients: Ingredients) -> None:
        self.total = 0
        self._plain = copy.deepcopy(ingredients.network.encoder).eval()
        self._by_side: dict[int, int] = {}
        parts: list[nn.Module] = [ingredients.network, ingredients.objective]
        for module in (module for part in parts for module in part.modules()):
            if isinstance(module, Encoder):
                module.register_forward_hook(self._passed)

    def _passed(self, encoder: nn.Module, inputs: tuple[Tensor, ...], features: Features) -> None:
        del encoder
        (images,) = inputs
        times = 3 if features.pooled.requires_grad else 1
        self.total += times * len(images) * self._of_one(images)

    def _of_one(self, images: Tensor) -> int:
        side_px = images.shape[-1]
        if side_px not in self._by_side:
            self._plain.to(images.device)
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                self._plain(images[:1])
            self._by_side[side_px] = counter.get_total_flops()
        return self._by_side[side_px]


if __name__ == "__main__":
    main()
