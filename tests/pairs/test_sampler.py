"""Partners against a search of all tiles, and that only the draws decide among them."""

from __future__ import annotations

import math
import pickle
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pairs.layouts import disc_slide, naive_partners, tissue_slide
from wsi_tower.draws import Draws
from wsi_tower.errors import SettingsError
from wsi_tower.pairs import PairKind, PairSampler, PairSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

KINDS: tuple[PairKind, ...] = ("near", "distant")
QUARTERS = {0.25: 1, 0.5: 2, 1.0: 4}
"""A pixel in quarters of a micrometre, by pixel size."""

grid = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40)
slide = st.tuples(st.sampled_from(sorted(QUARTERS)), st.integers(0, 2**20), grid)
radius_um = st.sampled_from([64, 128, 192, 320, 640, 1000, 1664, 5000])
"""Many of them are the distance of two tiles: 320 = √(192² + 256²)."""


def draws(count: int, seed: int = 0, step: int = 0) -> Draws:
    return Draws(seed, step, np.arange(count))


def drawn(sampler: PairSampler, kind: PairKind, anchor: int, count: int) -> NDArray[np.int64]:
    """Many partners of one anchor."""
    return sampler.partners(kind, np.full(count, anchor), draws(count))


@settings(deadline=None, max_examples=60)
@given(st.lists(slide, min_size=1, max_size=3), radius_um, radius_um)
def test_partners_are_those_of_an_exact_search(
    slides: list[tuple[float, int, list[tuple[int, int]]]], one_um: int, other_um: int
) -> None:
    near_um, far_um = sorted((one_um, other_um))
    corners_l0 = [[(256 * x + shift, 256 * y) for x, y in places] for _, shift, places in slides]
    mpps = [mpp for mpp, _, _ in slides]
    centres = [
        np.multiply(np.array(corners, np.int64).reshape(-1, 2) + 128, mpp, dtype=np.float64)
        for corners, mpp in zip(corners_l0, mpps, strict=True)
    ]
    in_quarters = [
        [(QUARTERS[mpp] * x, QUARTERS[mpp] * y) for x, y in corners]
        for corners, mpp in zip(corners_l0, mpps, strict=True)
    ]
    sampler = PairSampler(centres, PairSettings(near_um, far_um))
    for kind, limit_um in (("near", near_um), ("distant", far_um)):
        expected = naive_partners(in_quarters, kind, 4 * limit_um)  # type: ignore[arg-type]
        assert sampler.has_partner(kind).tolist() == [bool(one) for one in expected]  # type: ignore[arg-type]
        anchors = np.repeat(sampler.anchors(kind), 4)  # type: ignore[arg-type]
        partners = sampler.partners(kind, anchors, draws(len(anchors)))  # type: ignore[arg-type]
        for anchor, partner in zip(anchors.tolist(), partners.tolist(), strict=True):
            assert partner in expected[anchor]


@pytest.mark.parametrize("mpp", [0.2526, 0.499, 0.97])
def test_odd_pixel_sizes_agree_with_a_search(mpp: float) -> None:
    corners = 224 * np.random.default_rng(1).integers(0, 60, (300, 2))
    centres = np.multiply(corners + 112, mpp, dtype=np.float64)
    limits = PairSettings(near_um=1500, far_um=4000)
    sampler = PairSampler([centres], limits)
    distances = [[math.dist(one, other) for other in centres] for one in centres]
    for anchor, row in enumerate(distances):
        near = [tile for tile, distance in enumerate(row) if distance <= 1500 and tile != anchor]
        assert sampler.has_partner("near")[anchor] == bool(near)
        if near:
            assert set(drawn(sampler, "near", anchor, 20)) <= set(near)
        assert sampler.has_partner("distant")[anchor] == (max(row) > 4000)


def test_the_limits_themselves_are_near_and_not_distant() -> None:
    # 3-4-5 triangles: 5 µm to the second tile, 10 µm to the third, both without rounding.
    centres = np.array([[0, 0], [3, 4], [6, 8], [6, 8.5]])
    sampler = PairSampler([centres], PairSettings(near_um=5, far_um=10))
    assert set(drawn(sampler, "near", 0, 50)) == {1}
    assert set(drawn(sampler, "distant", 0, 50)) == {3}


