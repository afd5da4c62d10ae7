"""Ways of doing one thing, measured in turn, so that a machine that drifts touches all alike."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Measured", "Way", "in_turn", "print_table"]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do it."""

    name: str
    """What is done."""
    rate: Callable[[], float]
    """Does it once; tiles a second."""
    against: str = ""
    """Name of the way that it is held against; nothing for those that others are held against."""
    goal: float = 0.0
    """Least ratio to that way that is wanted."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One way, measured."""

    name: str
    """What was done."""
    tiles_per_second: float
    """Median over the repeats."""
    lowest: float
    """Slowest repeat."""
    highest: float
    """Fastest repeat."""
    against: str
    """What it is held against."""
    ratio: float | None
    """Median of the ratios to that, each within one repeat."""
    goal: float
    """Least ratio wanted."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def in_turn(ways: Sequence[Way], repeats: int, *, warm_up: bool = True) -> list[Measured]:
    """Do every way once, then all of them again, and so on.

    Args:
        ways: what to measure.
        repeats: how often.
        warm_up: whether a round before the first is not counted.
    """
    rates: dict[str, list[float]] = {way.name: [] for way in ways}
    for number in range(-1 if warm_up else 0, repeats):
        for way in ways:
            rate = way.rate()
            if number >= 0:
                rates[way.name].append(rate)
    return [_measured(way, rates) for way in ways]


def _measured(way: Way, rates: dict[str, list[float]]) -> Measured:
    own = rates[way.name]
    ratio = None
    if way.against:
        ratio = statistics.median(a / b for a, b in zip(own, rates[way.against], strict=True))
    return Measured(
        way.name, statistics.median(own), min(own), max(own), way.against, ratio, way.goal
    )


def print_table(title: str, measured: Sequence[Measured]) -> None:
    """Print rates and ratios."""
    click.echo(f"\n{title}\n{'':<58}{'tiles/s':>9}{'ratio':>8}{'goal':>7}  against")
    for one in measured:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}×"
        goal = f"{one.goal:g}×" if one.goal else ""
        rate = f"{one.tiles_per_second:,.0f}"
        click.echo(f"{one.name:<58}{rate:>9}{ratio:>8}{goal:>7}  {one.against}")
