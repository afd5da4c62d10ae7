"""``--config FILE.yaml``: a verb's options from a file, below those that were typed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsi_tower.cli.options import Shared, told_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["config_option"]


def _take(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    if path is None:
        return None
    with told_errors(Shared()):
        context.default_map = _read(path, context.command)
    return path


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_take,
    metavar="FILE.yaml",
    help="Options from a file, by their names; what is typed wins.",
)


def _read(path: Path, command: click.Command) -> dict[str, Any]:
    import yaml

    from wsi_tower.errors import SettingsError

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"config {path} cannot be read ({error}); check the file") from error
    if not isinstance(document, dict):
        raise SettingsError(f"config {path} is no list of `option: value` lines")
    options = {
        option.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.expose_value
        for option in parameter.opts
        if option.startswith("--")
    }
    found = {_option(str(key), options, path): value for key, value in document.items()}
    return {str(option.name): _value(value, option) for option, value in found.items()}


def _option(key: str, options: Mapping[str, click.Option], path: Path) -> click.Option:
    import difflib

    from wsi_tower.errors import SettingsError

    found = options.get(key.replace("_", "-"))
    if found is None:
        close = difflib.get_close_matches(key, options, n=1)
        advice = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(options))}"
        raise SettingsError(f"config {path} has an unknown option {key!r}; {advice}")
    return found


def _value(value: Any, option: click.Option) -> Any:
    """A value as it would be typed; a mapping becomes a list of ``name=value``."""
    if isinstance(value, dict):
        return [f"{name}={_typed(one)}" for name, one in value.items()]
    if isinstance(value, list):
        return [_typed(one) for one in value]
    if option.multiple:
        return [str(value)]
    return value if isinstance(value, bool) or value is None else str(value)


def _typed(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)
