"""The plain record of a run, from which its page, table and JSON are made."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wsi_tower.batch import SlideRow, Status

__all__ = ["RunRecord"]


@dataclass(frozen=True)
class RunRecord:
    """One run of one verb over a batch of slides."""

    verb: str
    """What was done: ``tile``."""
    command: str
    """The command line that repeats the run."""
    workspace: str
    """Path of the workspace."""
    started: str
    """When the run began (UTC, ISO 8601)."""
    seconds: float
    """How long the run took, start-up of the process not counted."""
    workers: str
    """Where slides were worked on, in words: ``4 local processes``."""
    settings: Mapping[str, Any]
    """Settings of the run as nested JSON values."""
    rows: tuple[SlideRow, ...]
    """One row per slide, in the order of the input."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """Path of a slide's picture by slide id, relative to the report's folder, with ``/``."""
    software: Mapping[str, str] = field(default_factory=dict)
    """Versions by package name."""

    def __post_init__(self) -> None:
        for slide_id, path in self.pictures.items():
            parts = PurePosixPath(path).parts
            if not parts or parts[0] == "/" or ".." in parts:
                raise SettingsError(
                    f"picture {path!r} of slide {slide_id} lies outside the report's folder; give "
                    f"a path relative to it"
                )

    def counts(self) -> Counter[Status]:
        """Slides by status."""
        return Counter(row.status for row in self.rows)
