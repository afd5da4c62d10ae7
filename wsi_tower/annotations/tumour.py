"""Which annotated classes are tumour, and whether a file can be of a slide at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import shapely
from shapely.geometry import MultiPolygon

from wsi_tower.annotations.outlines import sound
from wsi_tower.errors import AnnotationError, SettingsError

if TYPE_CHECKING:
    from wsi_tower.annotations.outlines import Area, NamedArea
    from wsi_tower.annotations.reading import Annotations
    from wsi_tower.geometry import Level0Size, Mpp

__all__ = ["TumourClasses", "check_on_slide", "tumour_area"]

_MPP_TOLERANCE = 0.05
"""Relative difference up to which two pixel sizes are one slide's."""
_BEYOND = 0.01
"""Part of a side that outlines may reach beyond the slide: hands slip."""


@dataclass(frozen=True, slots=True)
class TumourClasses:
    """Names of classes, compared without regard to case.

    The defaults are Camelyon16's groups (``_0`` and ``_1`` tumour, ``_2`` not), Camelyon17's
    (``metastases``, ``normal``), those of Camelyon's JSON, and QuPath's own.
    """

    tumour: tuple[str, ...] = (
        *("tumor", "tumour", "metastasis", "metastases", "positive", "_0", "_1"),
    )
    """Classes that are tumour."""
    cut_out: tuple[str, ...] = ("exclusion", "normal", "negative", "_2")
    """Classes that are cut out of it, whatever lies under them."""

    def __post_init__(self) -> None:
        if not self.tumour:
            raise SettingsError("no class is named as tumour; name one, as in --tumour-class Tumor")
        both = {name.lower() for name in self.tumour} & {name.lower() for name in self.cut_out}
        if both:
            raise SettingsError(
                f"class {min(both)!r} is both tumour and cut out of it; name it once"
            )

    def of(self, annotations: Annotations) -> tuple[list[NamedArea], list[NamedArea]]:
        """Outlines that are tumour, and those to be cut out.

        Where no outline of a file has a class, all are tumour: someone outlined one thing.
        """
        areas = annotations.areas
        if all(area.name is None for area in areas):
            return list(areas), []
        return _named(areas, self.tumour), _named(areas, self.cut_out)


def tumour_area(annotations: Annotations, classes: TumourClasses) -> Area:
    """Everything on the slide that is tumour, in level-0 pixels; empty where nothing is."""
    tumour, cut_out = classes.of(annotations)
    if not tumour:
        return MultiPolygon()
    whole = shapely.union_all([area.area for area in tumour])
    return sound(whole.difference(shapely.union_all([area.area for area in cut_out])))


def check_on_slide(annotations: Annotations, slide_id: str, size: Level0Size, mpp: Mpp) -> None:
    """Refuse outlines that cannot have been drawn on a slide.

    Args:
        annotations: what a file says.
        slide_id: of the slide, for the message.
        size: the slide's, in level-0 pixels.
        mpp: the slide's pixel size.

    Raises:
        AnnotationError: they reach beyond the slide, or were drawn at another pixel size.
    """
    drawn = annotations.mpp
    if drawn is not None and abs(drawn - mpp.mean) > _MPP_TOLERANCE * mpp.mean:
        raise _another_slide(
            annotations, slide_id, f"they were drawn at {drawn:g} µm/px, the slide has {mpp}"
        )
    for number, area in enumerate(annotations.areas):
        left, top, right, bottom = area.area.bounds
        slack = (_BEYOND * size.width, _BEYOND * size.height)
        is_left_above = left < -slack[0] or top < -slack[1]
        if is_left_above or right > size.width + slack[0] or bottom > size.height + slack[1]:
            raise _another_slide(
                annotations,
                slide_id,
                f"outline {number} spans x {left:.0f} to {right:.0f} and y {top:.0f} to "
                f"{bottom:.0f}, the slide has {size}",
            )


def _another_slide(annotations: Annotations, slide_id: str, why: str) -> AnnotationError:
    return AnnotationError(
        f"annotations {annotations.path} are not of slide {slide_id}: {why}; give the file that "
        f"belongs to it, in level-0 pixels"
    )


def _named(areas: tuple[NamedArea, ...], names: tuple[str, ...]) -> list[NamedArea]:
    wanted = {name.lower() for name in names}
    return [area for area in areas if area.name is not None and area.name.lower() in wanted]
