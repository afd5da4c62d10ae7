"""The command group, which imports a verb's module when the verb is used or listed."""

from __future__ import annotations

from importlib import import_module

import click

from wsi_tower import __version__

__all__ = ["cli", "main"]

VERBS = (
    *("tile", "pairs", "pretrain", "runs", "embed", "export"),
    *("index", "query", "similar-map", "finetune", "segment", "classify", "evaluate"),
    *("info", "doctor", "demo", "phantom"),
)
"""In the order that a new user meets them."""


class LazyGroup(click.Group):
    """A group whose commands are looked up in ``wsi_tower.cli.<verb>``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every verb, in the order of `VERBS`."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, or None for click to suggest another."""
        del ctx
        if cmd_name not in VERBS:
            return None
        module = import_module(f"wsi_tower.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with `wsi-tower demo`, or with your own slides: `wsi-tower tile slides/`.",
)
@click.version_option(__version__, prog_name="wsi-tower")
def cli() -> None:
    """Whole-slide images to tiles, encoders, similar-tile search and masks."""


def main() -> None:
    """Entry point of the ``wsi-tower`` command."""
    cli(prog_name="wsi-tower")
