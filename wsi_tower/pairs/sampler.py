"""`PairSampler`: for an anchor a partner, uniform among all tiles that may be one.

Candidates are drawn until one is a partner, which makes every partner equally likely; anchors that
are out of luck for long have all their candidates looked at, so that every draw ends. Nothing is
random but the draws that are handed in, so workers and ranks change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.draws import Draws
from wsi_tower.errors import SettingsError
from wsi_tower.pairs.candidates import Candidates
from wsi_tower.pairs.settings import PairSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from wsi_tower.pairs.settings import PairKind

__all__ = ["PairSampler"]

_TRIES = (1, 2, 4, 16, 48)
"""Candidates drawn at once, round by round, for the anchors that are still without a partner."""
_LISTED_AT_ONCE = 1 << 18
"""Candidates looked at together, unless one anchor alone has more."""
_ANCHORS_AT_ONCE = 1 << 15
"""Anchors that are looked at together to learn whether they have a partner."""


class PairSampler:
    """Draws partners among the tiles of any number of slides, in memory linear in the tiles.

    Tiles are numbered through all slides: those of the first slide, then those of the second, and
    so on. Tiles with the same centre are different tiles, and near each other.
    """

    def __init__(
        self, centres_um: Sequence[NDArray[np.float64]], settings: PairSettings | None = None
    ) -> None:
        """Learn which tiles have a partner.

        Args:
            centres_um: centres in micrometres, one (N_i, 2) a slide, as `TileStore.centre_um`
                gives them; N_i may be 0.
            settings: which tiles may be paired; None: the published distances.

        Raises:
            SettingsError: centres of another shape or not finite, or partners on other slides
                asked for where only one slide has tiles.
        """
        self.settings = settings or PairSettings()
        slides = [_checked_centres(one, slide) for slide, one in enumerate(centres_um)]
        self.slide_firsts: NDArray[np.int64] = np.cumsum([0, *map(len, slides)])
        """Number of each slide's first tile, and at last that of all tiles: (S + 1,)."""
        self._x_um, self._y_um = np.concatenate([np.empty((0, 2)), *slides]).T.copy()
        self._candidates: dict[PairKind, Candidates] = {
            "near": Candidates(slides, "near", self.settings.near_um),
            "distant": Candidates(slides, "distant", self.settings.far_um),
        }
        self._has_partner = {kind: self._with_partner(kind) for kind in self._candidates}

    def __len__(self) -> int:
        return int(self.slide_firsts[-1])

    def has_partner(self, kind: PairKind) -> NDArray[np.bool_]:
        """Which tiles have a partner of a kind: (N,).

        Where the settings take a share of distant partners from other slides, a tile needs one on
        its own slide all the same, unless that share is 1: else its share would be another.
        """
        return self._has_partner[kind]

    def anchors(self, kind: PairKind, *others: PairKind) -> NDArray[np.int64]:
        """The tiles that have partners of every kind named; the rest is to be left out."""
        have_all = [self.has_partner(one) for one in (kind, *others)]
        return np.flatnonzero(np.logical_and.reduce(have_all))

    def partners(self, kind: PairKind, anchors: ArrayLike, draws: Draws) -> NDArray[np.int64]:
        """A partner of each anchor, every tile that may be one being equally likely.

        Args:
            kind: ``near``: within `PairSettings.near_um` on the same slide, never the anchor
                itself; ``distant``: beyond `PairSettings.far_um` on the same slide, or with the
                chance `PairSettings.cross_slide` any tile of another slide.
            anchors: numbers of tiles that have such a partner, in any order: (B,).
            draws: one sample an anchor; they alone decide.

        Returns:
            Numbers of tiles: int64 (B,).

        Raises:
            SettingsError: an anchor has no such partner, or there is not one sample an anchor.
        """
        anchors = np.asarray(anchors, np.int64)
        if len(anchors) != len(draws):
            raise SettingsError(
                f"{len(anchors)} anchors with draws for {len(draws)}; give one sample an anchor"
            )
        lonely = ~self._has_partner[kind][anchors]
        if lonely.any():
            raise SettingsError(
                f"{lonely.sum()} of {len(anchors)} anchors have no {kind} partner, tile "
                f"{anchors[lonely][0]} for one; choose among PairSampler.anchors({kind!r})"
            )
        if kind == "near" or self.settings.cross_slide == 0:
            return self._partners_on_slide(kind, anchors, draws)
        crosses = draws.uniform("pairs/cross") < self.settings.cross_slide
        partners = np.empty_like(anchors)
        partners[crosses] = self._tiles_elsewhere(anchors[crosses], _of(draws, crosses))
        partners[~crosses] = self._partners_on_slide(kind, anchors[~crosses], _of(draws, ~crosses))
        return partners

    def distances_um(
        self, tiles: NDArray[np.int64], others: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Distances between centres, NaN between slides: (B,)."""
        squared = self._squared_um2(tiles, others)
        return np.where(self._slides(tiles) == self._slides(others), np.sqrt(squared), np.nan)

    def _with_partner(self, kind: PairKind) -> NDArray[np.bool_]:
        """Whether each tile has a partner: whether a draw, which looks at all, finds one."""
        share = self.settings.cross_slide if kind == "distant" else 0.0
        if share > 0 and np.count_nonzero(np.diff(self.slide_firsts)) < 2:
            raise SettingsError(
                f"cross_slide is {share:g} but only one slide has tiles; set it to 0, or add slides"
            )
        if share == 1:
            return np.ones(len(self), np.bool_)
        found = np.empty(len(self), np.bool_)
        for first in range(0, len(self), _ANCHORS_AT_ONCE):
            tiles = np.arange(first, min(first + _ANCHORS_AT_ONCE, len(self)))
            found[tiles] = self._partners_on_slide(kind, tiles, Draws(0, 0, tiles)) >= 0
        return found

    def _partners_on_slide(
        self, kind: PairKind, anchors: NDArray[np.int64], draws: Draws
    ) -> NDArray[np.int64]:
        """A partner on the anchor's own slide, or -1 where there is none."""
        candidates = self._candidates[kind]
        partners = np.full_like(anchors, -1)
        left = np.flatnonzero(candidates.counts(anchors))
        for number, tries in enumerate(_TRIES):
            fractions = _of(draws, left).uniform(f"pairs/{kind}/{number}", tries)
            drawn = candidates.at(anchors[left], fractions)
            is_partner = self._are_partners(kind, anchors[left, None], drawn)
            found = is_partner.any(axis=1)
            partners[left[found]] = drawn[found, is_partner[found].argmax(axis=1)]
            left = left[~found]
            if not len(left):
                return partners
        for rows in _portions(left, candidates.counts(anchors[left])):
            partners[rows] = self._listed_partners(kind, anchors[rows], _of(draws, rows))
        return partners

    def _listed_partners(
        self, kind: PairKind, anchors: NDArray[np.int64], draws: Draws
    ) -> NDArray[np.int64]:
        """The same from a look at every candidate."""
        listed = self._candidates[kind].listed(anchors)
        owners = np.repeat(np.arange(len(anchors)), self._candidates[kind].counts(anchors))
        is_partner = self._are_partners(kind, anchors[owners], listed)
        listed, owners = listed[is_partner], owners[is_partner]
        counts = np.bincount(owners, minlength=len(anchors))
        chosen = np.cumsum(counts) - counts + draws.below(f"pairs/{kind}/listed", counts)
        partners = np.full_like(anchors, -1)
        partners[counts > 0] = listed[chosen[counts > 0]]
        return partners

    def _tiles_elsewhere(self, anchors: NDArray[np.int64], draws: Draws) -> NDArray[np.int64]:
        """A tile of another slide, every one equally likely."""
        slides = self._slides(anchors)
        firsts, stops = self.slide_firsts[slides], self.slide_firsts[slides + 1]
        tiles = draws.below("pairs/elsewhere", len(self) - (stops - firsts))
        return np.where(tiles < firsts, tiles, tiles + (stops - firsts))

    def _are_partners(
        self, kind: PairKind, anchors: NDArray[np.int64], tiles: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        squared = self._squared_um2(anchors, tiles)
        are_partners: NDArray[np.bool_] = (
            squared > self.settings.far_um**2
            if kind == "distant"
            else (squared <= self.settings.near_um**2) & (tiles != anchors)
        )
        return are_partners

    def _squared_um2(
        self, tiles: NDArray[np.int64], others: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        x_um = self._x_um[tiles] - self._x_um[others]
        y_um = self._y_um[tiles] - self._y_um[others]
        squared: NDArray[np.float64] = x_um * x_um + y_um * y_um
        return squared

    def _slides(self, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self.slide_firsts, tiles, side="right") - 1


def _of(draws: Draws, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Draws:
    """The draws of some of the samples."""
    return Draws(draws.seed, draws.step, draws.samples[rows])


def _portions(rows: NDArray[np.int64], counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows in portions of bounded counts; a row with more than that is one by itself."""
    portion = (np.cumsum(counts) - counts) // _LISTED_AT_ONCE
    yield from np.split(rows, np.flatnonzero(np.diff(portion)) + 1)


def _checked_centres(centres: NDArray[np.float64], slide: int) -> NDArray[np.float64]:
    centres = np.asarray(centres, np.float64)
    if centres.ndim != 2 or centres.shape[1] != 2 or not np.isfinite(centres).all():
        raise SettingsError(
            f"centres of slide number {slide} are not finite (N, 2) but "
            f"{' × '.join(map(str, centres.shape))}; give TileStore.centre_um"
        )
    return centres
