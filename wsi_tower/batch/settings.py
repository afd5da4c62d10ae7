"""Where slides are worked on."""

from __future__ import annotations

import os
from dataclasses import dataclass

from wsi_tower.errors import SettingsError

__all__ = ["BatchSettings", "usable_cores"]


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Where slides are worked on."""

    workers: int = 0
    """Local processes; 0 takes one per core, never more than slides. 1 works in this process."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, ``tcp://host:8786``; replaces local processes. Its
    workers must see the same files and have wsi-tower installed."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise SettingsError(f"workers must be 0 (one per core) or more, not {self.workers}")

    @property
    def processes(self) -> int:
        """Local processes, were there slides enough."""
        return self.workers or usable_cores()

    def processes_for(self, slides: int) -> int:
        """Local processes for so many slides."""
        return max(1, min(self.processes, slides))
