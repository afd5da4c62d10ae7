"""The log of a run: a CSV file always, TensorBoard's files when asked."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from wsi_tower.errors import SettingsError, storage_errors
from wsi_tower.records import write_text_aside

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["RunLog"]


class RunLog:
    """Rows by step, in ``log.csv`` of a run's folder. Close it."""

    def __init__(self, folder: Path, *, step: int, tensorboard: bool = False) -> None:
        """Go on after ``step``: later rows, of a run that was killed there, are cut off.

        Raises:
            SettingsError: TensorBoard is asked for and not installed.
            StorageError: the disk refused.
        """
        self.path = folder / "log.csv"
        # Before anything is written, for it may refuse.
        self._board = _board(folder / "tensorboard", step) if tensorboard else None
        kept = _rows_until(self.path, step) if step else []
        self._names = list(kept[0]) if kept else []
        write_text_aside(self.path, _as_csv([self._names, *(row.values() for row in kept)]))
        with storage_errors(self.path):
            self._file = self.path.open("a", encoding="utf-8", newline="")

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a row. Every row has the same names; None leaves a place empty.

        Raises:
            StorageError: the disk refused.
        """
        row = {"step": step, **values}
        lines: list[list[Any]] = [] if self._names else [list(row)]
        self._names = self._names or list(row)
        lines.append(["" if row[name] is None else row[name] for name in self._names])
        with storage_errors(self.path):
            self._file.write(_as_csv(lines))
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                if value is not None:
                    self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files."""
        with storage_errors(self.path):
            self._file.close()
        if self._board is not None:
            self._board.close()


def _rows_until(path: Path, step: int) -> list[dict[str, str]]:
    """Whole rows up to a step; a process that was killed may leave half a row at the end."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    whole = text[: text.rfind("\n") + 1]
    return [row for row in csv.DictReader(io.StringIO(whole)) if int(row["step"]) <= step]


def _as_csv(lines: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(line for line in lines if line)
    return text.getvalue()


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SettingsError(
            "tensorboard was asked for and is not installed; install it with "
            "`pip install 'wsi-tower[tensorboard]'`, or read log.csv"
        ) from error
    # What a killed run wrote after its last checkpoint is struck out.
    return SummaryWriter(str(folder), purge_step=step + 1)
