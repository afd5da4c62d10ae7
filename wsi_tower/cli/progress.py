"""What is shown while slides are worked on: a live bar on a terminal, else plain lines."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress, TaskID

    from wsi_tower.batch import SlideRow

__all__ = ["Watcher", "watched"]

_COLOURS = {"done": "green", "skipped": "cyan", "empty": "yellow"}


class Watcher(Protocol):
    """Is told how a run goes."""

    def row(self, row: SlideRow) -> None:
        """A slide is finished."""

    def beat(self, slide_id: str, done: int, total: int) -> None:
        """A slide has so many of its tiles."""


@contextmanager
def watched(slides: int, *, quiet: bool) -> Iterator[Watcher]:
    """A watcher for a run over so many slides; ``quiet`` shows nothing but the bar."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(slides, quiet=quiet)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        yield _Bars(progress, slides, quiet=quiet)


def line_of(row: SlideRow) -> str:
    """One slide's line: status, id, and what there is to say."""
    said = row.message or (f"{row.tiles:,} tiles" if row.tiles else "")
    said += f"; note: {row.details['warning']}" if "warning" in row.details else ""
    return "  ".join(
        filter(None, (f"{row.status:<11}", row.slide_id, said, f"({row.seconds:.1f} s)"))
    )


class _Lines:
    """A plain line a slide on standard error, for logs."""

    def __init__(self, slides: int, *, quiet: bool) -> None:
        self._slides, self._quiet, self._done = slides, quiet, 0

    def row(self, row: SlideRow) -> None:
        self._done += 1
        if not self._quiet:
            click.echo(f"[{self._done}/{self._slides}] {line_of(row)}", err=True)

    def beat(self, slide_id: str, done: int, total: int) -> None:
        pass


class _Bars:
    """A bar for the run, and one for each slide that is being worked on."""

    def __init__(self, progress: Progress, slides: int, *, quiet: bool) -> None:
        self._progress, self._quiet = progress, quiet
        self._run = progress.add_task("slides", total=slides)
        self._slides: dict[str, TaskID] = {}

    def row(self, row: SlideRow) -> None:
        if row.slide_id in self._slides:
            self._progress.remove_task(self._slides.pop(row.slide_id))
        self._progress.advance(self._run)
        if not self._quiet:
            style = _COLOURS.get(row.status, "red")
            self._progress.console.print(
                line_of(row), style=style, markup=False, highlight=False, soft_wrap=True
            )

    def beat(self, slide_id: str, done: int, total: int) -> None:
        if slide_id not in self._slides:
            self._slides[slide_id] = self._progress.add_task(slide_id, total=total)
        self._progress.update(self._slides[slide_id], completed=done)
        if done == total:
            self._progress.remove_task(self._slides.pop(slide_id))
