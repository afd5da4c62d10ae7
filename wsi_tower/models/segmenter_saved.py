"""Segmenters on disk: no pickle, complete or absent, checked when read.

Layout (format version 1) — a folder ``models/<name>``::

    model.json               `SegmenterRecord`: header, classes, resolution, threshold, shape
    model.safetensors        every tensor of the network
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from wsi_tower.errors import EncoderError, SettingsError
from wsi_tower.models.confidence import ConfidenceSegmenter
from wsi_tower.models.folders import (
    built_again,
    missing_model,
    own_folder,
    records_in,
    write_network,
)
from wsi_tower.models.naming import slug
from wsi_tower.models.parts import load_state, network_header, read_json, state_of, tensors_digest
from wsi_tower.models.segmenter import UNetSegmenter
from wsi_tower.models.segmenter_record import SEGMENTER_RECORD, SegmenterRecord
from wsi_tower.records import Header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wsi_tower.models.segmenter import Segmenter
    from wsi_tower.models.segmenter_record import SegmenterOrigin
    from wsi_tower.workspace import Workspace

__all__ = [
    "LoadedSegmenter",
    "SegmentersFound",
    "check_free_for_segmenter",
    "checked_model_name",
    "load_segmenter",
    "newest_segmenter",
    "save_segmenter",
    "segmenters_of",
]

_RECORD_NAME, _WEIGHTS_NAME = "model.json", "model.safetensors"
_REMEDY = SEGMENTER_RECORD.remedy
_TRAIN = "train one with `wsi-tower finetune`, or give the path of a model's folder"
_SEGMENTERS: Mapping[str, type[Segmenter]] = MappingProxyType(
    {one.kind: one for one in (UNetSegmenter, ConfidenceSegmenter)}
)
"""Which segmenter a record means."""


@dataclass(frozen=True, slots=True)
class LoadedSegmenter:
    """A segmenter ready for use."""

    network: Segmenter
    """In eval mode, on the CPU."""
    record: SegmenterRecord
    """What it is; its content digest names these very weights."""


@dataclass(frozen=True, slots=True)
class SegmentersFound:
    """The segmenters of a workspace."""

    records: tuple[SegmenterRecord, ...]
    """Newest first."""
    damaged: tuple[str, ...]
    """A message for each folder whose record cannot be read."""


def checked_model_name(name: str) -> str:
    """A name for a model of one's own, as it was given.

    Raises:
        SettingsError: it cannot name a folder.
    """
    if slug(name) != name:
        raise SettingsError(
            f"model name {name!r} has other signs than letters, digits, dots, underscores and "
            f"hyphens; take {slug(name)!r}"
        )
    return name


def save_segmenter(folder: Path, segmenter: Segmenter, origin: SegmenterOrigin) -> SegmenterRecord:
    """Save a segmenter and its record, in place of what the folder held.

    Complete or absent: written aside, then renamed. The caller holds `held_lock` for the folder.

    Args:
        folder: ``models/<name>`` of a workspace.
        segmenter: one of a kind that can be built again.
        origin: what the network does not know itself.

    Returns:
        The record that was written.

    Raises:
        EncoderError: it cannot be built again by name.
        SettingsError: there are not as many names as classes.
        StorageError: the disk refused.
    """
    if segmenter.kind not in _SEGMENTERS:
        raise EncoderError(
            f"a segmenter of kind {segmenter.kind!r} cannot be saved, since nothing could build it "
            f"again; known are {', '.join(_SEGMENTERS)}"
        )
    if len(origin.classes) != segmenter.classes:
        raise SettingsError(
            f"the segmenter tells {segmenter.classes} classes, but the names are {origin.classes}"
        )
    tensors = state_of(segmenter)
    asked = Header(
        SEGMENTER_RECORD.kind, SEGMENTER_RECORD.format_version, origin.settings, origin.parents
    )
    header = network_header(asked, tensors_digest(tensors))
    record = SegmenterRecord(origin, segmenter.kind, segmenter.shape(), header)
    write_network(folder, (_RECORD_NAME, record.to_json()), {_WEIGHTS_NAME: tensors})
    return record


def check_free_for_segmenter(folder: Path) -> None:
    """Refuse a folder that holds another kind of model, before anything is learnt for it.

    Raises:
        SettingsError: it does.
    """
    if folder.exists() and not (folder / _RECORD_NAME).is_file():
        raise SettingsError(
            f"{folder} holds another model, not a segmenter; choose another name, or remove it"
        )


def load_segmenter(name: str, *, workspace: Workspace | None = None) -> LoadedSegmenter:
    """A segmenter by name, with its weights.

    Args:
        name: a model of the workspace, or the path of such a folder.
        workspace: where models lie.

    Raises:
        ModelError: there is none of that name, or this wsi-tower cannot build it.
        CorruptStoreError: the folder is damaged; the file is named.
    """
    folder = own_folder(name, workspace.models if workspace else None, _RECORD_NAME)
    if folder is None:
        known = [one.name for one in segmenters_of(workspace).records] if workspace else []
        raise missing_model("model", name, known, workspace, _TRAIN)
    source = folder / _RECORD_NAME
    record = _read_record(source)
    network: Segmenter = built_again(record, _SEGMENTERS, "a network", source, _REMEDY)
    load_state(network, folder / _WEIGHTS_NAME, record.header.content_digest, source, _REMEDY)
    return LoadedSegmenter(network.eval(), record)


def segmenters_of(workspace: Workspace, *, method: str | None = None) -> SegmentersFound:
    """The segmenters of a workspace, newest first; tensors are not read.

    Args:
        workspace: where they lie.
        method: only those of this method; None: all.
    """
    records, damaged = records_in(workspace.models, _RECORD_NAME, _read_record)
    return SegmentersFound(
        tuple(record for record in records if method in (None, record.origin.method)), damaged
    )


def newest_segmenter(workspace: Workspace, method: str) -> SegmenterRecord | None:
    """The newest segmenter of a method; None where there is none."""
    return next(iter(segmenters_of(workspace, method=method).records), None)


def _read_record(path: Path) -> SegmenterRecord:
    return SegmenterRecord.from_json(read_json(path, _REMEDY), path)
