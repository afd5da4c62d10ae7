"""Every partner is equally likely: chi-square tests on layouts that would give a bias away.

The draws are keyed, so each of these tests comes out the same on every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.pairs.layouts import disc_slide, tissue_slide
from wsi_tower.draws import Draws
from wsi_tower.pairs import PairKind, PairSampler, PairSettings, sampler

if TYPE_CHECKING:
    from numpy.typing import NDArray

RANDOM = np.random.default_rng(11)
LAYOUTS = {
    "tissue with holes": tissue_slide(700, 800.0),
    "clusters": np.concatenate(
        [RANDOM.normal(centre, 400, (250, 2)) for centre in ((0, 0), (2500, 0), (9000, 8000))]
    ),
    "dense beside sparse": np.concatenate(
        [RANDOM.uniform(0, 1500, (600, 2)), RANDOM.uniform(0, 14_000, (600, 2))]
    ),
    "barely distant": disc_slide(10_400, 300),
    "one place": np.concatenate([np.zeros((20, 2)), np.full((30, 2), 9000.0)]),
}
DRAWS_A_PARTNER = 60


def expected_partners(
    centres: NDArray[np.float64], anchor: int, kind: PairKind
) -> NDArray[np.int64]:
    distances = np.hypot(*(centres - centres[anchor]).T)
    is_other = np.arange(len(centres)) != anchor
    return np.flatnonzero((distances <= 2000) & is_other if kind == "near" else distances > 10_000)


def chi_square_score(counts: NDArray[np.int64]) -> float:
    """How many standard deviations the chi-square statistic lies from its mean."""
    freedom = len(counts) - 1
    mean = counts.sum() / len(counts)
    statistic = ((counts - mean) ** 2 / mean).sum()
    return float((statistic - freedom) / np.sqrt(2 * freedom))


@pytest.fixture(params=["as always", "candidates listed at once", "many rounds"])
def rounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way to a partner must be uniform by itself, not only the mixture of them."""
    if request.param == "candidates listed at once":
        monkeypatch.setattr(sampler, "_TRIES", ())
        monkeypatch.setattr(sampler, "_LISTED_AT_ONCE", 5000)
    elif request.param == "many rounds":
        monkeypatch.setattr(sampler, "_TRIES", (1, 2, 3, *(50,) * 100))


@pytest.mark.parametrize("kind", ["near", "distant"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_partner_is_equally_likely(name: str, kind: PairKind, rounds: None) -> None:
    centres = LAYOUTS[name]
    pairs = PairSampler([centres[:40] + 1e6, centres])
    own = pairs.anchors(kind)[pairs.anchors(kind) >= 40]
    if name == "one place" and kind == "distant":
        assert len(own) == 50
    for number, anchor in enumerate(own[:: max(1, len(own) // 4)]):
        expected = expected_partners(centres, int(anchor) - 40, kind) + 40
        count = DRAWS_A_PARTNER * len(expected)
        draws = Draws(number, 0, np.arange(count))
        partners = pairs.partners(kind, np.full(count, anchor), draws)
        counts = np.bincount(partners, minlength=len(pairs))
        assert counts[expected].sum() == count
        if len(expected) > 1:
            # 4.5 deviations lie beyond the 99.99 % quantile of every chi-square used here.
            assert -4.5 < chi_square_score(counts[expected]) < 4.5


def test_tiles_of_other_slides_are_equally_likely() -> None:
    slides = [np.zeros((40, 2)), np.zeros((7, 2)), np.empty((0, 2)), np.zeros((90, 2))]
    pairs = PairSampler(slides, PairSettings(cross_slide=1))
    anchors = np.full(20_000, 41)
    partners = pairs.partners("distant", anchors, Draws(3, 0, np.arange(20_000)))
    counts = np.bincount(partners, minlength=137)
    assert counts[40:47].sum() == 0
    assert -4.5 < chi_square_score(np.delete(counts, slice(40, 47))) < 4.5


def test_neighbouring_samples_draw_independently() -> None:
    centres = tissue_slide(3000, 400.0)
    pairs = PairSampler([centres])
    anchor = int(pairs.anchors("near", "distant")[1500])
    for kind in ("near", "distant"):
        partners = pairs.partners(kind, np.full(20_000, anchor), Draws(1, 1, np.arange(20_000)))
        for offsets in (centres[partners] - centres[anchor]).T:
            assert abs(np.corrcoef(offsets[1:], offsets[:-1])[0, 1]) < 0.03


def test_mean_distances_are_those_of_all_pairs() -> None:
    """Over all anchors at once, as training draws them."""
    centres = tissue_slide(1500, 500.0)
    pairs = PairSampler([centres])
    distances = np.hypot(*(centres[:, None] - centres[None]).T)
    for kind, is_pair in (
        ("near", (distances <= 2000) & (distances > 0)),
        ("distant", distances > 10_000),
    ):
        anchors = np.repeat(pairs.anchors(kind), 40)  # type: ignore[arg-type]
        partners = pairs.partners(kind, anchors, Draws(2, 0, np.arange(len(anchors))))  # type: ignore[arg-type]
        drawn = pairs.distances_um(anchors, partners).mean()
        own = pairs.anchors(kind)  # type: ignore[arg-type]
        means = (distances * is_pair).sum(axis=1)[own] / is_pair.sum(axis=1)[own]
        assert drawn == pytest.approx(means.mean(), rel=0.005)
