"""`wsi-tower runs` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from PIL import Image

from tests.runs.folders import row, write_run
from wsi_tower.cli.main import cli
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from click.testing import Result

ROOT = Path(__file__).parents[2]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["runs", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def study(tmp_path: Path) -> Workspace:
    """A workspace with a run of every fate."""
    workspace = Workspace(tmp_path / "study")
    write_run(workspace, "old", created="2026-11-20T10:00:00+00:00")
    training = {"steps": 40, "batch_size": 8, "lr": 0.01, "seed": 1}
    write_run(workspace, "new", created="2026-11-22T10:00:00+00:00", training=training)
    middle = "2026-11-21T10:00:00+00:00"
    write_run(workspace, "cut", status="interrupted", rows=[row(20, 3)], created=middle)
    write_run(workspace, "lost", status="diverged", rows=[], created="2026-11-19T10:00:00+00:00")
    (workspace.runs / "bad").mkdir()
    return workspace


def test_all_runs_are_a_table_the_newest_first(study: Workspace) -> None:
    result = run("-w", study.root)
    assert (result.exit_code, result.stderr) == (0, "")
    heads, _, *rows = result.stdout.splitlines()
    for word in ("run", "method", "learns from", "status", "loss", "far/near", "tiles/s"):
        assert word in heads
    lines = {line.split()[0]: line for line in rows}
    assert list(lines) == ["bad", "new", "cut", "old", "lost", "bad:", "lost:"]
    assert "resnet10t 32 px, batch 8, lr 0.01, seed 1" in lines["new"]
    assert "120\N{NARROW NO-BREAK SPACE}tiles of 2 slides" not in lines["new"]
    assert "120 tiles of 2 slides" in lines["new"]
    assert lines["new"].split("finished")[1].split()[:4] == ["40/40", "2", "31", "1.25"]
    assert "interrupted   20/40      3" in lines["cut"]
    assert "diverged" in lines["lost"]
    assert lines["bad:"].endswith("or begin the run again with --overwrite")
    assert lines["lost:"].endswith("it diverged")


def test_json_is_alone_on_standard_output(study: Workspace) -> None:
    result = run("-w", study.root, "--json", "--last", 2)
    told = json.loads(result.stdout)["runs"]
    assert [one["name"] for one in told] == ["bad", "new"]
    assert result.stderr == ""
    expected = "name status reason message created slides tiles step steps seconds images_per_s"
    expected += " losses rank gap folder encoder curves settings_digest settings"
    assert list(told[1]) == expected.split()
    assert Path(told[1]["folder"]).is_absolute()


def test_one_run_is_told_in_full(study: Workspace) -> None:
    (study.run("new") / "curves.png").touch()
    result = run("new", "-w", study.root)
    first, *lines = result.stdout.splitlines()
    assert first.startswith("new: finished, 40/40 steps, 1")
    told = {line[:18].strip(): line[18:].strip() for line in lines}
    assert told["losses"] == "loss 2, contrast 1"
    assert told["collapse watch"] == "feature rank 31, far/near distance 1.25"
    assert told["learns from"] == "120 tiles of 2 slides"
    assert told["curves"] == str(study.run("new") / "curves.png")
    assert told["encoder"] == str(study.encoders / "new")
    assert "  training.lr            0.01" in lines
    assert json.loads(run("new", "-w", study.root, "--json").stdout)["name"] == "new"


def test_two_runs_are_compared_in_words_and_as_a_picture(study: Workspace) -> None:
    result = run("old", "new", "-w", study.root)
    assert (result.exit_code, result.stderr) == (0, "")
    words = [line.split() for line in result.stdout.splitlines()]
    assert ["training.lr", "0.001", "0.01"] in words
    assert ["training.seed", "0", "1"] in words
    assert ["loss", "2", "2"] in words
    assert ["status", "finished", "finished"] in words
    picture = study.reports / "runs" / "old-vs-new.png"
    assert result.stdout.splitlines()[-1] == f"Look at {picture}"
    with Image.open(picture) as image:
        image.verify()
    told = json.loads(run("old", "new", "cut", "-w", study.root, "--json").stdout)
    assert told["differing"]["training.lr"] == [0.001, 0.01, 0.001]
    assert Path(told["picture"]).name == "old-vs-new-vs-cut.png"


@pytest.mark.parametrize(
    ("typed", "reason", "said"),
    [
        (("nwe",), "input", "no run 'nwe'; did you mean new?"),
        (("new", "zzz"), "input", "no run 'zzz'; there are bad, cut, lost, new, old"),
        (("new", "new"), "input", "run 'new' is named twice"),
        (("new", "bad"), "corrupt-store", "run bad cannot be compared: "),
        (("new", "--last", "3"), "settings", "--last 3 shortens the list of all runs"),
    ],
)
def test_what_cannot_be_is_named(
    study: Workspace, typed: tuple[str, ...], reason: str, said: str
) -> None:
    result = run(*typed, "-w", study.root, "--json")
    error: dict[str, Any] = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["reason"]) == (2, reason)
    assert said in error["message"]


def test_an_empty_workspace_says_what_to_do(tmp_path: Path) -> None:
    result = run("-w", tmp_path / "none")
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"has no runs yet; begin one with `wsi-tower pretrain -w {tmp_path}" in result.stderr
    assert json.loads(run("-w", tmp_path / "none", "--json").stdout) == {"runs": []}
    assert not (tmp_path / "none").exists()


def test_a_narrow_terminal_does_without_the_least(study: Workspace) -> None:
    from rich.console import Console

    from wsi_tower.cli import runs_text
    from wsi_tower.runs import recorded_runs

    console = Console(width=70, force_terminal=True, color_system=None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runs_text, "_console", lambda: console)
        with console.capture() as captured:
            runs_text.print_runs([one for one in recorded_runs(study) if not one.message])
    lines = captured.get().splitlines()
    assert max(map(len, lines[:5])) <= 70
    assert lines[-1].startswith("without begun, settings")
    assert "finished" in captured.get()


def test_a_thousand_long_runs_are_listed_quickly_and_without_torch(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    rows = [row(step, 1, *((9, 1) if step % 500 == 0 else ())) for step in range(1, 2001)]
    source = write_run(workspace, "run-0", rows=rows)
    for number in range(1, 1000):
        folder = workspace.run(f"run-{number}")
        folder.mkdir()
        for name in ("run.json", "end.json", "log.csv"):
            (folder / name).hardlink_to(source / name)
    script = (
        "import sys, time; from click.testing import CliRunner; "
        "from wsi_tower.cli.main import cli; began = time.process_time(); "
        f"text = CliRunner().invoke(cli, ['runs', '-w', {str(tmp_path)!r}, '--json']).output; "
        "print(text.count('\"name\"'), 'torch' in sys.modules, time.process_time() - began)"
    )
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    count, has_torch, seconds = found.stdout.split()
    assert (count, has_torch) == ("1000", "False")
    # Ten times what it takes, for machines that are busy or slow.
    assert float(seconds) < 20
