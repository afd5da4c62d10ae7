"""Pipelines: YAML lists of verbs with their arguments, run one after another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wsi_tower.errors import SettingsError

__all__ = ["Stage", "read_pipeline", "shipped_pipeline"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One verb of a pipeline."""

    arguments: tuple[str, ...]
    """The verb and its arguments; ``{slides}``, ``{workspace}``, ``{workers}`` are filled in, also
    within a word, as in ``{slides}/training``."""
    only_without_slides: bool = False
    """Whether the stage is left out when the user gives slides."""

    def filled(self, *, slides: list[str], workspace: str, workers: str) -> list[str]:
        """Arguments with their places filled; one with ``{slides}`` becomes one a slide."""
        return [
            argument.format(slides=slide, workspace=workspace, workers=workers)
            for argument in self.arguments
            for slide in (slides if "{slides}" in argument else [""])
        ]


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
    return Stage(tuple(run), bool(values.get("only_without_slides", False)))
