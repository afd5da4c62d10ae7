"""What is trained: an objective, its network and their optimiser, and the state of all three."""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from wsi_tower.draws import Draws
from wsi_tower.errors import CheckpointError
from wsi_tower.training.averaging import added_up, averaged
from wsi_tower.training.batchnorm import normed_together, over_ranks
from wsi_tower.training.objective import Loss
from wsi_tower.training.optimisers import optimiser_for
from wsi_tower.training.ranks import mean_over_ranks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from wsi_tower.models import Network
    from wsi_tower.training.feed import FedStep
    from wsi_tower.training.objective import (
        Objective,
        Progress,
        TensorDraws,
        TileBatch,
    )
    from wsi_tower.training.settings import TrainSettings

__all__ = ["Trainee"]


class Trainee:
    """Turns batches into gradients, and gradients into steps."""

    def __init__(
        self,
        objective: Objective,
        network: Network,
        settings: TrainSettings,
        device: torch.device,
    ) -> None:
        if device.index is not None:
            torch.cuda.set_device(device)  # else every rank holds memory of the first GPU, too
        self.objective, self.network = objective.to(device), network.to(device)
        self._settings, self._device = settings, device
        self._layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.network.to(memory_format=self._layout)
        for module in (self.network, self.objective):
            over_ranks(module, device)
        self.optimiser = optimiser_for(self.network, settings)
        if settings.compile:
            for part in (network.encoder, network.head, network.decoder):
                if part is not None:
                    part.compile()
        self._whole = averaged(self.objective, self.network)

    def gradients(self, fed: FedStep) -> tuple[dict[str, float], float]:
        """Take the gradients of a batch.

        Returns:
            What it lost, ``loss`` and its parts, as the mean over all ranks; and the norm of all
            gradients together, before they were clipped to what the settings allow.
        """
        self.optimiser.zero_grad(set_to_none=True)
        with self._drawing("loss", fed, int(fed.draws.samples[0])):
            sums = self._summed_losses(fed)
        self._drop_untrained(fed.step)
        most = self._settings.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(
            self.network.parameters(), math.inf if most is None else most
        )
        # All numbers at once: each question to a GPU waits for it.
        *losses, length = mean_over_ranks(torch.stack([*sums.values(), norm])).tolist()
        return dict(zip(sums, losses, strict=True)), length

    def step(self, rate: float, decay: float) -> None:
        """Move the weights, at this learning rate and weight decay."""
        weights, *_ = groups = self.optimiser.param_groups
        weights["weight_decay"] = decay
        for group in groups:
            group["lr"] = rate
        self.optimiser.step()

    def follow(self, fed: FedStep, progress: Progress) -> None:
        """Move what follows the weights."""
        # Every rank draws the same here, since what follows the weights is the same on all.
        with torch.no_grad(), self._drawing("follow", fed, 0), normed_together(self._device):
            self.objective.after_step(self.network, fed.batch, progress)

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        tensors = self.network.state_dict().values()
        return all(bool(tensor.isfinite().all()) for tensor in tensors)

    def state(self) -> dict[str, Any]:
        """All that moves in training."""
        return {
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a `state`.

        Raises:
            CheckpointError: it is of another network.
        """
        try:
            self.network.load_state_dict(state["network"])
            self.objective.load_state_dict(state["objective"])
            self.optimiser.load_state_dict(state["optimiser"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"the checkpoint is of another network: {error}; resume with the encoder it was "
                f"made with, or start under another name"
            ) from error

    @contextmanager
    def _drawing(self, stream: str, fed: FedStep, sample: int) -> Iterator[None]:
        """Layers that draw, such as dropout, use torch's own generator: by step, as all draws."""
        first = Draws(fed.draws.seed, fed.step, [sample])
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(int(first.bits(f"network/{stream}", 1)[0, 0] >> 1))
            yield

    def _summed_losses(self, fed: FedStep) -> dict[str, Tensor]:
        count = self._settings.accumulate
        sums: dict[str, Tensor] = {}
        for place, (batch, draws) in enumerate(fed.parts(count), start=1):
            # Gradients of the parts add up here, and are averaged with the last.
            with nullcontext() if place == count else added_up(self._whole):
                loss = self._loss(batch, draws)
                torch.autograd.backward(loss.total / count)
            for name, value in {"loss": loss.total, **loss.parts}.items():
                share = value.detach().float() / count
                sums[name] = sums[name] + share if name in sums else share
        return sums

    def _loss(self, batch: TileBatch, draws: TensorDraws) -> Loss:
        batch = replace(
            batch,
            views=tuple(view.contiguous(memory_format=self._layout) for view in batch.views),
            local_views=tuple(
                view.contiguous(memory_format=self._layout) for view in batch.local_views
            ),
        )
        is_mixed = self._settings.precision == "bf16"
        mixed = torch.autocast(self._device.type, torch.bfloat16, enabled=is_mixed)
        with mixed, normed_together(self._device):
            return Loss(*self._whole(batch, draws))

    def _drop_untrained(self, step: int) -> None:
        """Without a gradient a parameter neither moves nor decays."""
        trained = {id(one) for one in self.objective.trained_parameters(self.network, step)}
        for parameter in self.network.parameters():
            if id(parameter) not in trained:
                parameter.grad = None
