"""Folders of saved networks: how each kind is written, found by name, listed and built again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import safetensors.torch

from wsi_tower.errors import CorruptStoreError, ModelError
from wsi_tower.models.naming import nearest, slug
from wsi_tower.records import folder_aside, write_bytes_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor

    from wsi_tower.records import Header
    from wsi_tower.workspace import Workspace

__all__ = ["built_again", "missing_model", "own_folder", "records_in", "write_network"]


class _Record(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def header(self) -> Header: ...


class _Buildable(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def shape(self) -> dict[str, Any]: ...


class _Kind(Protocol):
    @classmethod
    def of_shape(cls, shape: dict[str, Any], /) -> Any: ...


RecordT = TypeVar("RecordT", bound=_Record)


def write_network(
    folder: Path, record: tuple[str, object], tensors: Mapping[str, dict[str, Tensor]]
) -> None:
    """Write a network's folder in place of what it held: complete or absent.

    Args:
        folder: takes it; the caller holds its lock.
        record: name of the record's file, and what it holds, as JSON.
        tensors: by the name of their file.

    Raises:
        StorageError: the disk refused.
    """
    name, values = record
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    with folder_aside(folder, alone=True) as aside:
        for file, state in tensors.items():
            write_bytes_aside(aside / file, safetensors.torch.save(state))
        write_bytes_aside(aside / name, text.encode("utf-8", "surrogateescape"))


def own_folder(
    name: str, home: Path | None, record_name: str, *, has_hubs: bool = False
) -> Path | None:
    """Where a network lies: at the path ``name``, or in ``home`` under it; None where it does not.

    Args:
        name: of a network, or the path of its folder.
        home: folder of such networks.
        record_name: the file by which its kind is known.
        has_hubs: whether ``hub:owner/name`` is a name, too, and no path.
    """
    is_path = "/" in name and not (has_hubs and ":" in name)
    folders = [Path(name)] if is_path else []
    if home is not None:
        folders.append(home / slug(name))
    return next((folder for folder in folders if (folder / record_name).is_file()), None)


def records_in(
    home: Path, record_name: str, read: Callable[[Path], RecordT]
) -> tuple[list[RecordT], tuple[str, ...]]:
    """The records in ``home``, newest first, and a message for each that cannot be read."""
    records, damaged = [], []
    for path in sorted(home.glob(f"[!.]*/{record_name}")):
        try:
            record = read(path)
        except CorruptStoreError as error:
            damaged.append(str(error))
        else:
            records.append(record)
    records.sort(key=lambda record: (record.header.created, record.name), reverse=True)
    return records, tuple(damaged)


def missing_model(
    what: str, name: str, known: Iterable[str], workspace: Workspace | None, remedy: str
) -> ModelError:
    """The error for a name that no model has, with those like it."""
    known = list(known)
    alike = nearest(name, known)
    there = f"there are {', '.join(known)}" if known else "there are none yet"
    where = f"workspace {workspace.root} has" if workspace else "there is"
    return ModelError(
        f"{where} no {what} {name!r}"
        + (f"; did you mean {' or '.join(alike)}? Else " if alike else f", {there}; ")
        + remedy
    )


def built_again(
    record: _Buildable, kinds: Mapping[str, type[_Kind]], what: str, source: Path, remedy: str
) -> Any:
    """The network that a record means, with tensors still to be loaded.

    Args:
        record: has kind and shape.
        kinds: the classes that there are, by kind.
        what: as people call one: ``a network``.
        source: where the record stands.
        remedy: what to do about a damaged one.

    Raises:
        ModelError: of a kind that a later wsi-tower has.
        CorruptStoreError: nothing can be built of its shape.
    """
    kind = kinds.get(record.kind)
    if kind is None:
        raise ModelError(
            f"{source} names {what} {record.kind!r}, which this wsi-tower does not know (only "
            f"{', '.join(kinds)}); update it"
        )
    try:
        return kind.of_shape(record.shape)
    except (ValueError, TypeError, LookupError, RuntimeError) as error:
        raise CorruptStoreError(
            f"{source} is damaged: its shape cannot be built ({error}); {remedy}"
        ) from error
