"""Shares of labelled tiles, drawn so that classes keep theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.draws import Draws
from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["drawn_tiles"]


def drawn_tiles(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Rows of a share of the tiles of each class, at least one of each.

    With one seed, what a smaller share has, a larger one has, too: curves compare more with less,
    not other with other.

    Args:
        labels: classes of the tiles: (N,).
        fraction: above 0, up to 1.
        seed: what is drawn depends on it.

    Returns:
        Rows in ascending order; of n tiles of a class, n × fraction, rounded.

    Raises:
        SettingsError: the fraction is no share.
    """
    if not 0 < fraction <= 1:
        raise SettingsError(f"fraction is {fraction:g}; choose above 0 and up to 1")
    luck = Draws(seed, 0, np.arange(len(labels))).uniform("classify/tiles")
    chosen = []
    for one in np.unique(labels):
        rows = np.flatnonzero(labels == one)
        count = max(1, round(fraction * len(rows)))
        chosen.append(rows[np.argsort(luck[rows], kind="stable")][:count])
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64)
