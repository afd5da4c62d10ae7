"""Settings of methods: what they refuse, and how plain keys and values become them."""

from __future__ import annotations

import difflib
import math
from dataclasses import fields
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from _typeshed import DataclassInstance

    Settings = TypeVar("Settings", bound=DataclassInstance)

__all__ = [
    "check_above_0",
    "check_choice",
    "check_count",
    "check_share",
    "nearest",
    "settings_of",
    "several_valued",
]

_TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def settings_of(
    kind: type[Settings],
    values: Mapping[str, object],
    owner: str,
    base: Mapping[str, object] | None = None,
) -> Settings:
    """A settings dataclass from values by field name; text is read as what the field takes.

    Args:
        kind: a dataclass whose fields are truths, numbers, texts, choices or tuples of a length, or
            one of them or None.
        values: what differs from the defaults.
        owner: whose settings they are, for messages.
        base: defaults of this use, where they are not those of the dataclass.

    Raises:
        SettingsError: there is no such setting, it takes something else, or the settings refuse it.
    """
    known = [field.name for field in fields(kind)]
    hints = get_type_hints(kind)
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise SettingsError(f"{owner} has no setting {name!r}; {nearest(name, known)}")
        try:
            read[name] = _read(value, hints[name])
        except (TypeError, ValueError) as error:
            raise SettingsError(
                f"{owner}'s setting {name} is {value!r}; give {_expected(hints[name])}"
            ) from error
    return kind(**{**(base or {}), **read})


def several_valued(kind: type[DataclassInstance]) -> set[str]:
    """The settings whose value is several: two numbers, say."""
    hints = get_type_hints(kind)
    kinds = {
        field.name: (hints[field.name], *get_args(hints[field.name])) for field in fields(kind)
    }
    return {name for name, some in kinds.items() if any(get_origin(one) is tuple for one in some)}


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice for a name that is not among the known."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean {close[0]}?" if close else f"choose one of {', '.join(names)}"


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        raise SettingsError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def check_count(name: str, value: int) -> None:
    """Refuse a count below 1."""
    if value < 1:
        raise SettingsError(f"{name} is {value}; choose 1 or more")


def check_above_0(name: str, value: float) -> None:
    """Refuse a number that is not finite and above 0."""
    if not 0 < value < math.inf:
        raise SettingsError(f"{name} is {value:g}; choose a number above 0")


def check_share(name: str, value: float) -> None:
    """Refuse a number that is no part of a whole."""
    if not 0 <= value <= 1:
        raise SettingsError(f"{name} is {value:g}; choose a number from 0 to 1")


def _read(value: object, hint: Any) -> object:
    """The value as what ``hint`` says; ValueError where it is none."""
    choices = get_args(hint)
    if NoneType in choices:
        is_none = value is None or (isinstance(value, str) and value.lower() in ("none", "null"))
        return None if is_none else _read(value, _without_none(hint))
    if get_origin(hint) is tuple:
        return _several(value, choices)
    if get_origin(hint) is Literal:
        if value not in choices:
            raise ValueError
        return value
    return _READERS[hint](value)


def _several(value: object, hints: tuple[Any, ...]) -> tuple[object, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise TypeError
    return tuple(_read(part, hint) for part, hint in zip(parts, hints, strict=True))


def _expected(hint: Any) -> str:
    choices = get_args(hint)
    if NoneType in choices:
        return f"{_expected(_without_none(hint))}, or none"
    if get_origin(hint) is tuple:
        return f"{len(choices)} values with commas between them"
    if get_origin(hint) is Literal:
        return " or ".join(map(str, choices))
    return _EXPECTED[hint]


def _without_none(hint: Any) -> Any:
    (other,) = (choice for choice in get_args(hint) if choice is not NoneType)
    return other


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUTHS:
        return _TRUTHS[value.lower()]
    raise ValueError


def _whole(value: object) -> int:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return int(value)
    raise ValueError


def _number(value: object) -> float:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return float(value)
    raise ValueError


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError


_READERS = {bool: _truth, int: _whole, float: _number, str: _text}
