"""``--config FILE.yaml``: a verb's options from a file, below those that were typed."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Config", "config_option"]


@dataclass(frozen=True)
class Config:
    """What a file said, or why it cannot be used."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """By parameter, as they would be typed."""
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


def _take(context: click.Context, _: click.Parameter, path: Path | None) -> Config:
    if path is None:
        return Config()
    try:
        config = Config(_read(path, context.command))
    except SettingsError as error:
        return Config(error=error)
    context.default_map = dict(config.values)
    return config


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    callback=_take,
    metavar="FILE.yaml",
    help="Options from a file, by their names; what is typed wins.",
)


def _read(path: Path, command: click.Command) -> dict[str, Any]:
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
    options = {
        option.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name != "config"
        for option in parameter.opts
        if option.startswith("--")
    }
    found = {_option(str(key), options, path): value for key, value in document.items()}
    return {
        str(option.name): _value(value, option, path)
        for option, value in found.items()
        if value is not None
    }


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
