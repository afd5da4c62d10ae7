"""What is shown on the way, on a terminal and in a log."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from wsi_tower.batch import SlideRow
from wsi_tower.cli.progress import _Bars, line_of, watched

if TYPE_CHECKING:
    import pytest

ROW = SlideRow("CMU-1", "CMU-1.svs", "failed", reason="unreadable", message="slide [x] is 50 px")


def test_a_line_says_status_id_and_message() -> None:
    assert line_of(ROW) == "failed       CMU-1  slide [x] is 50 px  (0.0 s)"
    assert line_of(SlideRow("a", "a", "done", tiles=1234, seconds=2.34)).endswith(
        "a  1,234 tiles  (2.3 s)"
    )


def test_logs_get_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with watched(2, quiet=False) as watcher:
        watcher.beat("CMU-1", 1, 2)
        watcher.row(ROW)
    assert capsys.readouterr().err == f"[1/2] {line_of(ROW)}\n"


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with watched(1, quiet=True) as watcher:
        watcher.row(ROW)
    assert capsys.readouterr().err == ""


def test_terminals_get_whole_lines_above_the_bars() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system="standard", width=60)
    with Progress(console=console) as progress:
        bars = _Bars(progress, 2, quiet=False)
        bars.beat("CMU-1", 1, 2)
        bars.row(ROW)
        assert len(progress.tasks) == 1
    assert f"\x1b[31m{line_of(ROW)}\x1b[0m" in screen.getvalue()
