"""`npid`: its contract, its values by the paper's formulas, its bank over steps and restarts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.pretrain.small_run import Heard, small_pretrain
from tests.training.contract import ObjectiveContract
from tests.training.toys import TILES, ToyEncoder, toy_batch
from wsi_tower.draws import Draws
from wsi_tower.errors import CheckpointError, SettingsError, TooFewTilesError, TrainingError
from wsi_tower.pretrain import Npid, NpidSettings
from wsi_tower.pretrain.noise import numbers_below
from wsi_tower.training import Progress, TensorDraws, ViewPlan

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from wsi_tower.models import Network
    from wsi_tower.pretrain.bank import MemoryBank
    from wsi_tower.training import Objective, TileBatch


def begun(**settings: Any) -> Npid:
    objective = Npid(NpidSettings(**settings))
    objective.begin(TILES, seed=3)
    return objective


def put_together(**settings: Any) -> tuple[Npid, Network]:
    objective = begun(**settings)
    torch.manual_seed(0)
    return objective, objective.network(ToyEncoder())


def bank_of(objective: Npid) -> MemoryBank:
    assert objective.bank is not None
    return objective.bank


def entries_of(objective: Npid) -> Tensor:
    return bank_of(objective).entries.clone()


class TestNpid(ObjectiveContract):
    def objective(self) -> Objective:
        # Toys are alike by eights, and all are in the bank after four steps: a τ of 0.07 asks of a
        # network to hold apart what it cannot.
        return begun(noise=8, temperature=1.0)


class TestNpidBySoftmaxOnGrey(ObjectiveContract):
    channels = 1

    def objective(self) -> Objective:
        return begun(form="softmax", proximal_weight=0.1)


class TestNpidBySampledSoftmaxFromTheHost(ObjectiveContract):
    def objective(self) -> Objective:
        return begun(form="sampled-softmax", noise=20, bank="host")


# ------------------------------------------------------------------ values


def scores(described: Tensor, entries: Tensor, temperature: float) -> list[list[float]]:
    """v · f / τ of every f and every v."""
    return [[float(v @ f) / temperature for v in entries.float()] for f in described]


def drawn(draws: TensorDraws, count: int, bound: int) -> list[list[int]]:
    numbers: list[list[int]] = numbers_below(draws.below("noise", 1 << 53), count, bound).tolist()
    return numbers


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_nce_is_the_paper_s_formula(temperature: float) -> None:
    objective, network = put_together(noise=10, temperature=temperature)
    network.eval()
    batch, draws = toy_batch(objective.views(), 1)
    described = network.describe(batch.views[0]).detach()
    table = scores(described, entries_of(objective), temperature)
    noise = drawn(draws, 10, TILES)
    # Section 3.2: Z is about n/m Σ exp(v · f / τ), of the first batch.
    z = sum(
        TILES / 10 * sum(math.exp(row[j]) for j in numbers)
        for row, numbers in zip(table, noise, strict=True)
    ) / len(described)
    total = 0.0
    for row, own, numbers in zip(table, batch.anchors.tolist(), noise, strict=True):

        def chance_of_data(number: int, row: list[float] = row) -> float:
            p = math.exp(row[number]) / z
            return p / (p + 10 * (1 / TILES))

        total -= math.log(chance_of_data(own))
        total -= sum(math.log(1 - chance_of_data(number)) for number in numbers)
    loss = objective(network, batch, draws)
    assert loss.total.item() == pytest.approx(total / len(described), rel=1e-4)
    own_cosines = [row[own] * temperature for row, own in zip(table, batch.anchors, strict=True)]
    assert loss.parts["agreement"].item() == pytest.approx(sum(own_cosines) / 12, rel=1e-4)


@pytest.mark.parametrize("form", ["softmax", "sampled-softmax"])
def test_softmax_is_the_paper_s_formula(form: str) -> None:
    objective, network = put_together(form=form)
    network.eval()
    batch, draws = toy_batch(objective.views(), 1)
    described = network.describe(batch.views[0]).detach()
    table = scores(described, entries_of(objective), 0.07)
    total = 0.0
    for place, (row, own) in enumerate(zip(table, batch.anchors.tolist(), strict=True)):
        told_from = list(range(TILES))
        if form == "sampled-softmax":
            others = [number for number in told_from if number != own]
            told_from = [own] + [others[n] for n in drawn(draws, TILES - 1, TILES - 1)[place]]
        # Equation 2: exp(v_i · f / τ) over the sum of all.
        total -= math.log(math.exp(row[own]) / sum(math.exp(row[n]) for n in told_from))
    loss = objective(network, batch, draws).total
    assert loss.item() == pytest.approx(total / len(described), rel=1e-4)


def test_the_proximal_term_is_the_squared_distance_from_the_own_entry() -> None:
    plain, network = put_together()
    pulled = begun(proximal_weight=3.0)
    network.eval()
    batch, draws = toy_batch(plain.views(), 1)
    described = network.describe(batch.views[0]).detach()
    apart = [
        float((f - entries_of(plain)[own].float()).square().sum())
        for f, own in zip(described, batch.anchors, strict=True)
    ]
    difference = pulled(network, batch, draws).total - plain(network, batch, draws).total
    assert difference.item() == pytest.approx(3 * sum(apart) / 12, rel=1e-3)


def test_npid_compares_one_view_by_one_linear_layer() -> None:
    objective, network = put_together()
    assert objective.views() == ViewPlan(views=1)
    assert network.descriptor == "head"
    assert network.head is not None
    assert [tuple(own.shape) for own in network.head.parameters()] == [(128, 16), (128,)]
    described = network.describe(toy_batch(objective.views(), 1)[0].views[0])
    torch.testing.assert_close(described.norm(dim=1), torch.ones(12))


# ------------------------------------------------------------------ what moves, and when


def stepped(objective: Npid, network: Network, step: int) -> TileBatch:
    batch, draws = toy_batch(objective.views(), step)
    torch.autograd.backward(objective(network, batch, draws).total)
    objective.after_step(network, batch, Progress(step + 1, 9))
    return batch


def test_z_is_that_of_the_first_step() -> None:
    objective, network = put_together()
    assert objective.log_z.isinf()
    stepped(objective, network, 0)
    first = objective.log_z.clone()
    # All scores lie between −1/τ and 1/τ.
    assert abs(float(first) - math.log(TILES)) < 1 / 0.07
    for step in range(1, 4):
        stepped(objective, network, step)
    assert torch.equal(objective.log_z, first)


def test_entries_of_the_batch_move_by_the_released_rule() -> None:
    objective, network = put_together(momentum=0.25)
    network.eval()
    before = entries_of(objective)
    described = network.describe(toy_batch(objective.views(), 0)[0].views[0]).detach()
    batch = stepped(objective, network, 0)
    after = entries_of(objective)
    for own, f in zip(batch.anchors.tolist(), described, strict=True):
        mixed = 0.25 * before[own].float() + 0.75 * f
        torch.testing.assert_close(after[own].float(), mixed / mixed.norm(), atol=2e-4, rtol=0)
    others = [number for number in range(TILES) if number not in batch.anchors.tolist()]
    assert torch.equal(after[others], before[others])


def test_what_is_not_trained_on_moves_no_entry() -> None:
    objective, network = put_together()
    network.eval()
    other = begun()
    with torch.no_grad():
        objective(network, *toy_batch(objective.views(), 7))
    # A pass with a gradient that no step followed.
    objective(network, *toy_batch(objective.views(), 8))
    for one in (objective, other):
        stepped(one, network, 0)
    assert torch.equal(entries_of(objective), entries_of(other))
    assert torch.equal(objective.log_z, other.log_z)


def test_parts_of_a_batch_move_the_bank_as_the_whole_does() -> None:
    objective, network = put_together()
    network.eval()
    whole = begun()
    stepped(whole, network, 0)
    batch, draws = toy_batch(objective.views(), 0)
    for some in (slice(0, 6), slice(6, 12)):
        part = replace(batch, views=(batch.views[0][some],), anchors=batch.anchors[some])
        half = TensorDraws(Draws(0, 0, draws._draws.samples[some]), draws.device)
        torch.autograd.backward(objective(network, part, half).total)
    objective.after_step(network, batch, Progress(1, 9))
    assert torch.equal(entries_of(objective), entries_of(whole))
    assert float(objective.log_z) == pytest.approx(float(whole.log_z), rel=1e-6)


def test_it_has_to_begin() -> None:
    objective = Npid(NpidSettings())
    network = objective.network(ToyEncoder())
    with pytest.raises(TrainingError, match="no memory bank yet; call begin"):
        objective(network, *toy_batch(objective.views(), 0))


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0; choose a number above 0"),
        ({"noise": 0}, "noise is 0; choose 1 or more"),
        ({"momentum": 1.5}, "momentum is 1.5; choose a number from 0 to 1"),
        ({"form": "hard"}, "form is 'hard'; choose one of nce, softmax, sampled-softmax"),
        ({"bank": "disk"}, "bank is 'disk'; choose one of device, host"),
        ({"form": "softmax", "noise": 9}, "leave it out, or choose sampled-softmax"),
        ({"proximal_weight": -1.0}, "proximal_weight is -1; choose 0 or more"),
        ({"descriptor_length": 0}, "descriptor_length is 0"),
    ],
)
def test_impossible_npids_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        NpidSettings(**settings)


def test_more_noise_than_there_are_other_tiles_is_refused(workspace: Path) -> None:
    with pytest.raises(TooFewTilesError, match="noise is 48, but a tile has only 47 others"):
        begun(noise=TILES)
    values = {"form": "nce", "noise": "1000000"}
    with pytest.raises(TooFewTilesError, match=r"noise is 1,000,000, but .* lower noise"):
        small_pretrain(workspace, method="npid", method_values=values)
    assert not (workspace / "runs").exists()


def test_another_number_of_tiles_cannot_be_resumed() -> None:
    objective, state = begun(), Npid(NpidSettings())
    state.begin(TILES - 8, seed=3)
    with pytest.raises(CheckpointError, match="entry for each of 40 tiles, and there are 48"):
        objective.load_state_dict(state.state_dict())


# ------------------------------------------------------------------ whole runs


@pytest.mark.parametrize(("form", "bank"), [("nce", "device"), ("softmax", "host")])
def test_a_stopped_run_goes_on_with_the_same_bank(workspace: Path, form: str, bank: str) -> None:
    values: dict[str, Any] = {"method": "npid", "method_values": {"form": form, "bank": bank}}
    values |= {"steps": 4, "train_values": {"checkpoint_every": 2}}
    made = small_pretrain(workspace, **values)
    last = torch.load(made.result.checkpoint, weights_only=True)
    made.result.checkpoint.unlink()
    heard = Heard()
    again = small_pretrain(workspace, resume=True, watcher=heard, **values)
    assert heard.steps == [3, 4]
    resumed = torch.load(again.result.checkpoint, weights_only=True)
    assert resumed["state"]["objective"].keys() == {"log_z", "bank.entries"}
    for name, value in last["state"]["objective"].items():
        assert torch.equal(resumed["state"]["objective"][name], value), name
    assert again.record.header.content_digest == made.record.header.content_digest
