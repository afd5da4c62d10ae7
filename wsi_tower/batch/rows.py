"""What became of each slide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["Outcome", "SlideRow", "Status"]

Status: TypeAlias = Literal["done", "skipped", "empty", "failed", "unsupported", "busy"]
"""``skipped`` is already done with the same settings, ``empty`` has no tissue; ``busy`` is being
written by another process and is tried again, so no finished run shows it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What working on a slide gave."""

    status: Literal["done", "skipped"]
    """``skipped`` where it was done before with the same settings."""
    tiles: int
    """Tiles in the slide's store."""
    details: dict[str, Any] = field(default_factory=dict)
    """Plain values for the report."""


@dataclass(frozen=True, slots=True)
class SlideRow:
    """One slide's row in the report."""

    slide_id: str
    """Its id in the workspace."""
    source: str
    """Path or URL, as the user gave it."""
    status: Status
    """What became of it."""
    reason: str = ""
    """Short code, stable across versions; empty when done."""
    message: str = ""
    """What went wrong and what to do, for people."""
    tiles: int = 0
    """Tiles in the slide's store."""
    seconds: float = 0.0
    """Time spent on the slide."""
    details: dict[str, Any] = field(default_factory=dict)
    """Plain values for the report."""
    traceback: str = ""
    """Python traceback of a failure."""

    @property
    def is_failure(self) -> bool:
        """Whether the run's exit code must tell of it."""
        return self.status in ("failed", "unsupported")
