"""Where a slide's tumour lies: drawn at random, or real outlines laid onto the tissue.

Sizes are Camelyon's: a micrometastasis measures more than 0.2 mm and at most 2 mm in its longest
dimension, a macrometastasis more than 2 mm (Litjens et al., GigaScience 2018, table 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import shapely
from shapely.affinity import rotate, translate

from wsi_tower.annotations import read_slide_polygons
from wsi_tower.errors import SettingsError
from wsi_tower.phantom.shapes import (
    largest,
    longest_um,
    point_inside,
    polygons_in,
    ragged_area_um,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from shapely.geometry import Polygon

    from wsi_tower.phantom.settings import PhantomSettings

__all__ = [
    "Metastasis",
    "check_outlines",
    "generated_um",
    "kind_of",
    "label_of",
    "metastasis_for",
    "placed_um",
    "read_outlines",
    "tumour_areas_um",
]

Metastasis: TypeAlias = Literal["none", "micro", "macro", "both"]
"""What tumour a slide has."""

MICRO_UM, MACRO_UM = 200.0, 2_000.0
"""Longest dimension above which tumour is a metastasis, and above which it is a large one."""

_KINDS: tuple[Metastasis, ...] = ("macro", "none", "micro", "none", "both", "none")
"""In turn. A patient has two slides, so each has one with tumour and one without."""
_GAP_UM = 300.0
"""Least distance of generated areas."""
_PLACEMENTS = 24
_SHARE_OF_TISSUE = 0.75
"""How much of the longest dimension of a piece of tissue a generated area takes at most."""


def metastasis_for(index: int) -> Metastasis:
    """What tumour the slide of this 0-based index is to have."""
    return _KINDS[index % len(_KINDS)]


def label_of(areas_um: Iterable[Polygon]) -> Metastasis:
    """What tumour these areas make, by their longest dimensions."""
    kinds = {kind_of(longest_um(area)) for area in areas_um} - {"none"}
    return "both" if len(kinds) > 1 else next(iter(kinds), "none")


def kind_of(length_um: float) -> Metastasis:
    """What an area of this longest dimension is."""
    if length_um > MACRO_UM:
        return "macro"
    return "micro" if length_um > MICRO_UM else "none"


def tumour_areas_um(
    settings: PhantomSettings, index: int, rng: np.random.Generator, pieces_um: list[Polygon]
) -> list[Polygon]:
    """The tumour of the slide of this 0-based index, inside its pieces of tissue.

    Returns:
        Areas in micrometres that do not touch one another; none on every second slide, and where
        the tissue is too small to hold a metastasis.

    Raises:
        AnnotationError: the file of outlines cannot be read.
        SettingsError: it has no usable outline.
    """
    kind = metastasis_for(index)
    if kind == "none" or not pieces_um:
        return []
    if settings.tumour_outlines is None or settings.tumour_outlines_mpp is None:
        return generated_um(rng, pieces_um, kind)
    groups = read_outlines(settings.tumour_outlines, settings.tumour_outlines_mpp)
    taken = sum(metastasis_for(earlier) != "none" for earlier in range(index))
    return placed_um(rng, groups[taken % len(groups)], pieces_um)


def check_outlines(settings: PhantomSettings) -> None:
    """Find out before anything is written whether the outlines asked for are of use.

    Raises:
        AnnotationError: the file cannot be read.
        SettingsError: it has no usable outline.
    """
    if settings.tumour_outlines is not None and settings.tumour_outlines_mpp is not None:
        read_outlines(settings.tumour_outlines, settings.tumour_outlines_mpp)


def read_outlines(path: Path, mpp: float) -> list[list[Polygon]]:
    """Real outlines by slide, in the file's order, each slide's in micrometres.

    Outlines that overlap are made one. Slides without an outline of more than 0.2 mm are left out.

    Args:
        path: GeoJSON; the property ``slide`` of a feature names its slide.
        mpp: micrometres per unit of the file's coordinates.

    Raises:
        AnnotationError: the file cannot be read.
        SettingsError: no slide is left.
    """
    groups = []
    for areas in read_slide_polygons(path).values():
        joined = shapely.transform(shapely.union_all(areas), lambda xy: xy * mpp)
        outlines_um = polygons_in(joined)
        if _metastases(outlines_um):
            groups.append(outlines_um)
    if not groups:
        raise SettingsError(
            f"tumour outlines {path} hold no area of more than {MICRO_UM / 1000:g} mm at {mpp:g} "
            f"µm per unit; give a file with polygons, and the pixel size they were drawn at"
        )
    return groups


def generated_um(
    rng: np.random.Generator, pieces_um: list[Polygon], kind: Metastasis
) -> list[Polygon]:
    """Irregular areas of tumour inside pieces of tissue.

    Where the tissue is too small for what is asked, they are as large as it allows.

    Args:
        rng: source of randomness.
        pieces_um: the tissue.
        kind: one or two areas of 2.5 to 6 mm for macro, two to five of 0.25 to 1.5 mm for micro.
    """
    room: shapely.Geometry = shapely.union_all(pieces_um)
    areas: list[Polygon] = []
    for wanted_um in _wanted_um(rng, kind):
        area = _grown(rng, room, wanted_um)
        # What came out smaller than asked is welcome only where there would be nothing.
        missed = area is not None and wanted_um > MACRO_UM >= longest_um(area)
        if area is not None and not (missed and areas):
            areas.append(area)
            room = shapely.difference(room, area.buffer(_GAP_UM))
    return areas


def placed_um(
    rng: np.random.Generator, outlines_um: Sequence[Polygon], pieces_um: list[Polygon]
) -> list[Polygon]:
    """One slide's real outlines turned and shifted onto tissue, then cut to it.

    Sizes and mutual distances stay. Of some random placements the one with most area on tissue is
    taken; where none has a metastasis on it, the largest outline alone, in the largest piece.

    Returns:
        Areas of more than 0.2 mm in micrometres; none where the tissue cannot hold any.
    """
    tissue = shapely.union_all(pieces_um)
    shapely.prepare(tissue)
    group = shapely.union_all(outlines_um)
    placements = [
        shapely.intersection(tissue, _thrown(rng, group, tissue)) for _ in range(_PLACEMENTS)
    ]
    areas = _metastases(polygons_in(max(placements, key=lambda placed: placed.area)))
    if areas:
        return areas
    alone, (x, y) = largest(outlines_um), _middle(largest(pieces_um))
    from_x, from_y = _middle(alone)
    centred = translate(alone, x - from_x, y - from_y)
    return _metastases(polygons_in(shapely.intersection(tissue, centred)))


def _metastases(areas_um: Iterable[Polygon]) -> list[Polygon]:
    return [area for area in areas_um if longest_um(area) > MICRO_UM]


def _wanted_um(rng: np.random.Generator, kind: Metastasis) -> list[float]:
    """Longest dimensions to draw, large ones first as they need most room."""
    wanted: list[float] = []
    if kind in ("macro", "both"):
        wanted += sorted(rng.uniform(2_500, 6_000, rng.integers(1, 3)), reverse=True)
    if kind in ("micro", "both"):
        wanted += list(rng.uniform(250, 1_500, rng.integers(2, 6)))
    return wanted


def _grown(rng: np.random.Generator, room: shapely.Geometry, wanted_um: float) -> Polygon | None:
    """An area of this longest dimension, cut to the room; None where not even a small one fits."""
    parts = polygons_in(room)
    if not parts:
        return None
    allowed_um = _SHARE_OF_TISSUE * max(longest_um(part) for part in parts)
    shape = ragged_area_um(rng, min(wanted_um, allowed_um))
    shapely.prepare(room)
    cuts = [
        part
        for _ in range(_PLACEMENTS)
        for part in polygons_in(
            shapely.intersection(room, translate(shape, *point_inside(rng, room)))
        )
    ]
    fitting = _metastases(cuts)
    if not fitting:
        return None
    return max(fitting, key=lambda cut: (min(longest_um(cut), MACRO_UM + 1), cut.area))


def _thrown(
    rng: np.random.Generator, group: shapely.Geometry, tissue: shapely.Geometry
) -> shapely.Geometry:
    """A group turned at random, so that a place in one of its outlines meets a place of tissue."""
    parts = polygons_in(group)
    areas = np.array([part.area for part in parts])
    anchor = _middle(parts[rng.choice(len(parts), p=areas / areas.sum())])
    x, y = point_inside(rng, tissue)
    turned = rotate(group, rng.uniform(0, 360), origin=anchor)
    return translate(turned, x - anchor[0], y - anchor[1])


def _middle(area: Polygon) -> tuple[float, float]:
    """Centre of the largest circle in an area; it lies inside, whatever the area's shape."""
    centre = shapely.get_coordinates(shapely.maximum_inscribed_circle(area))[0]
    return float(centre[0]), float(centre[1])
