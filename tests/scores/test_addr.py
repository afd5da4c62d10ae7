"""ADDR against cases worked by hand, and against the formula written as loops."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from wsi_tower.errors import ScoreError, SettingsError
from wsi_tower.pairs import PairSettings
from wsi_tower.scores import AddrSettings, BootstrapSettings, addr, draw_pairs

Features = NDArray[np.float32]


def field(columns: int, rows: int, pitch_um: float = 1000) -> NDArray[np.float64]:
    """Centres of a whole field of tiles: (columns × rows, 2)."""
    return np.array(list(product(range(columns), range(rows))), np.float64) * pitch_um


def line(*x_um: float) -> NDArray[np.float64]:
    return np.array([(x, 0.0) for x in x_um])


CORNERS = AddrSettings(PairSettings(near_um=1000, far_um=5000), pairs_per_tile=2)


def test_by_hand() -> None:
    # Two tiles at each end of 10 mm: each has one near partner and, of distant ones, two.
    centres = line(0, 1000, 10_000, 11_000)
    features = np.array([[0.0], [1.0], [5.0], [7.0]], np.float32)
    found = addr([features], [draw_pairs("a", centres, replace(CORNERS, pairs_per_tile=4000))])
    # Near: 1, 1, 2, 2. Distant, on average over both partners: 6, 5, 4.5, 6.5.
    assert found.slides[0].near == pytest.approx(1.5)
    assert found.slides[0].distant == pytest.approx(5.5, rel=0.01)
    assert found.pooled == pytest.approx(5.5 / 1.5, rel=0.01)
    assert (found.slides[0].anchors, found.pairs) == (4, 16_000)
    assert found.interval is None


def test_pooled_is_over_all_pairs_and_slides_have_their_own() -> None:
    # A pair a tile, so that means are exact: near distances 1 and 3, distant ones 4 and 6.
    both = [line(0, 1000, 10_000, 11_000)] * 2
    features = [np.array([[0], [1], [0], [1]]), np.array([[0], [3], [0], [3]])]
    pairs = [draw_pairs(name, centres, CORNERS) for name, centres in zip("ab", both, strict=True)]
    found = addr([one.astype(np.float32) for one in features], pairs)
    a, b = found.slides
    assert (a.near, b.near) == (1, 3)
    assert found.pooled == pytest.approx((a.distant + b.distant) / (a.near + b.near))
    assert found.slide_mean == pytest.approx((a.distant / a.near + b.distant / b.near) / 2)


def test_it_is_the_papers_formula() -> None:
    rng = np.random.default_rng(3)
    slides = [rng.uniform(0, 16_000, (60, 2)), rng.uniform(0, 14_000, (40, 2))]
    features = [rng.normal(size=(len(one), 5)).astype(np.float32) for one in slides]
    settings = AddrSettings(pairs_per_tile=3)
    pairs = [draw_pairs(f"s{i}", one, settings) for i, one in enumerate(slides)]
    distances: dict[str, list[float]] = {"near": [], "distant": []}
    for values, drawn in zip(features, pairs, strict=True):
        for kind, found in distances.items():
            for anchor, partners in zip(drawn.anchors, drawn.partners[kind], strict=True):  # type: ignore[index]
                found += [float(np.linalg.norm(values[anchor] - values[one])) for one in partners]
    expected = np.mean(distances["distant"]) / np.mean(distances["near"])
    assert addr(features, pairs).pooled == pytest.approx(expected, rel=1e-6)


def test_random_descriptors_score_one_and_places_more() -> None:
    slides = [field(14, 14), field(13, 15)]
    pairs = [draw_pairs(f"s{i}", one, AddrSettings()) for i, one in enumerate(slides)]
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(len(one), 64)).astype(np.float32) for one in slides]
    found = addr(noise, pairs)
    assert found.pooled == pytest.approx(1, abs=0.01)
    assert addr([one.astype(np.float32) for one in slides], pairs).pooled > 5


def test_scale_changes_nothing_and_an_offset_common_to_all_neither() -> None:
    rng = np.random.default_rng(1)
    pairs = [draw_pairs("a", field(14, 14), AddrSettings())]
    features = rng.normal(size=(196, 8)).astype(np.float32)
    one = addr([features], pairs).pooled
    assert addr([7 * features], pairs).pooled == pytest.approx(one, rel=1e-5)
    # Descriptors that all have the same vector added keep their distances.
    assert addr([features + 3], pairs).pooled == pytest.approx(one, rel=1e-5)


class TestPairs:
    def test_they_keep_the_limits_and_depend_on_nothing_else(self) -> None:
        centres = field(14, 14)
        drawn = draw_pairs("a", centres, AddrSettings(seed=4))
        again = draw_pairs("a", centres, AddrSettings(seed=4))
        for kind, partners in drawn.partners.items():
            assert partners.shape == (len(drawn.anchors), 8)
            np.testing.assert_array_equal(partners, again.partners[kind])
            apart = np.linalg.norm(centres[partners] - centres[drawn.anchors][:, None], axis=2)
            assert (apart <= 2000).all() if kind == "near" else (apart > 10_000).all()
        assert (drawn.partners["near"] != drawn.anchors[:, None]).all()

    @pytest.mark.parametrize("other", [("b", 4), ("a", 5)])
    def test_another_slide_or_seed_draws_others(self, other: tuple[str, int]) -> None:
        centres = field(14, 14)
        drawn = draw_pairs("a", centres, AddrSettings(seed=4)).partners["near"]
        name, seed = other
        others = draw_pairs(name, centres, AddrSettings(seed=seed)).partners["near"]
        assert (drawn != others).mean() > 0.5

    def test_repeats_of_a_tile_differ(self) -> None:
        near = draw_pairs("a", field(14, 14), AddrSettings()).partners["near"]
        assert (near[:, 0] != near[:, 1]).mean() > 0.8


class TestBadInput:
    def test_small_tissue_has_no_distant_pairs(self) -> None:
        small, large = field(3, 3), field(14, 14)
        rng = np.random.default_rng(0)
        features = [rng.normal(size=(len(one), 4)).astype(np.float32) for one in (small, large)]
        pairs = [
            draw_pairs(n, one, AddrSettings()) for n, one in zip("ab", (small, large), strict=True)
        ]
        found = addr(features, pairs)
        assert [(one.anchors > 0, one.addr is None) for one in found.slides] == [
            (False, True),
            (True, False),
        ]
        assert found.slide_mean == found.pooled
        with pytest.raises(ScoreError, match="none of 1 slides has a tile with a near and a dist"):
            addr(features[:1], pairs[:1])

    def test_what_is_no_number_is_named(self) -> None:
        features = np.ones((196, 4), np.float32)
        features[7] = np.nan
        with pytest.raises(ScoreError, match="slide bad has descriptors that are not finite"):
            addr([features], [draw_pairs("bad", field(14, 14), AddrSettings())])

    def test_a_collapsed_encoder_has_no_ratio(self) -> None:
        pairs = [draw_pairs("a", field(14, 14), AddrSettings())]
        with pytest.raises(ScoreError, match="collapsed"):
            addr([np.ones((196, 4), np.float32)], pairs)

    def test_settings_that_cannot_be(self) -> None:
        with pytest.raises(SettingsError, match="0 pairs a tile"):
            AddrSettings(pairs_per_tile=0)
        with pytest.raises(SettingsError, match="ADDR compares tiles of one slide"):
            AddrSettings(PairSettings(cross_slide=0.5))


def test_the_interval_is_over_slides() -> None:
    centres = field(14, 14)
    rng = np.random.default_rng(0)
    place = centres / 10_000
    features = [
        np.hstack([weight * place, rng.normal(size=(196, 4))]).astype(np.float32)
        for weight in (0.0, 0.5, 1.0, 2.0, 4.0)
    ]
    pairs = [draw_pairs(f"s{i}", centres, AddrSettings()) for i in range(5)]
    found = addr(features, pairs)
    ratios = [one.addr or 0.0 for one in found.slides]
    assert ratios == sorted(ratios)
    assert found.interval is not None
    assert ratios[0] <= found.interval.low < found.pooled < found.interval.high <= ratios[-1]
    again = addr(features, pairs, BootstrapSettings(seed=1)).interval
    assert again != found.interval
    assert again == pytest.approx(found.interval, rel=0.05)
