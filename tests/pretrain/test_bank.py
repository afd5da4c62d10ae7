"""The memory bank: its entries, what is drawn from it, and sums over all of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi_tower.pretrain import bank as bank_module
from wsi_tower.pretrain.bank import BankPlace, MemoryBank
from wsi_tower.pretrain.noise import numbers_below, words

MASK = (1 << 64) - 1


def bank(tiles: int = 40, place: BankPlace = "device", seed: int = 5) -> MemoryBank:
    return MemoryBank(tiles, 128, seed, momentum=0.5, place=place)


def splitmix64(seed: int, count: int) -> list[int]:
    """The generator as Steele, Lea and Flood print it."""
    made = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        made.append(z ^ (z >> 31))
    return made


@settings(deadline=None)
@given(keys=st.lists(st.integers(0, (1 << 63) - 1), min_size=1, max_size=4))
def test_words_are_those_of_splitmix64(keys: list[int]) -> None:
    made = words(torch.tensor(keys), 5).numpy().view(np.uint64)
    assert made.tolist() == [splitmix64(key, 5) for key in keys]


def test_numbers_are_uniform_below_their_bound() -> None:
    keys = torch.arange(100)
    numbers = numbers_below(keys, 4000, 10_000_000)
    assert 0 <= int(numbers.min()) < 100
    assert 9_999_900 <= int(numbers.max()) < 10_000_000
    counts = torch.bincount(numbers_below(keys, 4000, 8).flatten(), minlength=8)
    # 50 000 each, with a deviation of √(400 000 · 1/8 · 7/8) = 209.
    assert len(counts) == 8
    assert (counts - 50_000).abs().max() < 5 * 209


def test_entries_begin_as_directions_by_seed_and_tile() -> None:
    few, many, other = bank(40), bank(20_000), bank(40, seed=6)
    torch.testing.assert_close(
        many.entries.float().norm(dim=1), torch.ones(20_000), atol=1e-3, rtol=0
    )
    assert torch.equal(many.entries[:40], few.entries)
    assert not torch.equal(other.entries, few.entries)
    # In 128 dimensions two directions are all but orthogonal: cosines deviate by 1/√128 = 0.088.
    cosines = many.entries[:10_000].float() @ many.entries[10_001].float()
    assert abs(float(cosines.mean())) < 5 * 0.088 / 100
    assert float(cosines.std()) == pytest.approx(128**-0.5, rel=0.05)


def test_a_length_need_not_fit_into_words() -> None:
    entries = MemoryBank(3, 7, 0, momentum=0.5, place="device").entries
    assert entries.shape == (3, 7)
    torch.testing.assert_close(entries.float().norm(dim=1), torch.ones(3), atol=1e-3, rtol=0)


def test_entries_are_found_by_number_in_any_shape() -> None:
    one = bank()
    numbers = torch.tensor([[3, 39, 3], [0, 1, 2]])
    found = one.of(numbers)
    assert (found.dtype, found.shape) == (torch.float32, (2, 3, 128))
    assert torch.equal(found[0, 1], one.entries[39].float())


def test_a_bank_on_the_host_stays_there_as_it_is() -> None:
    on_device, on_host = bank().to("meta"), bank(place="host").to("meta").double()
    assert on_device.entries.device.type == "meta"
    assert on_host.entries.device.type == "cpu"
    assert on_host.entries.dtype == torch.float16
    assert torch.equal(on_host.entries, bank().entries)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_partition_and_its_gradient_go_over_all_blocks(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bank()
    described = torch.randn(6, 128, generator=torch.Generator().manual_seed(1))
    described = torch.nn.functional.normalize(described, dim=1)
    plain, blockwise = (described.clone().requires_grad_() for _ in range(2))
    expected = torch.logsumexp(plain @ one.entries.float().T / temperature, dim=1)
    torch.autograd.backward(expected.square().sum())
    monkeypatch.setattr(bank_module, "_BLOCK", 7)
    partition = one.log_partition(blockwise, temperature)
    torch.autograd.backward(partition.square().sum())
    torch.testing.assert_close(partition, expected)
    torch.testing.assert_close(blockwise.grad, plain.grad)


def test_scores_and_their_gradient_go_over_all_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    one = bank()
    generator = torch.Generator().manual_seed(1)
    plain = torch.randn(7, 128, generator=generator).requires_grad_()
    portioned = plain.detach().clone().requires_grad_()
    numbers = torch.randint(0, 40, (7, 5), generator=generator)
    expected = (one.of(numbers) * plain[:, None]).sum(dim=2)
    torch.autograd.backward(expected.square().sum())
    monkeypatch.setattr(bank_module, "_AT_ONCE", 2 * 5 * 128)
    with torch.autocast("cpu", torch.bfloat16):
        scores = one.scores(portioned, numbers)
    torch.autograd.backward(scores.square().sum())
    torch.testing.assert_close(scores, expected)
    torch.testing.assert_close(portioned.grad, plain.grad)
