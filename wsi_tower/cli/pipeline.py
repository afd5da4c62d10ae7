"""Pipelines: YAML lists of verbs with their arguments, run one after another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wsi_tower.errors import SettingsError
from wsi_tower.workspace import Workspace

__all__ = ["Stage", "read_pipeline", "shipped_pipeline"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One verb of a pipeline."""

    arguments: tuple[str, ...]
    """The verb and its arguments. ``{slides}``, ``{workspace}``, ``{workers}`` and, for a tile to
    ask about, ``{slide_id}`` and ``{row}`` are filled in, also within a word."""
    only_without_slides: bool = False
    """Whether the stage is left out when the user gives slides."""
    only_with_slides: bool = False
    """Whether it is left out when there are none."""

    def is_wanted(self, *, has_slides: bool) -> bool:
        """Whether the stage is run."""
        return not (self.only_without_slides if has_slides else self.only_with_slides)

    def filled(self, *, slides: list[str], workspace: str, workers: str) -> list[str]:
        """Arguments with their places filled; one with ``{slides}`` becomes one a slide.

        The tile to ask about is the middle one of the first slide that the workspace has now.

        Raises:
            NoSlidesError: there is none yet.
        """
        places: dict[str, object] = {"workspace": workspace, "workers": workers}
        if any("{slide_id}" in argument or "{row}" in argument for argument in self.arguments):
            places |= _middle_tile(Workspace(Path(workspace)))
        return [
            argument.format(slides=slide, **places)
            for argument in self.arguments
            for slide in (slides if "{slides}" in argument else [""])
        ]


def _middle_tile(workspace: Workspace) -> dict[str, object]:
    from wsi_tower.tiles import TileStore

    path = workspace.tile_stores()[0]
    with TileStore.open(path) as store:
        return {"slide_id": path.stem, "row": len(store) // 2}


def shipped_pipeline(name: str) -> Path:
    """A pipeline that comes with wsi-tower: from the wheel, or from the source tree.

    Raises:
        SettingsError: there is none of that name.
    """
    package = Path(__file__).parent.parent
    for folder in (package / "pipelines", package.parent / "pipelines"):
        if (folder / name).is_file():
            return folder / name
    raise SettingsError(f"no pipeline {name} comes with wsi-tower; name a file with --pipeline")


def read_pipeline(path: Path) -> list[Stage]:
    """The stages of a pipeline file.

    Raises:
        SettingsError: no such file, no YAML, or not a list of stages.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"pipeline {path} cannot be read ({error}); check the file") from error
    stages = document.get("stages") if isinstance(document, dict) else None
    if not isinstance(stages, list) or not stages:
        raise SettingsError(f"pipeline {path} has no list `stages:` of verbs")
    return [_stage(path, number, values) for number, values in enumerate(stages, start=1)]


def _stage(path: Path, number: int, values: Any) -> Stage:
    run = values.get("run") if isinstance(values, dict) else None
    if not isinstance(run, list) or not run or not all(isinstance(one, str) for one in run):
        raise SettingsError(
            f"pipeline {path}, stage {number}: `run:` must list a verb and its arguments as text"
        )
    return Stage(
        tuple(run),
        only_without_slides=bool(values.get("only_without_slides", False)),
        only_with_slides=bool(values.get("only_with_slides", False)),
    )
