"""Tiles on slides as tests want them, and partners found the slow way, in whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.pairs import PairKind

__all__ = ["disc_slide", "naive_partners", "tissue_slide"]


def tissue_slide(tiles: int, pitch_um: float = 128.0) -> NDArray[np.float64]:
    """Centres of so many neighbouring tiles in an ellipse with round holes."""
    side = int(np.ceil(np.sqrt(2 * tiles)))
    y, x = np.mgrid[:side, :side]
    holes = np.random.default_rng(3).uniform(0, side, (40, 2))
    is_tissue = np.hypot((x - side / 2) / side, (y - side / 2) / (0.96 * side)) < 0.5
    for centre_x, centre_y in holes:
        is_tissue &= np.hypot(x - centre_x, y - centre_y) > 0.04 * side
    cells = np.stack([x[is_tissue], y[is_tissue]], axis=1)
    assert len(cells) >= tiles
    return (cells[:tiles] + 0.5) * pitch_um


def disc_slide(diameter_um: float, pitch_um: float) -> NDArray[np.float64]:
    """Centres of the tiles in a disc: for far just below its width, few pairs are distant."""
    along = np.arange(0, diameter_um + 1, pitch_um)
    x, y = np.meshgrid(along, along)
    inside = np.hypot(x - diameter_um / 2, y - diameter_um / 2) <= diameter_um / 2
    return np.stack([x[inside], y[inside]], axis=1)


def naive_partners(
    slides: Sequence[Sequence[tuple[int, int]]], kind: PairKind, radius: int
) -> list[set[int]]:
    """All partners of every tile, from centres in whole units: no rounding anywhere."""
    partners, first = [], 0
    for centres in slides:
        for anchor, (x, y) in enumerate(centres):
            found = set()
            for tile, (other_x, other_y) in enumerate(centres):
                squared = (x - other_x) ** 2 + (y - other_y) ** 2
                if kind == "near" and tile != anchor and squared <= radius**2:
                    found.add(first + tile)
                if kind == "distant" and squared > radius**2:
                    found.add(first + tile)
            partners.append(found)
        first += len(centres)
    return partners
