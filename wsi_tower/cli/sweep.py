"""Sweeps: the product of the lists of a ``--config`` file, as runs with names of their own."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import click

from wsi_tower.errors import SettingsError
from wsi_tower.pretrain import METHODS, several_valued
from wsi_tower.records import digest
from wsi_tower.training import AugmentSettings, TrainSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wsi_tower.cli.config import Config, Listed

__all__ = ["Share", "Sweep", "SweepRun", "with_settings_of"]

_SET = "values"
"""The parameter of ``--set``."""
_SAY_WHAT_THEY_ARE = frozenset({"method", "backbone", "preset", "start"})
"""Whose values need no key beside them in a name."""
_LONGEST_NAME = 80
_KEPT_OF_LONG_NAME = 60


@dataclass(frozen=True, slots=True)
class Share:
    """Which runs of a sweep one process of several does."""

    place: int = 1
    """Its number, from 1."""
    of: int = 1
    """How many there are."""

    @classmethod
    def parsed(cls, text: str | None) -> Self:
        """From ``2/4``; None: all.

        Raises:
            SettingsError: it is no such text.
        """
        if text is None:
            return cls()
        place, is_pair, of = text.partition("/")
        if not (is_pair and place.isdecimal() and of.isdecimal() and 1 <= int(place) <= int(of)):
            raise SettingsError(
                f"--shard {text!r} is no share; write 2/4 for the second of four, counted from 1"
            )
        return cls(int(place), int(of))

    def has(self, number: int) -> bool:
        """Whether a run, numbered from 0, is of this share."""
        return number % self.of == self.place - 1


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One run of a sweep."""

    name: str
    """Of run and encoder."""
    varied: dict[str, str]
    """What it has of the lists, by key, as it would be typed."""
    values: dict[str, Any]
    """Values of the command's options."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """All runs that a file asks for."""

    name: str
    """What the names of its runs begin with, and its table is called."""
    keys: tuple[str, ...]
    """What varies, in the file's order."""
    runs: tuple[SweepRun, ...]
    """In the order of nested loops: the file's last list runs fastest."""

    @classmethod
    def of(cls, config: Config, values: Mapping[str, Any], context: click.Context) -> Self | None:
        """The sweep of a file's lists; None where each is the one value of its setting.

        Args:
            config: what the file says.
            values: of the command's options, as they were typed.
            context: of the command, which says what was typed.

        Raises:
            SettingsError: a list cannot be run through, or was typed as well.
        """
        settled = with_settings_of(config, values)
        several = _several_valued()
        axes = [
            _axis(one, config, context, several)
            for one in config.lists
            if not _is_one_value(one, several)
        ]
        if not axes:
            return None
        _check_not_typed(axes, config, context)
        stem = config.path.stem if config.path else "sweep"
        name = str(values["name"] or re.sub(r"[^A-Za-z0-9._]+", "-", stem).strip("-."))
        runs = tuple(
            _run(name, axes, places, settled)
            for places in itertools.product(*(range(len(axis.texts)) for axis in axes))
        )
        _check_names(runs)
        return cls(name, tuple(axis.key for axis in axes), runs)


