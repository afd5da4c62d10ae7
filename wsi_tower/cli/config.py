"""``--config FILE.yaml``: a verb's options from a file, below those that were typed."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    Decorator = Callable[[Any], Any]

__all__ = ["Config", "Listed", "config_option", "swept_config_option"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A list where one value is wanted: what a sweep runs through."""

    key: str
    """Dotted name: ``lr``, or for a setting ``train.betas``."""
    parameter: str
    """Of the command: ``lr``, or for a setting that of ``--set``."""
    values: tuple[Any, ...]
    """As the file has them."""


@dataclass(frozen=True)
class Config:
    """What a file said, or why it cannot be used."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """By parameter, as they would be typed."""
    lists: tuple[Listed, ...] = ()
    """In the file's order, where the verb takes lists."""
    path: Path | None = None
    """Of the file."""
    error: SettingsError | None = None
    """Raised by the verb, where it becomes a line or a JSON document as every other error."""

    def checked(self) -> Mapping[str, Any]:
        """The values.

        Raises:
            SettingsError: the file cannot be used.
        """
        if self.error is not None:
            raise self.error
        return self.values


def _option_with(swept: Collection[str]) -> Decorator:
    def take(context: click.Context, _: click.Parameter, path: Path | None) -> Config:
        if path is None:
            return Config()
        try:
            config = _read(path, context.command, swept)
        except SettingsError as error:
            return Config(error=error)
        context.default_map = dict(config.values)
        return config

    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        is_eager=True,
        callback=take,
        metavar="FILE.yaml",
        help="Options from a file, by their names; what is typed wins."
        + (" Lists make a sweep." if swept else ""),
    )


config_option = _option_with(())


def swept_config_option(*parameters: str) -> Decorator:
    """As `config_option`, but these parameters may have lists: `Config.lists`.

    That of ``--set`` has them where it is a mapping, setting by setting.
    """
    return _option_with(frozenset(parameters))


def _read(path: Path, command: click.Command, swept: Collection[str]) -> Config:
    document = _document(path)
    options = {
        option.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name != "config"
        for option in parameter.opts
        if option.startswith("--")
    }
    values: dict[str, Any] = {}
    lists: list[Listed] = []
    for key, value in document.items():
        option = _option(str(key), options, path)
        name, rest = str(option.name), value
        if name in swept:
            found, rest = _lists_apart(value, name, within="" if option.multiple else name)
            lists += found
        if rest is not None:
            values[name] = _value(rest, option, path)
    for one in lists:
        if not one.values:
            raise SettingsError(f"config {path} has {one.key}: []; list values, or leave it out")
    return Config(values, tuple(lists), path)


def _document(path: Path) -> dict[Any, Any]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"config {path} cannot be read ({error.strerror}); give the path of a YAML file"
        ) from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise SettingsError(f"config {path} is no YAML file ({why}); mend it there") from error
    if not isinstance(document, dict):
        raise SettingsError(
            f"config {path} is no list of `option: value` lines; write some, as in `steps: 1000`"
        )
    return document


def _lists_apart(value: Any, parameter: str, within: str) -> tuple[list[Listed], Any]:
    """The lists of a value, or of a mapping at any depth, and what is left of it.

    ``within`` is its dotted name: empty for that of ``--set``, whose own list is no sweep.
    """
    if isinstance(value, list) and within:
        return [Listed(within, parameter, tuple(value))], None
    if not isinstance(value, dict):
        return [], value
    lists: list[Listed] = []
    left: dict[Any, Any] = {}
    for name, one in value.items():
        found, rest = _lists_apart(one, parameter, f"{within}.{name}" if within else str(name))
        lists += found
        if not found or rest:
            left[name] = rest
    return lists, left


def _option(key: str, options: Mapping[str, click.Option], path: Path) -> click.Option:
    found = options.get(key.replace("_", "-"))
    if found is None:
        close = difflib.get_close_matches(key, options, n=1)
        advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(options))}"
        raise SettingsError(f"config {path} has an unknown option {key!r}; {advice}")
    return found


def _value(value: Any, option: click.Option, path: Path) -> Any:
    """A value as it would be typed; a mapping becomes a list of ``name=value``."""
    name = option.opts[-1].removeprefix("--")
    if option.multiple:
        several = value if isinstance(value, list) else [value]
        return [text for one in several for text in _texts(one)]
    if isinstance(value, (list, dict)):
        raise SettingsError(f"config {path} has {name}: {value!r}; give it one value")
    if not option.is_flag:
        return str(value)
    if not isinstance(value, bool):
        raise SettingsError(f"config {path} has {name}: {value!r}; give true or false")
    return value


def _texts(value: Any, within: str = "") -> Iterator[str]:
    """A value, or every setting of a mapping, with dots between the names of one in another."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _texts(one, f"{within}.{name}" if within else str(name))
        return
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    yield f"{within}={text}" if within else text
