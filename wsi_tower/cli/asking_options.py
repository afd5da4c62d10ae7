"""Options that say what is asked, the same for every verb that searches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["asking_options"]

Verb = TypeVar("Verb", bound="Callable[..., Any]")

_OPTIONS = (
    click.option("--slide", help="Slide that is asked about."),
    click.option("--row", type=int, help="Its tile, by row of its tile store."),
    click.option("--at", metavar="X,Y", help="Its tile at a position, such as 12.3mm,4.5mm."),
    click.option("--region", type=click.Path(path_type=Path), help="GeoJSON with polygons on it."),
    click.option("--image", type=click.Path(path_type=Path), help="A picture instead of a slide."),
    click.option("--mpp", type=float, help="Its µm per pixel."),
    click.option("--like", multiple=True, metavar="SLIDE:ROW|X,Y", help="Move towards a tile."),
    click.option("--unlike", multiple=True, metavar="SLIDE:ROW|X,Y", help="Move away from it."),
    click.option("--encoder", default="", help="Whose index: a folder below index/."),
    click.option("--encoder-file", default="", metavar="FILE.py:FUNCTION", help="For --image."),
)


def asking_options(verb: Verb) -> Verb:
    """Give a verb the options that say what is asked."""
    for option in reversed(_OPTIONS):
        verb = option(verb)
    return verb
