"""The page of a pipeline: what each stage ran, how long it took, and its pictures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from wsi_tower.records import write_text_aside
from wsi_tower.report.folder import PAGE_NAME
from wsi_tower.report.wording import counted, duration, moment, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["StageShown", "write_pipeline_page"]

_MOST_PICTURES = 12
"""Pictures of a stage; a stage with more has a page of its own."""


@dataclass(frozen=True, slots=True)
class StageShown:
    """A stage that was run."""

    command: str
    """As one types it."""
    seconds: float
    """How long it took."""
    exit_code: int
    """0 where all went well."""
    pages: tuple[Path, ...]
    """Its reports."""
    pictures: tuple[Path, ...]
    """What it drew."""

    @property
    def verb(self) -> str:
        """Which verb it was."""
        return self.command.split()[1]


def write_pipeline_page(
    folder: Path, stages: Sequence[StageShown], *, workspace: Path, began: str
) -> Path:
    """Write ``index.html`` into ``folder``, with links to what the stages made.

    Args:
        folder: takes the page.
        stages: in the order in which they ran.
        workspace: where they worked.
        began: when the first one did, in ISO 8601.

    Returns:
        Path of the page.

    Raises:
        StorageError: the disk refused.
    """
    environment = Environment(
        loader=PackageLoader("wsi_tower.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "counted": counted}
    text = environment.get_template("pipeline.html.j2").render(
        stages=[_told(stage, folder) for stage in stages],
        failed=[stage for stage in stages if stage.exit_code],
        seconds=sum(stage.seconds for stage in stages),
        workspace=workspace,
        began=moment(began),
    )
    page = folder / PAGE_NAME
    write_text_aside(page, shown(text))
    return page


def _told(stage: StageShown, folder: Path) -> dict[str, Any]:
    return {
        "shown": stage,
        "pages": [_link(path, folder) for path in stage.pages],
        "pictures": list(_pictures(stage, folder)),
        "hidden": max(0, len(stage.pictures) - _MOST_PICTURES),
    }


def _pictures(stage: StageShown, folder: Path) -> Iterator[tuple[str, str]]:
    """Link and caption of each picture that is shown."""
    for path in stage.pictures[:_MOST_PICTURES]:
        yield _link(path, folder), path.stem


def _link(path: Path, folder: Path) -> str:
    return quote(os.fsencode(os.path.relpath(path, folder)))
