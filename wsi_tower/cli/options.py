"""Options that verbs share, and the one place where a verb's errors meet the terminal."""

from __future__ import annotations

import functools
import json as json_module
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from wsi_tower.errors import OtherRankError, SettingsError, WsiTowerError, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "INTERRUPTED",
    "SOME_FAILED",
    "Shared",
    "distance_options",
    "parsed_columns",
    "parsed_filters",
    "reader_option",
    "shared_options",
    "told_errors",
]

P = ParamSpec("P")
R = TypeVar("R")

SOME_FAILED = 1
"""Exit code when some slides failed; the others are done."""
USAGE_ERROR = 2
"""Exit code when nothing was begun."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@dataclass(frozen=True)
class Shared:
    """Values of the shared options; those that a verb does not offer keep their defaults."""

    workspace: Path = Path("wsi-tower-workspace")
    """Folder that holds everything wsi-tower makes."""
    workspaces: tuple[Path, ...] = ()
    """Folders whose stores are read; the first takes what is made."""
    workers: int = 0
    """Local processes; 0 takes one per core."""
    overwrite: bool = False
    """Whether what is there is replaced."""
    json: bool = False
    """Whether standard output is one JSON document."""
    verbose: int = 0
    """How much is said: 1 adds tracebacks."""


_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "workspace": click.option(
        "-w",
        "--workspace",
        type=click.Path(path_type=Path),
        envvar="WSI_TOWER_WORKSPACE",
        default=Shared.workspace,
        show_default=True,
        show_envvar=True,
        help="Folder that holds everything wsi-tower makes.",
    ),
    "workspaces": click.option(
        "-w",
        "--workspace",
        "workspaces",
        type=click.Path(path_type=Path),
        envvar="WSI_TOWER_WORKSPACE",
        multiple=True,
        default=(Shared.workspace,),
        show_default=True,
        show_envvar=True,
        help="Folder with tile stores; repeat for more. The first takes what is made.",
    ),
    "workers": click.option(
        "-j",
        "--workers",
        type=click.IntRange(min=0),
        default=0,
        help="Worker processes; 0 (default) is one per core.",
    ),
    "overwrite": click.option("--overwrite", is_flag=True, help="Replace what is already there."),
    "json": click.option("--json", is_flag=True, help="Print one JSON document, nothing else."),
    "verbose": click.option("-v", "--verbose", count=True, help="Say more; tracebacks too."),
}


reader_option = click.option(
    "--reader",
    type=click.Choice(["auto", "openslide", "tiffslide", "flat"]),
    default="auto",
    show_default=True,
    help="Who reads the slides.",
)


def distance_options(verb: Callable[..., R]) -> Callable[..., R]:
    """Give a verb ``--near`` and ``--far``: lengths, with the paper's distances by default."""
    near = click.option(
        "--near",
        default="2mm",
        show_default=True,
        metavar="LENGTH",
        help="Largest distance of a near pair, with its unit.",
    )
    far = click.option(
        "--far",
        default="10mm",
        show_default=True,
        metavar="LENGTH",
        help="What the distance of a distant pair exceeds.",
    )
    return near(far(verb))


def shared_options(*names: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a verb the named shared options, handed to it as ``shared``, and its error handling.

    Known errors end the verb with one line, or one JSON document, and exit code 2.
    """

    def decorate(verb: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(verb)
        def run(**values: Any) -> R:
            shared = Shared(**{name: values.pop(name) for name in names})
            with told_errors(shared):
                return verb(shared=shared, **values)

        command: Any = run
        for name in reversed(names):
            command = _OPTIONS[name](command)
        return command  # type: ignore[no-any-return]

    return decorate


def parsed_filters(typed: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Filters as they are typed: ``site=breast``.

    Raises:
        SettingsError: one is no ``COLUMN=VALUE``.
    """
    filters = []
    for one in typed:
        column, is_pair, value = one.partition("=")
        if not is_pair or not column.strip():
            raise SettingsError(f"--where {one!r} is no COLUMN=VALUE, such as site=breast")
        filters.append((column.strip(), value.strip()))
    return tuple(filters)


def parsed_columns(typed: Iterable[str]) -> dict[str, frozenset[str]]:
    """Filters of one column as alternatives: values by column.

    Raises:
        SettingsError: one is no ``COLUMN=VALUE``.
    """
    columns: dict[str, frozenset[str]] = {}
    for column, value in parsed_filters(typed):
        columns[column] = columns.get(column, frozenset()) | {value}
    return columns


@contextmanager
def told_errors(shared: Shared) -> Iterator[None]:
    """Let known errors of the block end the command with one line, or one JSON document."""
    try:
        yield
    except OtherRankError as error:
        raise click.exceptions.Exit(USAGE_ERROR) from error
    except WsiTowerError as error:
        _tell(error, shared)
        raise click.exceptions.Exit(USAGE_ERROR) from error
    except KeyboardInterrupt as error:
        click.echo(
            "interrupted; what was finished is kept, and the same command goes on from there",
            err=True,
        )
        raise click.exceptions.Exit(INTERRUPTED) from error


def _tell(error: WsiTowerError, shared: Shared) -> None:
    message = without_secrets(str(error))
    if shared.json:
        told = {"error": {"reason": error.reason, "message": message}}
        click.echo(json_module.dumps(told, indent=2, ensure_ascii=False))
    if shared.verbose:
        click.echo(without_secrets(traceback.format_exc()), err=True)
    click.echo(f"{click.style('error', fg='red', bold=True)}: {message}", err=True)
