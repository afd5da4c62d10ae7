"""Options of verbs that learn classes of tiles from annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wsi_tower.classify import ClassRules

__all__ = ["class_options", "parsed_rules"]

R = TypeVar("R")

_OPTIONS = (
    click.option(
        "--class",
        "names",
        multiple=True,
        default=("tumour",),
        show_default=True,
        metavar="NAME",
        help="Annotated class to tell; repeat for more.",
    ),
    click.option(
        "--background",
        default="other",
        show_default=True,
        metavar="NAME",
        help="Class of tiles without annotation.",
    ),
    click.option("--no-background", is_flag=True, help="Tiles without annotation teach nothing."),
    click.option(
        "--least-fraction",
        type=float,
        default=0.5,
        show_default=True,
        help="Least part of a tile within a class.",
    ),
    click.option(
        "--penalty", type=float, default=1.0, show_default=True, help="Of linear weights."
    ),
    click.option(
        "--split-column",
        default="",
        metavar="COLUMN",
        help="Has train, validation or test.  [default: patients are drawn]",
    ),
)


def class_options(verb: Callable[..., R]) -> Callable[..., R]:
    """Give a verb the options that say which tiles are of which class."""
    command: Any = verb
    for option in reversed(_OPTIONS):
        command = option(command)
    return command  # type: ignore[no-any-return]


def parsed_rules(values: Mapping[str, Any]) -> ClassRules:
    """What these options say of a tile.

    Raises:
        SettingsError: a value cannot be right.
    """
    from wsi_tower.classify import ClassRules

    return ClassRules(
        names=tuple(dict.fromkeys(values["names"])),
        least_fraction=values["least_fraction"],
        background=None if values["no_background"] else values["background"],
    )