def with_settings_of(config: Config, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the command's options, the file's settings for ``--set`` before the typed ones.

    Raises:
        SettingsError: the file cannot be used.
    """
    inherited = config.checked().get(_SET, ())
    several = _several_valued()
    pairs = [one for one in config.lists if _is_one_value(one, several)]
    settled = [f"{one.key}={','.join(map(_text, one.values))}" for one in pairs]
    # What was typed comes last, and wins.
    return {**values, _SET: (*inherited, *settled, *values[_SET])}


@dataclass(frozen=True, slots=True)
class _Axis:
    key: str
    parameter: str
    texts: tuple[str, ...]
    """As they would be typed."""
    values: tuple[Any, ...]
    """As the command takes them; of a setting the same as the texts."""


def _several_valued() -> set[str]:
    """Dotted names of the settings that take more than one number."""
    names = {name for method in METHODS.values() for name in several_valued(method.settings)}
    names |= {f"augment.{name}" for name in several_valued(AugmentSettings)}
    return names | {f"train.{name}" for name in several_valued(TrainSettings)}


def _is_one_value(one: Listed, several: set[str]) -> bool:
    is_flat = not any(isinstance(value, list) for value in one.values)
    return one.parameter == _SET and one.key in several and is_flat


def _axis(one: Listed, config: Config, context: click.Context, several: set[str]) -> _Axis:
    takes_several = one.parameter == _SET and one.key in several
    written = [list(value) if isinstance(value, list) else value for value in one.values]
    said = f"config {config.path} has {one.key}: {written}"
    if takes_several and not all(isinstance(value, list) for value in one.values):
        raise SettingsError(f"{said}; write one value [a, b], or a list of them [[a, b], [c, d]]")
    if not takes_several and any(isinstance(value, (list, dict)) for value in one.values):
        raise SettingsError(f"{said}; {one.key} takes one value, so list plain values")
    texts = tuple(
        ",".join(map(_text, value)) if isinstance(value, list) else _text(value)
        for value in one.values
    )
    repeated = [text for text in texts if texts.count(text) > 1]
    if repeated:
        raise SettingsError(f"{said}; it names {repeated[0]} twice, so leave one out")
    if one.parameter == _SET:
        return _Axis(one.key, one.parameter, texts, texts)
    if None in one.values:
        raise SettingsError(f"{said}; write a value in place of null")
    (option,) = (found for found in context.command.params if found.name == one.parameter)
    try:
        values = tuple(option.type.convert(text, option, context) for text in texts)
    except click.UsageError as error:
        raise SettingsError(f"{said}; {error.message}") from error
    return _Axis(one.key, one.parameter, texts, values)


def _text(value: Any) -> str:
    """A value as it would be typed, and a number the same however the file writes it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    for kind in (int, float):
        try:
            return str(kind(str(value))).replace("e+", "e")
        except ValueError:
            continue
    return str(value)


def _check_not_typed(axes: Sequence[_Axis], config: Config, context: click.Context) -> None:
    given = context.params
    typed_settings = {}
    if _is_typed(_SET, context):
        typed_settings = {text.partition("=")[0]: f"--set {text}" for text in given[_SET]}
    for axis in axes:
        if axis.parameter == _SET:
            typed = typed_settings.get(axis.key)
        elif _is_typed(axis.parameter, context):
            typed = f"--{axis.parameter.replace('_', '-')} {given[axis.parameter]}"
        else:
            typed = None
        if typed:
            raise SettingsError(
                f"config {config.path} runs through {axis.key}: [{', '.join(axis.texts)}], and "
                f"{typed} was typed; leave out one of them"
            )


def _check_names(runs: Sequence[SweepRun]) -> None:
    seen: dict[str, SweepRun] = {}
    for run in runs:
        other = seen.setdefault(run.name, run)
        if other is not run:
            raise SettingsError(
                f"{run.varied} and {other.varied} would both be named {run.name}; put one of them "
                f"into a file of its own"
            )


def _is_typed(parameter: str, context: click.Context) -> bool:
    return context.get_parameter_source(parameter) is click.core.ParameterSource.COMMANDLINE


def _run(
    sweep: str, axes: Sequence[_Axis], places: Sequence[int], values: Mapping[str, Any]
) -> SweepRun:
    chosen = list(zip(axes, places, strict=True))
    varied = {axis.key: axis.texts[place] for axis, place in chosen}
    own = {axis.parameter: axis.values[place] for axis, place in chosen if axis.parameter != _SET}
    settings = [
        f"{axis.key}={axis.texts[place]}" for axis, place in chosen if axis.parameter == _SET
    ]
    name = _name(sweep, varied)
    # Those of the lists come last, and win.
    own |= {_SET: (*values[_SET], *settings), "name": name}
    return SweepRun(name, varied, {**values, **own})


def _name(sweep: str, varied: Mapping[str, str]) -> str:
    """A name that says what varies; the same whatever else the lists hold, in whatever order."""
    name = "-".join([sweep, *_parts(varied)])
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_KEPT_OF_LONG_NAME]}-{digest(dict(varied))[:10]}"


def _parts(varied: Mapping[str, str]) -> Iterator[str]:
    shorts = [key.rpartition(".")[2] for key in varied]
    for key in sorted(varied, key=lambda key: (key not in _SAY_WHAT_THEY_ARE, key)):
        short = key.rpartition(".")[2]
        label = key if shorts.count(short) > 1 else short
        value = _in_name(varied[key])
        if key in _SAY_WHAT_THEY_ARE:
            yield value
        else:
            yield f"{label}{value}" if value[0].isdigit() else f"{label}-{value}"


def _in_name(text: str) -> str:
    """A value with signs that a name may have; what is lost of it stands behind it as a digest."""
    if re.fullmatch(r"[A-Za-z0-9._,-]+", text):
        return text.replace(",", "-")
    kept = re.sub(r"[^A-Za-z0-9._]+", "-", text.rpartition("/")[2]).strip("-.")
    return f"{kept}-{digest(text)[:6]}".lstrip("-")
