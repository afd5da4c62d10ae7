"""From the nearest tiles to the hits that people want to see."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from wsi_tower.retrieval.asking import Question
    from wsi_tower.retrieval.query_settings import QuerySettings
    from wsi_tower.retrieval.searching import Nearest
    from wsi_tower.retrieval.tile_index import TileIndex

__all__ = ["Picked", "Ranked", "fused", "picked"]

_RANK_OFFSET = 60
"""k of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009, doi 10.1145/1571941.1572114)."""
_TOUCHING = 1e-4
"""Part of a tile's side by which neighbours may seem to overlap: positions are single precision."""


class Ranked(NamedTuple):
    """Tiles, best first."""

    slides: NDArray[np.int64]
    """Numbers of their slides in the index: (n,)."""
    rows: NDArray[np.int64]
    """Rows in their slides: (n,)."""
    distances: NDArray[np.float64]
    """Distance to the query, or to the nearest of several: (n,)."""


class Picked(NamedTuple):
    """A tile that is to be shown."""

    slide: int
    """Number of its slide in the index."""
    row: int
    """Its row."""
    distance: float
    """Its distance."""
    merged: int
    """Tiles that were left out for it."""


def fused(lists: Sequence[Nearest]) -> Ranked:
    """The answers to several queries as one: by reciprocal rank fusion, then by distance.

    A tile scores 1 / (60 + rank), with ranks from 1, from every list that it is in. One list keeps
    its order.
    """
    slides = np.concatenate([found.slides for found in lists])
    rows = np.concatenate([found.rows for found in lists])
    distances = np.concatenate([found.distances for found in lists])
    scores = np.concatenate([1 / (_RANK_OFFSET + 1 + np.arange(len(found))) for found in lists])
    tiles, places = np.unique(np.stack([slides, rows], axis=1), axis=0, return_inverse=True)
    total, least = np.zeros(len(tiles)), np.full(len(tiles), np.inf)
    np.add.at(total, places, scores)
    np.minimum.at(least, places, distances)
    # Scores of tiles that stand at the same ranks are equal but for the last bits.
    order = np.lexsort((tiles[:, 1], tiles[:, 0], least, -total.round(12)))
    return Ranked(tiles[order, 0], tiles[order, 1], least[order])


def picked(
    index: TileIndex, ranked: Ranked, question: Question, settings: QuerySettings
) -> list[Picked]:
    """The best tiles, at most so many a slide, of which no two overlap.

    What overlaps an asked tile is left out.
    """
    asked: dict[int | None, list[int]] = {}
    for tile in question.tiles:
        asked.setdefault(index.number_of(tile.slide_id), []).append(tile.row)
    shown: list[Picked] = []
    places: dict[int, list[int]] = {}
    for slide, row, distance in zip(*(column.tolist() for column in ranked), strict=True):
        if _overlapped(index, slide, row, asked.get(slide, [])) is not None:
            continue
        own = places.setdefault(slide, [])
        over = _overlapped(index, slide, row, [shown[place].row for place in own])
        if over is not None:
            place = own[over]
            shown[place] = shown[place]._replace(merged=shown[place].merged + 1)
        elif len(shown) < settings.hits and len(own) < (settings.per_slide or settings.hits):
            own.append(len(shown))
            shown.append(Picked(slide, row, distance, 0))
    return shown


def _overlapped(index: TileIndex, slide: int, row: int, others: Sequence[int]) -> int | None:
    """Place of the first of some other tiles of a slide that a tile overlaps, or is; else None."""
    if not others:
        return None
    centre_um = index.centre_um(slide)
    side_um = np.array(index.slides[slide].footprint_um) * (1 - _TOUCHING)
    is_over = (np.abs(centre_um[others] - centre_um[row]) < side_um).all(axis=1)
    return int(is_over.argmax()) if is_over.any() else None
