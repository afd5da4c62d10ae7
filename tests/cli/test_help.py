"""Help is instant, and shows commands that can be typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from typing import TYPE_CHECKING, get_args

import click
import pytest
from click.testing import CliRunner

from wsi_tower.cli.main import VERBS, cli

if TYPE_CHECKING:
    from pathlib import Path


def test_help_takes_less_than_0_4_seconds() -> None:
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        command = [sys.executable, "-m", "wsi_tower", "--help"]
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.4


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_examples(verb: str) -> None:
    result = CliRunner().invoke(cli, [verb, "--help"])
    assert result.exit_code == 0
    assert "Examples:" in result.output


@pytest.mark.parametrize("verb", VERBS)
def test_examples_are_commands_that_parse(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.yaml").write_text("{}")  # a config is read while options are parsed
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    examples = re.findall(rf"wsi-tower {verb}(.*?)(?:\s{{3,}}|\n|$)", command.epilog or "")
    assert examples
    for example in examples:
        arguments = list(shlex.split(example))
        command.make_context(verb, arguments)


def test_choices_are_the_rooms_own() -> None:
    from wsi_tower.slides import ReaderName
    from wsi_tower.tiles import PixelMode

    choices = {
        parameter.name: tuple(parameter.type.choices)
        for verb in ("tile", "info")
        for parameter in cli.get_command(click.Context(cli), verb).params  # type: ignore[union-attr]
        if isinstance(parameter.type, click.Choice)
    }
    assert choices == {"pixels": get_args(PixelMode), "reader": get_args(ReaderName)}


def test_an_unknown_verb_suggests_the_nearest() -> None:
    result = CliRunner().invoke(cli, ["tiel", "slides/"])
    assert result.exit_code == 2
    assert "No such command 'tiel'" in result.output
