"""Checkpoints of a run: all that it needs to go on as if it had never stopped.

Layout (format version 1): ``step-00001200.pt``, made by torch.save of tensors and plain values
only, so that ``torch.load(path, weights_only=True)`` reads it::

    kind, format_version     "run", 1
    method, settings         of the run, as plain values
    step                     steps done
    state                    network, objective, optimiser: their state_dict; mean: of the loss

There is no state of random numbers, since draws are keyed by step.
"""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from wsi_tower.errors import CheckpointError, storage_errors
from wsi_tower.records import differences_in_words, file_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Checkpoint", "Checkpoints"]

_KIND = "run"
_FORMAT_VERSION = 1
_DAMAGE = (
    *(zipfile.BadZipFile, pickle.UnpicklingError),
    *(RuntimeError, EOFError, ValueError, KeyError, OSError),
)
"""What zipfile and torch.load raise on files that are cut off or not their own."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a run stood."""

    step: int
    """Steps done."""
    state: dict[str, Any]
    """Tensors and plain values."""


class Checkpoints:
    """The checkpoints of one run in a folder of their own."""

    def __init__(
        self, folder: Path, method: str, settings: Mapping[str, Any], keep: int = 3
    ) -> None:
        """A run is known by its method and by the settings that move its weights."""
        self.folder, self.method, self.settings = folder, method, dict(settings)
        self._keep = keep

    def paths(self) -> list[Path]:
        """Checkpoint files, the oldest first."""
        return sorted(self.folder.glob("step-*.pt"))

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint so that it is complete or absent, then remove the oldest.

        Raises:
            StorageError: the disk refused; the checkpoints before are as they were.
        """
        content = {
            "kind": _KIND,
            "format_version": _FORMAT_VERSION,
            "method": self.method,
            "settings": self.settings,
            "step": checkpoint.step,
            "state": checkpoint.state,
        }
        path = self.folder / f"step-{checkpoint.step:08d}.pt"
        # Straight to the disk: a memory bank of gigabytes has no room beside itself.
        with file_aside(path) as aside, aside.open("wb") as file:
            _save(content, file)
        with storage_errors(self.folder):
            for outdated in self.paths()[: -self._keep]:
                outdated.unlink(missing_ok=True)
        return path

    def newest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint that is sound; None where there is none at all.

        Args:
            warn: hears of damaged ones that are passed over.

        Raises:
            CheckpointError: all are damaged, or the newest sound one is of another method, version
                or settings.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                content = _loaded(path)
            except _DAMAGE as error:
                why = str(error).partition("\n")[0]
                warn(f"checkpoint {path} is damaged ({why}); the one before is taken")
                continue
            return self._checked(content, path)
        if paths:
            raise CheckpointError(
                f"none of the {len(paths)} checkpoints in {self.folder} can be read; remove the "
                f"folder to start again"
            )
        return None

    def _checked(self, content: Any, path: Path) -> Checkpoint:
        if not isinstance(content, dict) or content.get("kind") != _KIND:
            raise CheckpointError(f"{path} is no checkpoint of a wsi-tower run; remove it")
        if content["format_version"] != _FORMAT_VERSION:
            raise CheckpointError(
                f"checkpoint {path} has format version {content['format_version']}; this wsi-tower "
                f"reads {_FORMAT_VERSION}, so resume with the version that wrote it"
            )
        if content["method"] != self.method:
            raise CheckpointError(
                f"checkpoint {path} is of method {content['method']}, not {self.method}; resume "
                f"with that method, or start under another name"
            )
        found = differences_in_words(content["settings"], self.settings)
        if found:
            raise CheckpointError(
                f"checkpoint {path} was made with other settings: {'; '.join(found)}; resume "
                f"with those, or start under another name"
            )
        return Checkpoint(content["step"], content["state"])


def _loaded(path: Path) -> Any:
    """The content of a file whose every part has the checksum that torch.save gave it."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} in it is not what was written")
    # Mapped, so that what is copied from it lies in memory once.
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _save(content: Any, file: BinaryIO) -> None:
    """Let torch write a file; what the disk refuses is raised as what it is.

    Raises:
        OSError: the disk refused.
    """
    try:
        torch.save(content, file)
    except RuntimeError as error:
        # Torch stumbles over the bytes that it misses, and raises that instead.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise
