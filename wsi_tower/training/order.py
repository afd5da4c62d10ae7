"""Which tiles each step sees: by seed and step alone, whatever threads and ranks there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from wsi_tower.draws import Draws
from wsi_tower.errors import SettingsError, TooFewTilesError, TrainingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from wsi_tower.training.objective import Partner

__all__ = ["PartnerSource", "Share", "StepOrder", "StepTiles"]


class PartnerSource(Protocol):
    """Which tiles may meet, as `wsi_tower.pairs.PairSampler` knows it."""

    def has_partner(self, kind: Literal["near", "distant"]) -> NDArray[np.bool_]:
        """Which tiles have a partner of a kind: (N,)."""

    def partners(
        self, kind: Literal["near", "distant"], anchors: ArrayLike, draws: Draws
    ) -> NDArray[np.int64]:
        """A partner of each anchor: int64 (B,)."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one process of several has of every batch."""

    rank: int = 0
    """Its number, from 0."""
    ranks: int = 1
    """How many there are."""
    parts: int = 1
    """Parts that the batch passes in, one after the other; each is shared by all processes."""

    def check(self, batch_size: int) -> None:
        """See that a batch can be shared.

        Raises:
            SettingsError: not in equal parts.
        """
        if batch_size % (self.ranks * self.parts):
            parts = f", each in {self.parts} parts" if self.parts > 1 else ""
            raise SettingsError(
                f"batch_size {batch_size} cannot be shared by {self.ranks} processes{parts}; make "
                f"it a multiple of {self.ranks * self.parts}, or start fewer"
            )

    def of(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """What of a batch it is: of each part, a run of samples, so that ranks in turn make it up.

        Raises:
            SettingsError: the batch cannot be shared.
        """
        self.check(len(batch))
        return batch.reshape(self.parts, self.ranks, -1)[:, self.rank].ravel()


@dataclass(frozen=True, slots=True)
class StepTiles:
    """The tiles of a step, or of one rank's share of it."""

    step: int
    """Counted from 0."""
    anchors: NDArray[np.int64]
    """Numbers of tiles, no two alike: (B,)."""
    partners: NDArray[np.int64] | None
    """Their partners' numbers; None where every tile is its own."""
    is_near: NDArray[np.bool_] | None
    """Whether each partner is a near one; None where all are of one kind."""
    draws: Draws
    """Of the step, a sample an anchor."""


class StepOrder:
    """Steps through all anchors, in an order of its own each epoch.

    What is left of an epoch after its last whole batch is left out, other tiles each time.
    """

    def __init__(
        self,
        anchors: NDArray[np.int64],
        batch_size: int,
        seed: int,
        partner: Partner = "same",
        source: PartnerSource | None = None,
    ) -> None:
        """``source`` knows the partners where the objective compares tiles with others.

        Raises:
            TooFewTilesError: there are fewer anchors than a batch has samples.
            TrainingError: partners are wanted and there is no source for them.
        """
        if len(anchors) < batch_size:
            raise _too_few(len(anchors), batch_size, partner)
        if partner != "same" and source is None:
            raise TrainingError(
                f"this method compares a tile with a {_in_words(partner)} one, and these pictures "
                f"have no places; train on tile stores, or choose another method"
            )
        self.anchors = np.asarray(anchors, np.int64)
        self.batch_size, self.seed = batch_size, seed
        self._partner, self._source = partner, source
        self._epoch = (-1, self.anchors)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return len(self.anchors) // self.batch_size

    def tiles(self, step: int, share: Share) -> StepTiles:
        """The tiles of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        whole = self._in_order(epoch)[place * self.batch_size :][: self.batch_size]
        return self.of_anchors(step, share.of(whole))

    def of_anchors(self, step: int, anchors: NDArray[np.int64]) -> StepTiles:
        """What meets some anchors of a step: the same whatever others there are."""
        draws = Draws(self.seed, step, anchors)
        partners, is_near = self._partners(anchors, draws)
        return StepTiles(step, anchors, partners, is_near, draws)

    def _in_order(self, epoch: int) -> NDArray[np.int64]:
        if self._epoch[0] != epoch:
            keys = Draws(self.seed, epoch, self.anchors).bits("order", 1)[:, 0]
            self._epoch = (epoch, self.anchors[np.argsort(keys, kind="stable")])
        return self._epoch[1]

    def _partners(
        self, anchors: NDArray[np.int64], draws: Draws
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.bool_] | None]:
        if self._partner == "same" or self._source is None:
            return None, None
        if self._partner != "near-or-distant":
            return self._source.partners(self._partner, anchors, draws), None
        is_near = draws.uniform("partner-kind") < 0.5
        partners = np.empty_like(anchors)
        kinds: dict[Literal["near", "distant"], NDArray[np.bool_]]
        kinds = {"near": is_near, "distant": ~is_near}
        for kind, chosen in kinds.items():
            some = Draws(draws.seed, draws.step, draws.samples[chosen])
            partners[chosen] = self._source.partners(kind, anchors[chosen], some)
        return partners, is_near


def _too_few(anchors: int, batch_size: int, partner: Partner) -> TooFewTilesError:
    which = "tiles" if partner == "same" else f"tiles with a {_in_words(partner)} partner"
    lower = [f"lower batch_size to {anchors} or less"] if anchors > 1 else []
    other = [] if partner == "same" else ["choose other distances"]
    remedies = [*lower, *other, "add slides"]
    return TooFewTilesError(
        f"a batch of {batch_size} needs more than the {anchors} {which} that there are; "
        f"{', or '.join(remedies)}"
    )


def _in_words(partner: Partner) -> str:
    return partner.replace("-", " ")
