"""ADDR: how much farther apart distant tiles are described than near ones.

The average descriptor distance ratio of Gildenblat and Klaiman (arXiv 1905.08139)::

    ADDR = mean ‖f(a) − f(b)‖₂ over distant pairs  /  mean ‖f(a) − f(b)‖₂ over near pairs

It is 1 where descriptors know nothing of place, does not change when they are scaled, and does when
a constant number is added to each. "Global", all pairs of all slides pooled, is published; the
ratio of each slide by itself is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.draws import Draws
from wsi_tower.errors import ScoreError, SettingsError
from wsi_tower.pairs import PairSampler, PairSettings
from wsi_tower.scores.bootstrap import BootstrapSettings, Interval, interval_over_slides, ratio_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from wsi_tower.embeddings import FeatureArray
    from wsi_tower.pairs import PairKind

__all__ = ["Addr", "AddrSettings", "SlideAddr", "SlidePairs", "addr", "draw_pairs"]

_BLOCK_BYTES = 1 << 25
_ROW_BITS = 31


@dataclass(frozen=True, slots=True)
class AddrSettings:
    """Which pairs are compared."""

    pairs: PairSettings = field(default_factory=PairSettings)
    """What is near and what distant; the published distances by default."""
    pairs_per_tile: int = 8
    """Near pairs, and as many distant ones, of each tile that has both: published, as remembered
    of the paper."""
    seed: int = 0
    """What the pairs depend on."""

    def __post_init__(self) -> None:
        if self.pairs_per_tile < 1:
            raise SettingsError(
                f"{self.pairs_per_tile} pairs a tile; take 1 or more, the paper has 8"
            )
        if self.pairs.cross_slide:
            raise SettingsError(
                f"cross_slide is {self.pairs.cross_slide:g}, but ADDR compares tiles of one slide; "
                f"leave it at 0"
            )


@dataclass(frozen=True, slots=True, eq=False)
class SlidePairs:
    """The pairs of one slide, the same for every encoder."""

    slide_id: str
    """The slide."""
    tiles: int
    """Its tiles, N."""
    anchors: NDArray[np.int64]
    """Rows of the tiles that have a near and a distant partner: (A,)."""
    partners: Mapping[PairKind, NDArray[np.int64]]
    """Rows of their partners of each kind: (A, P)."""


@dataclass(frozen=True, slots=True)
class SlideAddr:
    """One slide's distances."""

    slide_id: str
    """The slide."""
    tiles: int
    """Its tiles."""
    anchors: int
    """Those with a near and a distant partner; 0 on small tissue."""
    pairs: int
    """Pairs of each kind."""
    near: float
    """Mean distance of descriptors of near pairs; 0 without pairs."""
    distant: float
    """Mean distance of descriptors of distant pairs; 0 without pairs."""

    @property
    def addr(self) -> float | None:
        """The slide's own ratio; None where it has no pairs, or near pairs are all alike."""
        return self.distant / self.near if self.near > 0 else None


@dataclass(frozen=True, slots=True)
class Addr:
    """The ratio, pooled and of every slide."""

    pooled: float
    """Mean over all distant pairs by mean over all near pairs."""
    interval: Interval | None
    """Of ``pooled`` over slides; None for a single slide."""
    slides: tuple[SlideAddr, ...]
    """Every slide, those without pairs too."""

    @property
    def pairs(self) -> int:
        """Pairs of each kind."""
        return sum(slide.pairs for slide in self.slides)

    @property
    def slide_mean(self) -> float:
        """Mean of the slides' own ratios: ours, no published score."""
        ratios = [slide.addr for slide in self.slides if slide.addr is not None]
        return float(np.mean(ratios))


def draw_pairs(slide_id: str, centre_um: NDArray[np.float64], settings: AddrSettings) -> SlidePairs:
    """Draw a slide's pairs. They depend on its name, its tiles and the settings, nothing else.

    Args:
        slide_id: of the slide; part of the key of every draw.
        centre_um: centres of its tiles in micrometres: (N, 2).
        settings: which pairs.
    """
    sampler = PairSampler([centre_um], settings.pairs)
    anchors = sampler.anchors("near", "distant")
    samples = _slide_number(slide_id) + anchors
    kinds: tuple[PairKind, ...] = ("near", "distant")
    drawn = {
        kind: [
            sampler.partners(kind, anchors, Draws(settings.seed, time, samples))
            for time in range(settings.pairs_per_tile)
        ]
        for kind in kinds
    }
    partners = {kind: np.stack(columns, axis=1) for kind, columns in drawn.items()}
    return SlidePairs(slide_id, len(centre_um), anchors, partners)


def addr(
    features: Sequence[FeatureArray],
    pairs: Sequence[SlidePairs],
    bootstrap: BootstrapSettings | None = None,
) -> Addr:
    """ADDR of an encoder.

    Args:
        features: descriptors, one (N_i, D) a slide.
        pairs: the slides' pairs, as `draw_pairs` gives them.
        bootstrap: how the interval is drawn.

    Raises:
        ScoreError: no slide has pairs, a descriptor is not finite, or near tiles are all described
            alike.
    """
    slides = tuple(map(_distances, features, pairs))
    if not any(slide.pairs for slide in slides):
        raise ScoreError(
            f"none of {len(slides)} slides has a tile with a near and a distant partner: their "
            f"tissue is too small for these distances; take a smaller --far (and look with "
            f"`wsi-tower pairs`)"
        )
    sums = np.array([[one.pairs * one.distant, one.pairs * one.near] for one in slides])
    sums = sums[[one.pairs > 0 for one in slides]]
    distant, near = sums.sum(axis=0)
    if near == 0:
        raise ScoreError(
            "near tiles all have the same descriptor, so that there is no ratio; the encoder has "
            "collapsed, or was given empty tiles: look at its run's curves.png"
        )
    interval = interval_over_slides(sums, ratio_of, bootstrap or BootstrapSettings())
    return Addr(float(distant / near), interval, slides)


def _distances(features: FeatureArray, pairs: SlidePairs) -> SlideAddr:
    anchors = len(pairs.anchors)
    count = anchors * pairs.partners["near"].shape[1]
    near, distant = (
        _mean_distance(features, pairs.anchors, pairs.partners[kind]) if count else 0.0
        for kind in ("near", "distant")
    )
    if not np.isfinite(near + distant):
        raise ScoreError(
            f"slide {pairs.slide_id} has descriptors that are not finite numbers; embed it again "
            f"with --overwrite, in float32"
        )
    return SlideAddr(pairs.slide_id, pairs.tiles, anchors, count, near, distant)


def _mean_distance(
    features: FeatureArray, anchors: NDArray[np.int64], partners: NDArray[np.int64]
) -> float:
    """Mean L2 distance of each anchor (A,) to its partners (A, P), a block of anchors at once."""
    total = 0.0
    rows = max(1, _BLOCK_BYTES // (8 * features.shape[1] * partners.shape[1]))
    for start in range(0, len(anchors), rows):
        block = slice(start, start + rows)
        ends = np.asarray(features[partners[block]], np.float64)
        ends -= np.asarray(features[anchors[block]], np.float64)[:, None]
        total += float(np.sqrt(np.einsum("apd,apd->ap", ends, ends)).sum())
    return total / partners.size


def _slide_number(slide_id: str) -> int:
    """Where the samples of a slide's tiles begin: apart from those of any other slide."""
    key = blake2b(slide_id.encode("utf-8", "surrogateescape"), digest_size=4).digest()
    return int.from_bytes(key, "little") << _ROW_BITS
