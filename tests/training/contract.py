"""What every objective must keep, whatever it compares: subclass `ObjectiveContract`.

::

    class TestSimclr(ObjectiveContract):
        def objective(self) -> Objective:
            return SimclrObjective(SimclrSettings(...))
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.toys import ToyEncoder, toy_batch
from wsi_tower.draws import Draws
from wsi_tower.training import Loss, Objective, Progress, TensorDraws, TileBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wsi_tower.models import Encoder, Network

STEPS = 1000
"""Length that the toy runs claim to have, for schedules that depend on it."""


class ObjectiveContract(ABC):
    """One suite for all objectives; the attributes may be overridden where a method needs it."""

    channels = 3
    side_px = 32
    samples = 12
    learning_rate = 3e-3
    steps_to_learn = 60
    learnt_ratio = 0.9
    """Loss on held-out batches after training over that before."""
    order_tolerance = 1e-4

    @abstractmethod
    def objective(self) -> Objective:
        """A fresh objective; twice the same."""

    def encoder(self) -> Encoder:
        """A fresh encoder, small enough for a second of training."""
        return ToyEncoder(self.channels)

    # ---------------------------------------------------------------- the suite

    def test_the_loss_is_a_finite_scalar_with_a_gradient(self) -> None:
        run = self._run()
        loss = run.loss(0)
        assert loss.total.shape == ()
        assert loss.total.requires_grad
        assert torch.isfinite(loss.total)
        for name, part in loss.parts.items():
            assert part.shape == (), name
            assert not part.requires_grad, name

    def test_forward_moves_no_state_but_batchnorms(self) -> None:
        run = self._run()
        before = run.state(batchnorm=False)
        torch.autograd.backward(run.loss(0).total)
        after = run.state(batchnorm=False)
        assert before.keys() == after.keys()
        assert [name for name in before if not torch.equal(before[name], after[name])] == []

    def test_only_its_draws_make_it_random(self) -> None:
        run = self._run()
        losses = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            losses.append(run.loss(0).total.item())
        assert losses[0] == losses[1]

    def test_every_trained_parameter_gets_a_gradient(self) -> None:
        run = self._run()
        torch.autograd.backward(run.loss(0).total)
        trained = list(run.objective.trained_parameters(run.network, 0))
        assert trained
        for parameter in trained:
            assert parameter.grad is not None, _name_of(parameter, run.network)
            assert torch.isfinite(parameter.grad).all(), _name_of(parameter, run.network)
        assert any(parameter.grad.abs().max() > 0 for parameter in trained)  # type: ignore[union-attr]

    def test_what_is_trained_is_in_the_network(self) -> None:
        run = self._run()
        inside = {id(parameter) for parameter in run.network.parameters()}
        trained = run.objective.trained_parameters(run.network, 0)
        assert {id(parameter) for parameter in trained} <= inside
        assert [name for name, own in run.objective.named_parameters() if own.requires_grad] == []

    def test_the_order_of_a_batch_does_not_matter(self) -> None:
        run = self._run()
        for step in range(2):
            run.train_step(step)
        batch, draws = run.batch(5)
        order = torch.randperm(len(batch.anchors), generator=torch.Generator().manual_seed(1))
        straight = run.objective(run.network, batch, draws).total.item()
        shuffled = run.objective(run.network, _in_order(batch, order), _draws_of(draws, order))
        assert shuffled.total.item() == pytest.approx(
            straight, rel=self.order_tolerance, abs=self.order_tolerance
        )

    def test_a_resumed_run_has_the_same_next_loss(self) -> None:
        run = self._run()
        for step in range(3):
            run.train_step(step)
        saved = io.BytesIO()
        torch.save(run.saved(), saved)
        expected = [run.train_step(step) for step in range(3, 6)]
        other = self._run(seed=99)
        saved.seek(0)
        other.load(torch.load(saved, weights_only=True))
        assert [other.train_step(step) for step in range(3, 6)] == expected

    def test_a_toy_set_is_learnt(self) -> None:
        run = self._run()
        held_out = range(10_000, 10_004)
        before = run.mean_loss(held_out)
        for step in range(self.steps_to_learn):
            run.train_step(step)
        assert run.mean_loss(held_out) < self.learnt_ratio * before

    def _run(self, seed: int = 0) -> _Run:
        return _Run(self, seed)


class _Run:
    """A run without the loop: the suite judges objectives alone."""

    def __init__(self, contract: ObjectiveContract, seed: int) -> None:
        torch.manual_seed(seed)
        self._contract = contract
        self.objective = contract.objective()
        self.network: Network = self.objective.network(contract.encoder())
        self.optimiser = torch.optim.Adam(self.network.parameters(), contract.learning_rate)

    def batch(self, step: int) -> tuple[TileBatch, TensorDraws]:
        contract = self._contract
        return toy_batch(
            self.objective.views(),
            step,
            samples=contract.samples,
            channels=contract.channels,
            side_px=contract.side_px,
        )

    def loss(self, step: int) -> Loss:
        loss = self.objective(self.network, *self.batch(step))
        assert isinstance(loss, Loss)
        return loss

    def train_step(self, step: int) -> float:
        batch, draws = self.batch(step)
        self.optimiser.zero_grad()
        loss = self.objective(self.network, batch, draws).total
        torch.autograd.backward(loss)
        self.optimiser.step()
        with torch.no_grad():
            self.objective.after_step(self.network, batch, Progress(step + 1, STEPS))
        return float(loss.item())

    def mean_loss(self, steps: Sequence[int]) -> float:
        with torch.no_grad():
            return sum(self.loss(step).total.item() for step in steps) / len(steps)

    def state(self, *, batchnorm: bool) -> dict[str, Tensor]:
        """Copies of all parameters and buffers, with or without what BatchNorm counts."""
        both = nn.ModuleDict({"objective": self.objective, "network": self.network})
        counted = {
            f"{name}.{buffer}"
            for name, module in both.named_modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)
            for buffer, _ in module.named_buffers(recurse=False)
        }
        return {
            name: value.clone()
            for name, value in both.state_dict().items()
            if batchnorm or name not in counted
        }

    def saved(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load(self, saved: dict[str, Any]) -> None:
        self.network.load_state_dict(saved["network"])
        self.objective.load_state_dict(saved["objective"])
        self.optimiser.load_state_dict(saved["optimiser"])


def _in_order(batch: TileBatch, order: Tensor) -> TileBatch:
    return replace(
        batch,
        views=tuple(view[order] for view in batch.views),
        anchors=batch.anchors[order],
        local_views=tuple(view[order] for view in batch.local_views),
        is_near=None if batch.is_near is None else batch.is_near[order],
    )


def _draws_of(draws: TensorDraws, order: Tensor) -> TensorDraws:
    whole = draws._draws
    return TensorDraws(Draws(whole.seed, whole.step, whole.samples[order.numpy()]), draws.device)


def _name_of(parameter: nn.Parameter, network: Network) -> str:
    return next(name for name, one in network.named_parameters() if one is parameter)