def test_tiles_with_one_centre_are_near_each_other_but_not_themselves() -> None:
    sampler = PairSampler([np.zeros((3, 2)), np.zeros((1, 2))])
    assert sampler.has_partner("near").tolist() == [True, True, True, False]
    assert set(drawn(sampler, "near", 1, 100)) == {0, 2}
    assert not sampler.has_partner("distant").any()


@pytest.mark.parametrize("tiles", [[], [0], [0, 0], [1], [1, 0, 1]])
def test_without_company_nobody_has_a_partner(tiles: list[int]) -> None:
    sampler = PairSampler([np.full((count, 2), 7.0) for count in tiles])
    assert len(sampler) == sum(tiles)
    for kind in KINDS:
        assert len(sampler.anchors(kind)) == 0
        assert len(sampler.partners(kind, [], draws(0))) == 0


def test_tiles_are_numbered_through_all_slides() -> None:
    pair = np.array([[0.0, 0.0], [100.0, 0.0]])
    sampler = PairSampler([pair, np.empty((0, 2)), pair + 5])
    assert sampler.slide_firsts.tolist() == [0, 2, 2, 4]
    assert sampler.partners("near", [3, 0, 2, 1], draws(4)).tolist() == [2, 1, 3, 0]
    assert sampler.distances_um(np.array([0, 0]), np.array([1, 2])).tolist() == pytest.approx(
        [100, math.nan], nan_ok=True
    )


def test_anchors_have_every_kind_that_is_asked_for() -> None:
    # Near each other, and the third far from both with nobody near.
    centres = np.array([[0, 0], [1000, 0], [20_000, 0]])
    sampler = PairSampler([centres])
    assert sampler.anchors("near").tolist() == [0, 1]
    assert sampler.anchors("distant").tolist() == [0, 1, 2]
    assert sampler.anchors("near", "distant").tolist() == [0, 1]


def test_anchors_without_partner_are_refused_by_number() -> None:
    sampler = PairSampler([np.array([[0, 0], [1000, 0], [20_000, 0]])])
    with pytest.raises(SettingsError, match=r"1 of 2 anchors have no near partner, tile 2 "):
        sampler.partners("near", [0, 2], draws(2))
    with pytest.raises(SettingsError, match="2 anchors with draws for 3"):
        sampler.partners("near", [0, 1], draws(3))


