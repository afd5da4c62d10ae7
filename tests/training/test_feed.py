"""The feed: every tile once an epoch, the same steps whoever asks, and nothing left running."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.training.toys import KINDS, TILES, ToyPartners, ToyPictures
from wsi_tower.errors import SettingsError, TooFewTilesError, TrainingError
from wsi_tower.training import (
    AugmentSettings,
    FedStep,
    Share,
    StorePictures,
    TileFeed,
    TrainSettings,
    ViewPlan,
    ViewRecipe,
)

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.training.pictures import PictureSource

STILL = AugmentSettings(crop_px=32, flips=False, quarter_turns=False)
ALL = np.arange(TILES)


def toy_feed(
    plan: ViewPlan | None = None,
    augment: AugmentSettings = STILL,
    pictures: PictureSource | None = None,
    anchors: np.ndarray = ALL,
    share: Share | None = None,
    **settings: Any,
) -> TileFeed:
    values: dict[str, Any] = {
        "steps": 100,
        "batch_size": 10,
        "device": "cpu",
        "threads": 2,
        "seed": 3,
    }
    recipe = ViewRecipe(plan or ViewPlan(), augment)
    return TileFeed(
        pictures or ToyPictures(),
        anchors,
        recipe,
        TrainSettings(**(values | settings)),
        partners=ToyPartners(),
        share=share,
    )


def fed(feed: TileFeed, first: int, stop: int) -> list[FedStep]:
    with closing(feed.steps(first, stop)) as steps:
        return list(steps)


def anchors_of(steps: list[FedStep]) -> list[list[int]]:
    return [step.batch.anchors.tolist() for step in steps]


def same(one: FedStep, other: FedStep) -> bool:
    pairs = zip(
        [*one.batch.views, *one.batch.local_views, one.batch.anchors],
        [*other.batch.views, *other.batch.local_views, other.batch.anchors],
        strict=True,
    )
    return one.step == other.step and all(torch.equal(*pair) for pair in pairs)


# ------------------------------------------------------------------ which tiles


def test_an_epoch_meets_no_tile_twice_and_each_is_another_order() -> None:
    feed = toy_feed()
    assert feed.order.steps_per_epoch == 4
    steps = anchors_of(fed(feed, 0, 24))
    epochs = [list(chain(*steps[first : first + 4])) for first in range(0, 24, 4)]
    assert all(len(set(epoch)) == 40 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    # Eight tiles are left out each time: over six epochs every tile is met.
    assert set().union(*epochs) == set(range(TILES))


def test_orders_are_uniform() -> None:
    firsts = np.concatenate(
        [toy_feed(seed=seed).order.tiles(0, Share()).anchors for seed in range(300)]
    )
    counts = np.bincount(firsts, minlength=TILES)
    expected = 3000 / TILES
    # Draws without replacement vary less than the chi-square of 47 degrees: 99.9 % below 82.
    assert ((counts - expected) ** 2 / expected).sum() < 82


@pytest.mark.parametrize("partner", ["same", "near", "distant", "near-or-distant"])
def test_threads_starts_and_ranks_change_nothing(partner: Any) -> None:
    plan = ViewPlan(partner=partner, local_views=1, local_px=8)
    augment = AugmentSettings(crop_px=16, stain=0.1, brightness=0.2)
    anchors = ALL[:-1]
    whole = fed(toy_feed(plan, augment, anchors=anchors), 0, 9)
    single = fed(toy_feed(plan, augment, anchors=anchors, threads=1), 5, 9)
    assert all(same(*pair) for pair in zip(whole[5:], single, strict=True))
    ranks = [
        fed(toy_feed(plan, augment, anchors=anchors, share=Share(rank, 2)), 5, 9)
        for rank in range(2)
    ]
    for step, *shares in zip(whole[5:], *ranks, strict=True):
        for place, views in enumerate(zip(*(share.batch.views for share in shares), strict=True)):
            assert torch.equal(step.batch.views[place], torch.cat(views))
        joined = torch.cat([share.batch.anchors for share in shares])
        assert torch.equal(step.batch.anchors, joined)


@pytest.mark.parametrize("partner", ["near", "distant", "near-or-distant"])
def test_the_second_view_shows_a_partner(partner: Any) -> None:
    pictures = ToyPictures()
    plan = ViewPlan(views=3, partner=partner)
    feed = toy_feed(plan, pictures=pictures, anchors=ALL[:-1])
    near = 0
    for step in fed(feed, 0, 8):
        shown = [(view * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
                 for view in step.batch.views]  # fmt: skip
        np.testing.assert_array_equal(shown[0], pictures.pixels[step.batch.anchors])
        np.testing.assert_array_equal(shown[1], shown[2])
        partners = [
            int(np.flatnonzero((pictures.pixels == one).all(axis=(1, 2, 3)))[0]) for one in shown[1]
        ]
        is_near = np.array(partners) % KINDS == step.batch.anchors.numpy() % KINDS
        assert (np.array(partners) != step.batch.anchors.numpy()).all()
        if partner == "near-or-distant":
            assert step.batch.is_near is not None
            np.testing.assert_array_equal(step.batch.is_near.numpy(), is_near)
            near += is_near.sum()
        else:
            assert step.batch.is_near is None
            assert is_near.all() == is_near.any() == (partner == "near")
    if partner == "near-or-distant":
        assert 22 <= near <= 58  # of 80 fair coins: four deviations


def test_views_of_one_tile_are_augmented_apart() -> None:
    plan = ViewPlan(local_views=2, local_px=8)
    augment = AugmentSettings(crop_px=16, local_scale=(0.5, 0.9))
    (step,) = fed(toy_feed(plan, augment), 0, 1)
    assert [view.shape for view in step.batch.views] == [(10, 3, 16, 16)] * 2
    assert [view.shape for view in step.batch.local_views] == [(10, 3, 8, 8)] * 2
    assert not torch.equal(*step.batch.views)
    assert not torch.equal(*step.batch.local_views)


def test_parts_are_the_batch_with_its_draws() -> None:
    (step,) = fed(toy_feed(ViewPlan(partner="near-or-distant"), anchors=ALL[:-1]), 2, 3)
    parts = list(step.parts(5))
    assert [len(part.anchors) for part, _ in parts] == [2] * 5
    assert torch.equal(torch.cat([part.views[1] for part, _ in parts]), step.batch.views[1])
    draws = torch.cat([draws.uniform("x") for _, draws in parts])
    np.testing.assert_allclose(draws, step.draws.uniform("x"), atol=1e-7)
    ((whole, _),) = step.parts(1)
    assert torch.equal(whole.anchors, step.batch.anchors)


# ------------------------------------------------------------------ what cannot be


def test_fewer_tiles_than_a_batch_are_said_with_the_remedy() -> None:
    with pytest.raises(TooFewTilesError, match=r"batch of 50 needs more than the 48 tiles.*to 48"):
        toy_feed(batch_size=50)
    with pytest.raises(TooFewTilesError, match=r"the 3 tiles with a near partner.*distances"):
        toy_feed(ViewPlan(partner="near"), anchors=ALL[:3])


def test_partners_need_places() -> None:
    with pytest.raises(TrainingError, match="compares a tile with a distant one"):
        TileFeed(
            ToyPictures(),
            ALL,
            ViewRecipe(ViewPlan(partner="distant"), STILL),
            TrainSettings(1, 4, device="cpu"),
        )


@pytest.mark.parametrize(
    ("augment", "plan"),
    [
        (AugmentSettings(crop_px=33), ViewPlan()),
        (AugmentSettings(crop_px=32, scale=(0.5, 1.1)), ViewPlan()),
        (AugmentSettings(crop_px=16), ViewPlan(local_views=1, local_px=40)),
    ],
)
def test_views_larger_than_tiles_are_refused(augment: AugmentSettings, plan: ViewPlan) -> None:
    with pytest.raises(SettingsError, match=r"show up to (33|34|40) px of a tile.*have 32 px"):
        toy_feed(plan, augment)


def test_a_batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(SettingsError, match="10 cannot be shared by 3 processes"):
        fed(toy_feed(share=Share(0, 3)), 0, 1)


# ------------------------------------------------------------------ threads


class Slow(ToyPictures):
    """Counts what is read, and fails or waits where told."""

    def __init__(self, *, fails_on: int = -1, seconds: float = 0.0) -> None:
        super().__init__()
        self.reads, self.fails_on, self.seconds = 0, fails_on, seconds
        self.busy: set[str] = set()

    def read_into(self, numbers: np.ndarray, pixels: np.ndarray) -> None:
        self.reads += len(numbers)
        self.busy.add(threading.current_thread().name)
        time.sleep(self.seconds)
        if self.fails_on in numbers:
            raise TrainingError(f"tile {self.fails_on} is damaged")
        super().read_into(numbers, pixels)


def reading_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("tiles")]


def test_what_goes_wrong_in_a_thread_is_raised_at_its_step() -> None:
    feed = toy_feed()
    epoch = anchors_of(fed(feed, 0, 4))
    feed = toy_feed(pictures=Slow(fails_on=epoch[2][5]))
    seen: list[int] = []
    with (
        pytest.raises(TrainingError, match="is damaged"),
        closing(feed.steps(0, 4)) as steps,
    ):
        seen.extend(step.step for step in steps)
    assert seen == [0, 1]
    assert reading_threads() == []


def test_reading_ahead_is_bounded_and_closing_stops_it() -> None:
    pictures = Slow()
    steps = toy_feed(pictures=pictures).steps(0, 100)
    next(steps)
    time.sleep(0.1)
    assert pictures.reads <= 30
    pictures.seconds = 0.05
    begin = time.perf_counter()
    steps.close()
    assert time.perf_counter() - begin < 1
    assert reading_threads() == []


def test_the_end_is_not_read_past() -> None:
    pictures = Slow()
    assert len(fed(toy_feed(pictures=pictures), 0, 2)) == 2
    assert pictures.reads == 20
    assert fed(toy_feed(), 2, 2) == []


# ------------------------------------------------------------------ stores, and the probe


def test_stores_feed_as_they_are_read(stores: list[Path]) -> None:
    with StorePictures.open(stores, warn=pytest.fail) as pictures:
        augment = AugmentSettings(crop_px=256, flips=False, quarter_turns=False)
        feed = TileFeed(
            pictures,
            np.arange(len(pictures)),
            ViewRecipe(ViewPlan(), augment),
            TrainSettings(2, 20, device="cpu"),
        )
        (step,) = fed(feed, 1, 2)
        expected = np.zeros((20, 256, 256, 3), np.uint8)
        pictures.read_into(step.batch.anchors.numpy(), expected)
    shown = step.batch.views[1].permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(shown, (expected / np.float32(255)).astype(np.float32))


def test_compressed_travel_gives_the_same_batch(stores: list[Path], tmp_path: Path) -> None:
    batches = []
    for compressed in (False, True):
        with StorePictures.open(stores, decode="exact", warn=pytest.fail) as pictures:
            feed = TileFeed(
                pictures,
                np.arange(len(pictures)),
                ViewRecipe(ViewPlan(), AugmentSettings(crop_px=64)),
                TrainSettings(2, 20, device="cpu", decode_on_device=compressed),
            )
            batches += fed(feed, 0, 1)
    for one, other in zip(batches[0].batch.views, batches[1].batch.views, strict=True):
        assert (one - other).abs().max() <= 1.01 / 255
    with pytest.raises(SettingsError, match="needs tile stores of JPEG tiles"):
        toy_feed(decode_on_device=True)


def test_damaged_streams_fall_back_to_what_reading_does(stores: list[Path]) -> None:
    class Broken(StorePictures):
        def streams(self, numbers: np.ndarray) -> list[bytes]:
            return [stream[:300] for stream in super().streams(numbers)]

    with Broken.open(stores, decode="exact", warn=pytest.fail) as pictures:
        augment = AugmentSettings(crop_px=256, flips=False, quarter_turns=False)
        feed = TileFeed(
            pictures,
            np.arange(len(pictures)),
            ViewRecipe(ViewPlan(), augment),
            TrainSettings(2, 20, device="cpu", decode_on_device=True),
        )
        (step,) = fed(feed, 0, 1)
        expected = np.zeros((20, 256, 256, 3), np.uint8)
        pictures.read_into(step.batch.anchors.numpy(), expected)
    shown = (step.batch.views[0] * 255).round().permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(shown, expected)


def test_the_probe_shows_the_middles_of_pairs() -> None:
    pictures = ToyPictures(count=TILES)
    augment = AugmentSettings(crop_px=16)
    probe = toy_feed(augment=augment, pictures=pictures).probe()
    assert probe.near is not None
    assert probe.distant is not None
    assert probe.anchors.shape == probe.near.shape == (TILES - 1, 3, 16, 16)
    middles = pictures.pixels[:, 8:24, 8:24].transpose(0, 3, 1, 2)

    def numbers(shown: torch.Tensor) -> np.ndarray:
        found = (middles[None] == shown.numpy()[:, None]).all(axis=(2, 3, 4))
        return np.asarray(found.argmax(axis=1))

    kinds = [numbers(one) % KINDS for one in (probe.anchors, probe.near, probe.distant)]
    assert (kinds[0] == kinds[1]).all()
    assert (kinds[0] != kinds[2]).all()
    again = toy_feed(augment=augment, pictures=pictures, threads=1).probe()
    assert torch.equal(again.anchors, probe.anchors)


def test_without_places_the_probe_has_anchors_alone() -> None:
    recipe = ViewRecipe(ViewPlan(), STILL)
    settings = TrainSettings(1, 4, device="cpu")
    probe = TileFeed(ToyPictures(), ALL[:7], recipe, settings).probe()
    assert (len(probe.anchors), probe.near, probe.distant) == (7, None, None)
