"""An object as exports see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from wsi_tower.annotations import Area

__all__ = ["COLOURS", "FoundObject", "class_colour"]

COLOURS = ((0, 200, 240), (255, 214, 0), (0, 190, 110), (255, 120, 0), (255, 90, 200))
"""Of classes in turn: bright, and none that haematoxylin or eosin has."""


def class_colour(number: int) -> tuple[int, int, int]:
    """Red, green and blue of a class."""
    return COLOURS[number % len(COLOURS)]


class FoundObject(NamedTuple):
    """One object with its outline."""

    number: int
    """Its id in the label image."""
    class_name: str
    """What it is."""
    colour: tuple[int, int, int]
    """Of its class."""
    outline: Area
    """In level-0 pixels from the slide's corner."""
    area_um2: float
    """Of its pixels."""
    optical_density: float
    """Mean over its pixels."""
    probability: float
    """Mean over its pixels."""