@given(st.permutations(list(range(60))), st.integers(1, 59), st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_workers_and_ranks_change_nothing(order: list[int], cut: int, seed: int) -> None:
    slides = [disc_slide(10_300, 512), disc_slide(11_000, 700)]
    sampler = PairSampler(slides, PairSettings(cross_slide=0.3))
    anchors = sampler.anchors("near", "distant")[:60]
    samples = np.arange(60) * 17 + 5
    for kind in KINDS:
        together = sampler.partners(kind, anchors, Draws(seed, 4, samples))
        copied: PairSampler = pickle.loads(pickle.dumps(sampler))
        for part in (order[:cut], order[cut:]):
            alone = copied.partners(kind, anchors[part], Draws(seed, 4, samples[part]))
            assert (alone == together[part]).all()


def test_seed_step_and_sample_change_the_draw() -> None:
    sampler = PairSampler([tissue_slide(2000)])
    anchors = np.full(200, 700)
    first = sampler.partners("near", anchors, Draws(1, 1, np.arange(200)))
    for other in (
        Draws(2, 1, np.arange(200)),
        Draws(1, 2, np.arange(200)),
        Draws(1, 1, np.arange(200) + 200),
    ):
        assert (sampler.partners("near", anchors, other) != first).mean() > 0.9


def test_some_distant_partners_come_from_other_slides() -> None:
    slides = [disc_slide(12_000, 512), disc_slide(3000, 512), disc_slide(12_000, 1024)]
    sampler = PairSampler(slides, PairSettings(cross_slide=0.25))
    # The second slide has no distant pairs of its own, so its tiles could not keep the share.
    second = slice(*sampler.slide_firsts[1:3])
    assert not sampler.has_partner("distant")[second].any()
    assert sampler.has_partner("near")[second].all()
    anchors = np.resize(sampler.anchors("distant"), 40_000)
    partners = sampler.partners("distant", anchors, draws(40_000))
    distances = sampler.distances_um(anchors, partners)
    assert np.isnan(distances).mean() == pytest.approx(0.25, abs=0.01)
    assert np.nanmin(distances) > 10_000
    near = sampler.partners("near", anchors, draws(40_000))
    assert sampler.distances_um(anchors, near).max() <= 2000


def test_with_all_from_other_slides_no_tile_is_left_out() -> None:
    slides = [np.zeros((3, 2)), np.zeros((1, 2)), np.zeros((5, 2))]
    sampler = PairSampler(slides, PairSettings(cross_slide=1))
    assert sampler.anchors("distant").tolist() == list(range(9))
    assert set(drawn(sampler, "distant", 3, 300)) == {0, 1, 2, 4, 5, 6, 7, 8}
    assert set(drawn(sampler, "distant", 8, 200)) == {0, 1, 2, 3}


def test_other_slides_must_have_tiles() -> None:
    with pytest.raises(SettingsError, match="only one slide has tiles"):
        PairSampler([np.zeros((3, 2)), np.empty((0, 2))], PairSettings(cross_slide=0.5))


@pytest.mark.parametrize(
    "centres",
    [np.zeros(3), np.zeros((3, 3)), np.array([[0, np.nan]]), np.array([[np.inf, 0]])],
)
def test_centres_that_are_none_are_refused(centres: NDArray[np.float64]) -> None:
    with pytest.raises(SettingsError, match=r"slide number 1 are not finite \(N, 2\)"):
        PairSampler([np.zeros((2, 2)), centres])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"near_um": 0}, "near must be above 0"),
        ({"near_um": -2000}, "near must be above 0"),
        ({"near_um": math.nan}, "near must be above 0"),
        ({"near_um": 12_000}, "far must be finite and at least near"),
        ({"far_um": math.inf}, "far must be finite"),
        ({"cross_slide": 1.01}, "share from 0 to 1"),
        ({"cross_slide": math.nan}, "share from 0 to 1"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, float], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        PairSettings(**values)


LAYOUTS: dict[str, Callable[[], NDArray[np.float64]]] = {
    "tissue": lambda: tissue_slide(20_000),
    "barely distant": lambda: disc_slide(10_300, 80),
    "all at one place": lambda: np.zeros((20_000, 2)),
    "each alone": lambda: np.random.default_rng(1).uniform(0, 2e7, (20_000, 2)),
    "two clumps a kilometre apart": lambda: np.concatenate(
        [np.random.default_rng(2).uniform(0, 3000, (10_000, 2)) + shift for shift in (0, 1e9)]
    ),
    "a line": lambda: np.stack([np.arange(20_000) * 100.0, np.zeros(20_000)], axis=1),
    "few near among many just beyond": lambda: np.concatenate(
        [2001 * _circle(20_000), [[0, 0], [1, 1]]]
    ),
}


def _circle(points: int) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_layout_takes_long_or_much_memory(name: str) -> None:
    centres = LAYOUTS[name]()
    began = time.perf_counter()
    sampler = PairSampler([centres])
    for kind in KINDS:
        own = sampler.anchors(kind)
        anchors = np.resize(own, 4096 if len(own) else 0)
        partners = sampler.partners(kind, anchors, draws(len(anchors)))
        assert (partners != anchors).all()
    # 0.2 s on one quiet core at most; the bound leaves room for a busy machine.
    assert time.perf_counter() - began < 4
    assert len(pickle.dumps(sampler)) <= 110 * len(centres)


def test_few_near_among_many_just_beyond_are_found() -> None:
    sampler = PairSampler([LAYOUTS["few near among many just beyond"]()])
    assert sampler.partners("near", [20_000, 20_001], draws(2)).tolist()[0] == 20_001
