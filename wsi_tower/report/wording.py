"""Numbers, times and settings in words, the same everywhere in a report."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["counted", "duration", "flattened", "moment", "number", "plainly", "shown", "volume"]

THIN = "\N{NARROW NO-BREAK SPACE}"
"""Between thousands, and between a number and its unit."""
NOTHING = "–"


def number(value: float, digits: int = 3) -> str:
    """A number with at least ``digits`` significant digits and its thousands apart: ``12 345``."""
    decimals = 0
    while decimals < 6 and abs(value) * 10**decimals < 10 ** (digits - 1) and value:
        decimals += 1
    text = f"{value:,.{decimals}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace(",", THIN)


def counted(amount: int, noun: str) -> str:
    """``1 slide``, ``3 000 slides``."""
    return f"{number(amount)} {noun}{'' if amount == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time span: ``0.42 s``, ``38 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f}{THIN}s" if seconds >= 1 else f"{seconds:.2f}{THIN}s"
    if seconds < 59.5:
        return f"{seconds:.0f}{THIN}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{THIN}min {rest:02d}{THIN}s"
    hours, minutes = divmod(minutes, 60)
    return f"{number(hours)}{THIN}h {minutes:02d}{THIN}min"


def volume(megabytes: float) -> str:
    """An amount of data: ``214 MB``, ``1.3 TB``."""
    for factor, unit in ((1e6, "TB"), (1e3, "GB")):
        if megabytes >= factor:
            return f"{number(megabytes / factor)}{THIN}{unit}"
    return f"{number(megabytes)}{THIN}MB"


def moment(iso: str) -> str:
    """``2026-11-21T01:02:03+00:00`` as ``21 November 2026, 01:02 UTC``; other text as it is."""
    try:
        when = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    zone = when.strftime("%Z") or "UTC"
    return f"{when.day} {when:%B %Y, %H:%M} {zone}"


def plainly(value: object) -> str:
    """A setting's value for people: no ``None``, no brackets."""
    match value:
        case None | "" | [] | ():
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(plainly(item) for item in value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings with dotted names: ``tissue.min_hole_um2``."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def shown(text: str) -> str:
    """``text`` with the undecodable bytes of file names escaped, so that it can be written."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
