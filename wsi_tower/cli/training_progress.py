"""What is shown while a network trains: a live bar on a terminal, else plain lines."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from wsi_tower.pretrain import PretrainWatcher
from wsi_tower.training import Ranks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as Bar

    from wsi_tower.pretrain import Ingredients
    from wsi_tower.training import Progress, StepReport, TrainSettings

__all__ = ["watched_training"]


@contextmanager
def watched_training(*, quiet: bool, is_first: bool) -> Iterator[PretrainWatcher]:
    """A watcher of one run; ``quiet`` shows warnings alone, and the bar on a terminal.

    Of several ranks only the first has a bar.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not (console.is_terminal and is_first):
        yield _Told(None, quiet=quiet)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as bar:
        yield _Told(bar, quiet=quiet)


class _Told(PretrainWatcher):
    """Lines on standard error: the plan, what the watch sees, warnings; the bar in between."""

    def __init__(self, bar: Bar | None, *, quiet: bool) -> None:
        self._bar, self._quiet = bar, quiet
        self._task = None if bar is None else bar.add_task("steps", total=None)

    def began(self, ingredients: Ingredients) -> None:
        training, views = ingredients.training, ingredients.feed.recipe
        pictures = ingredients.pictures
        self._say(
            f"{ingredients.method.name} with preset {ingredients.preset}: "
            f"{ingredients.recipe['backbone']} from {ingredients.recipe['start']} weights, "
            f"{views.augment.crop_px}-px views of {len(pictures.source):,} {pictures.noun}, "
            f"{training.steps} steps of {training.batch_size} on {_place(training)} "
            f"in {training.precision}"
        )

    def resumed(self, step: int) -> None:
        self._say(f"going on after step {step}")

    def stepped(self, progress: Progress, loss: float) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                completed=progress.step,
                total=progress.steps,
                description=f"loss {loss:.4f}",
            )

    def logged(self, report: StepReport) -> None:
        watch = report.watch
        if watch is None:
            return
        parts = "  ".join(f"{name} {value:.4f}" for name, value in report.losses.items())
        gap = "" if watch.gap is None else f"  far/near distance {watch.gap:.3f}"
        self._say(
            f"step {report.progress.step}/{report.progress.steps}  {parts}  "
            f"feature rank {watch.rank:.1f}{gap}  {report.images_per_s:.3g} tiles/s"
        )

    def warned(self, message: str) -> None:
        click.echo(f"{click.style('warning', fg='yellow')}: {message}", err=True)

    def _say(self, line: str) -> None:
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(line, err=True)


def _place(training: TrainSettings) -> str:
    """Which device, and how many processes where there are several."""
    size = Ranks.here().size
    device = training.torch_device().type
    return device if size == 1 else f"{size} ranks of {device}"
