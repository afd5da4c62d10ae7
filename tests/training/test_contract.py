"""The contract itself, on the plainest objective: views of a tile agree, and features spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from tests.training.contract import ObjectiveContract
from wsi_tower.models import Encoder, Network
from wsi_tower.training import Loss, Objective, Partner, Progress, TensorDraws, TileBatch, ViewPlan

if TYPE_CHECKING:
    from collections.abc import Iterable


class AgreeingViews(Objective):
    """Softmax over the batch that a view finds its own sample's other view, with noise on it.

    Its buffer, an averaged descriptor, stands for the state that real methods move.
    """

    mean: Tensor

    def __init__(self, partner: Partner = "same", local_views: int = 0) -> None:
        super().__init__()
        self._plan = ViewPlan(partner=partner, local_views=local_views)
        self.register_buffer("mean", torch.zeros(8))

    def views(self) -> ViewPlan:
        return self._plan

    def network(self, encoder: Encoder) -> Network:
        return Network(encoder, head=nn.Linear(encoder.width, 8), descriptor="head")

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        first, *others = (
            network.describe(view) - self.mean for view in (*batch.views, *batch.local_views)
        )
        first = first + 0.01 * draws.normal("noise", 8)
        terms = []
        for other in others:
            alike = nn.functional.cosine_similarity(first[:, None], other[None], dim=2) / 0.2
            own = torch.arange(len(alike), device=alike.device)
            terms.append(nn.functional.cross_entropy(alike, own))
        total = torch.stack(terms).mean()
        return Loss(total, {"agreement": total.detach()})

    def after_step(self, network: Network, batch: TileBatch, progress: Progress) -> None:
        del progress
        with torch.no_grad():
            self.mean.lerp_(network.describe(batch.views[0]).mean(dim=0), 0.01)


class TestAgreeingViews(ObjectiveContract):
    def objective(self) -> Objective:
        return AgreeingViews()


class TestAgreeingPartners(ObjectiveContract):
    channels = 1

    def objective(self) -> Objective:
        return AgreeingViews("near", local_views=1)


class _MovesState(AgreeingViews):
    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        loss = super().forward(network, batch, draws)
        self.mean.add_(1)
        return loss


class _Random(AgreeingViews):
    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        loss = super().forward(network, batch, draws)
        return Loss(loss.total * torch.rand(()))


class _ByPlace(AgreeingViews):
    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        del draws
        return Loss(network.describe(batch.views[0])[0].square().sum())


class _PartTrained(AgreeingViews):
    def network(self, encoder: Encoder) -> Network:
        network = super().network(encoder)
        network.decoder = nn.Linear(2, 2)
        return network


class _Forgetful(AgreeingViews):
    def __init__(self) -> None:
        super().__init__()
        self._steps = 0

    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        return Loss(super().forward(network, batch, draws).total * (1 + self._steps))

    def after_step(self, network: Network, batch: TileBatch, progress: Progress) -> None:
        del network, batch, progress
        self._steps += 1


class _LearnsNothing(AgreeingViews):
    def forward(self, network: Network, batch: TileBatch, draws: TensorDraws) -> Loss:
        loss = super().forward(network, batch, draws).total
        return Loss(1 + 0 * loss)


class _TrainsItsOwn(AgreeingViews):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(()))

    def trained_parameters(self, network: Network, step: int) -> Iterable[nn.Parameter]:
        del network, step
        return [self.temperature]


@pytest.mark.parametrize(
    ("faulty", "test"),
    [
        (_MovesState, "test_forward_moves_no_state_but_batchnorms"),
        (_Random, "test_only_its_draws_make_it_random"),
        (_ByPlace, "test_the_order_of_a_batch_does_not_matter"),
        (_PartTrained, "test_every_trained_parameter_gets_a_gradient"),
        (_Forgetful, "test_a_resumed_run_has_the_same_next_loss"),
        (_LearnsNothing, "test_a_toy_set_is_learnt"),
        (_TrainsItsOwn, "test_what_is_trained_is_in_the_network"),
    ],
)
def test_the_contract_finds_what_is_wrong(faulty: type[Objective], test: str) -> None:
    class Contract(ObjectiveContract):
        steps_to_learn = 3

        def objective(self) -> Objective:
            return faulty()

    with pytest.raises(AssertionError):
        getattr(Contract(), test)()
