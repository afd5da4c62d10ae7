"""`--config FILE.yaml`: options below what is typed, and what a file may not say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from wsi_tower.cli.config import Config, config_option
from wsi_tower.cli.options import Shared, shared_options

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@click.command()
@shared_options("workspaces", "json")
@config_option
@click.option("--steps", type=int, default=7)
@click.option("--batch-size", type=int)
@click.option("--lr", type=float)
@click.option("--name")
@click.option("--mix", is_flag=True)
@click.option("--set", "values", multiple=True)
def verb(*, shared: Shared, config: Config, **values: Any) -> None:
    """A verb with an option of every kind."""
    config.checked()
    told = values | {"workspaces": [str(root) for root in shared.workspaces]}
    click.echo(json.dumps(told))


def run(text: str, folder: Path, *typed: str) -> Result:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return CliRunner().invoke(verb, ["--config", str(path), *typed], catch_exceptions=False)


def told(text: str, folder: Path, *typed: str) -> dict[str, Any]:
    result = run(text, folder, *typed)
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_what_is_typed_wins_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    text = "steps: 3\nbatch-size: 16\nname: a"
    found = told(text, tmp_path, "--batch-size", "8")
    assert (found["steps"], found["batch_size"], found["name"]) == (3, 8, "a")
    assert told("{}", tmp_path)["steps"] == 7


def test_names_may_have_underscores_and_numbers_any_form(tmp_path: Path) -> None:
    # YAML 1.1 takes 1e-3 for a text, since it has no dot.
    found = told("batch_size: 16\nlr: 1e-3", tmp_path)
    assert (found["batch_size"], found["lr"]) == (16, 1e-3)


@pytest.mark.parametrize(("text", "is_on"), [("true", True), ("yes", True), ("false", False)])
def test_flags_are_true_or_false(tmp_path: Path, text: str, is_on: bool) -> None:
    assert told(f"mix: {text}", tmp_path)["mix"] is is_on
    assert told(f"mix: {text}", tmp_path, "--mix")["mix"] is True


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("set: {a: 1, b: yes}", ["a=1", "b=True"]),
        ("set: [a=1, b=2]", ["a=1", "b=2"]),
        ("set: a=1", ["a=1"]),
        ("set:\n  a: null\n  b: [0.9, 0.99]", ["a=None", "b=0.9,0.99"]),
        ("set:\n  augment:\n    stain: 0.1\n  train.lr: 2", ["augment.stain=0.1", "train.lr=2"]),
    ],
)
def test_settings_are_a_mapping_or_a_list(tmp_path: Path, text: str, values: list[str]) -> None:
    assert told(text, tmp_path)["values"] == values


@pytest.mark.parametrize(
    ("text", "workspaces"),
    [("workspace: [a, b]", ["a", "b"]), ("workspace: a", ["a"]), ("workspace:", None)],
)
def test_workspaces_may_be_several(tmp_path: Path, text: str, workspaces: list[str] | None) -> None:
    assert told(text, tmp_path)["workspaces"] == (workspaces or ["wsi-tower-workspace"])
    assert told(text, tmp_path, "-w", "c")["workspaces"] == ["c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stesp: 3", "has an unknown option 'stesp'; did you mean steps?"),
        ("zzz: 3", "unknown option 'zzz'; known are batch-size, json, lr"),
        ("config: other.yaml", "unknown option 'config'"),
        ("3: 4", "unknown option '3'"),
        ("steps: [1, 2]", "has steps: [1, 2]; give it one value"),
        ("lr: {a: 1}", "has lr: {'a': 1}; give it one value"),
        ("mix: 3", "has mix: 3; give true or false"),
        ("a: [", "is no YAML file"),
        ("a: !!python/object:os.system {}", "is no YAML file"),
        ("- steps", "is no list of `option: value` lines; write some"),
        ("", "is no list of `option: value` lines; write some"),
    ],
)
def test_a_file_that_cannot_be_right_is_named(tmp_path: Path, text: str, said: str) -> None:
    result = run(text, tmp_path, "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["reason"] == "settings"
    assert error["message"].startswith(f"config {tmp_path / 'run.yaml'} ")
    assert said in error["message"]
    assert "\n" not in error["message"]


def test_a_missing_file_and_one_of_bytes_are_named(tmp_path: Path) -> None:
    missing = CliRunner().invoke(verb, ["--config", str(tmp_path / "no.yaml")])
    assert missing.exit_code == 2
    assert "no.yaml cannot be read (No such file or directory); give the path" in missing.stderr
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    result = CliRunner().invoke(verb, ["--config", str(tmp_path / "x.yaml")])
    assert (result.exit_code, "is no YAML file" in result.stderr) == (2, True)


def test_a_value_of_another_type_is_refused_as_if_typed(tmp_path: Path) -> None:
    result = run("steps: many", tmp_path)
    assert result.exit_code == 2
    assert "Invalid value for '--steps': 'many'" in result.stderr
