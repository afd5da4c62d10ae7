"""Answers for other programs: a table for spreadsheets, squares for QuPath."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import shapely

from wsi_tower.annotations import annotation_feature
from wsi_tower.retrieval.answering import Hit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wsi_tower.retrieval.answering import Answer
    from wsi_tower.retrieval.tile_index import TileIndex

__all__ = ["hits_csv", "hits_geojson"]

_COLOUR = (0, 87, 183)


def hits_csv(answer: Answer) -> str:
    """The hits as CSV, a row each: rank, place, distance, then the cohort's columns."""
    rows = []
    for rank, hit in enumerate(answer.hits, start=1):
        told = hit.to_json()
        for name, unit in (("xy_l0", "l0"), ("centre_um", "um")):
            if name in told:
                told[f"x_{unit}"], told[f"y_{unit}"] = told.pop(name)
        rows.append({"rank": rank} | told)
    own = ("rank", "slide", "row", "x_l0", "y_l0", "x_um", "y_um", "distance", "merged", "tiles")
    found = {name for row in rows for name in row}
    names = [name for name in own if name in found] + sorted(found.difference(own))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def hits_geojson(answer: Answer, index: TileIndex) -> dict[str, str]:
    """The hits as QuPath annotations: a FeatureCollection for each of their slides, by id.

    Coordinates are level-0 pixels as QuPath counts them: from the corner of the scanned part where
    a slide has ``openslide.bounds-*``, else from the slide's corner.
    """
    found: dict[str, list[dict[str, object]]] = {}
    for rank, hit in enumerate(_tiles(answer), start=1):
        number = index.number_of(hit.slide)
        assert number is not None, "hits are of indexed slides"
        slide = index.slides[number]
        left, top = hit.xy_l0
        if slide.bounds is not None:
            left, top = left - slide.bounds.x, top - slide.bounds.y
        area = shapely.box(left, top, left + slide.footprint_l0, top + slide.footprint_l0)
        measured = {"rank": rank, "distance": hit.distance}
        feature = annotation_feature(
            area, "similar tile", _COLOUR, name=f"hit {rank}", measurements=measured
        )
        found.setdefault(hit.slide, []).append(feature)
    return {
        slide_id: json.dumps({"type": "FeatureCollection", "features": features}) + "\n"
        for slide_id, features in found.items()
    }


def _tiles(answer: Answer) -> Iterable[Hit]:
    return (hit for hit in answer.hits if isinstance(hit, Hit))
