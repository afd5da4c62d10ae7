"""Classifiers of tiles on disk: no pickle, complete or absent, checked when read.

Layout (format version 1) — a folder ``models/<name>``::

    classifier.json          `ClassifierRecord`: header, classes, encoder, shape, scores
    classifier.safetensors   every tensor of the head
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, cast

from wsi_tower.errors import CorruptStoreError, SettingsError
from wsi_tower.models.folders import built_again, missing_model, own_folder, write_network
from wsi_tower.models.parts import (
    RecordKind,
    is_of,
    load_state,
    network_header,
    read_json,
    state_of,
    tensors_digest,
)
from wsi_tower.models.tile_classifier import LinearClassifier, NeighbourClassifier
from wsi_tower.records import Header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wsi_tower.models.tile_classifier import TileClassifier
    from wsi_tower.workspace import Workspace

__all__ = [
    "ClassifierOrigin",
    "ClassifierRecord",
    "LoadedClassifier",
    "check_free_for_classifier",
    "classifiers_of",
    "load_classifier",
    "save_classifier",
]

_REMEDY = "restore the folder from a copy, or train the classifier again"
_TRAIN = "train one with `wsi-tower classify --annotations FOLDER`"
_KIND = RecordKind("classifier", 1, "a classifier of tiles", _REMEDY)
_RECORD_NAME, _WEIGHTS_NAME = "classifier.json", "classifier.safetensors"
_CLASSIFIERS: Mapping[str, type[TileClassifier]] = MappingProxyType(
    {one.kind: one for one in (LinearClassifier, NeighbourClassifier)}
)
"""Which head a record means."""


@dataclass(frozen=True, slots=True)
class ClassifierOrigin:
    """Where a classifier comes from: what its head does not know itself."""

    name: str
    """Its name, and that of its folder."""
    classes: tuple[str, ...]
    """What each of its K outputs tells."""
    encoder: str
    """Folder of the embedding caches that it was trained on."""
    descriptor: str
    """What describes a tile there, and its length: ``head 128``."""
    stain: str
    """How tiles were normalised: ``reinhard``, ``macenko``, or ``none``."""
    tile_um: float
    """Side of the tiles in micrometres."""
    tile_px: int
    """Side of the tiles in pixels."""
    settings: dict[str, Any] = field(default_factory=dict)
    """All settings that made it."""
    parents: dict[str, str] = field(default_factory=dict)
    """Digests of what it was made from: ``encoder``, ``tiles``, ``labels``."""
    training: dict[str, Any] = field(default_factory=dict)
    """A free record: slides of each part, tiles, scores. Enters no digest."""

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise SettingsError(f"classes must be two or more names that differ: {self.classes}")


@dataclass(frozen=True, slots=True)
class ClassifierRecord:
    """A saved classifier's ``classifier.json``."""

    origin: ClassifierOrigin
    """Where it comes from."""
    kind: str
    """Which `TileClassifier` it is: ``linear`` or ``neighbours``."""
    shape: dict[str, Any]
    """What that is built from, tensors apart; plain values."""
    header: Header
    """Kind, format version, settings, parents; its content digest covers every tensor."""

    @property
    def name(self) -> str:
        """Its name, and that of its folder."""
        return self.origin.name

    def to_json(self) -> dict[str, Any]:
        """This record as JSON."""
        origin = {name: getattr(self.origin, name) for name in _ORIGIN}
        return {
            "header": self.header.to_json(),
            **origin,
            "classes": list(self.origin.classes),
            "head": self.kind,
            "shape": self.shape,
        }

    @classmethod
    def from_json(cls, values: object, source: Path) -> Self:
        """The record that `to_json` wrote; ``source`` is named in errors.

        Raises:
            CorruptStoreError: a later version's, no record of a classifier, or a damaged one.
        """
        header = _KIND.header(values, source)
        told = cast("dict[str, Any]", values)
        kinds = _ORIGIN | {"head": (str,), "shape": (dict,)}
        _KIND.check_fields([one for one, of in kinds.items() if not is_of(told, one, of)], source)
        own = {name: told[name] for name in _ORIGIN}
        own["classes"] = tuple(map(str, told["classes"]))
        try:
            origin = ClassifierOrigin(**own, settings=header.settings, parents=header.parents)
        except SettingsError as error:
            raise CorruptStoreError(f"{source} is damaged: {error}; {_REMEDY}") from error
        return cls(origin, told["head"], told["shape"], header)


_ORIGIN: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "classes": (list,),
    "encoder": (str,),
    "descriptor": (str,),
    "stain": (str,),
    "tile_um": (int, float),
    "tile_px": (int,),
    "training": (dict,),
}
"""What JSON must hold of the origin; settings and parents are in the header."""


@dataclass(frozen=True, slots=True)
class LoadedClassifier:
    """A classifier ready for use."""

    head: TileClassifier
    """In eval mode, on the CPU."""
    record: ClassifierRecord
    """What it is; its content digest names these very tensors."""


def save_classifier(
    folder: Path, head: TileClassifier, origin: ClassifierOrigin
) -> ClassifierRecord:
    """Save a classifier and its record, in place of the one that the folder held.

    Complete or absent: written aside, then renamed. The caller holds `held_lock` for the folder.

    Args:
        folder: ``models/<name>`` of a workspace.
        head: the head, calibrated.
        origin: what it does not know itself.

    Raises:
        SettingsError: there are not as many names as classes.
        StorageError: the disk refused.
    """
    if head.classes != len(origin.classes):
        raise SettingsError(
            f"the head tells {head.classes} classes, the names are {origin.classes}"
        )
    tensors = state_of(head)
    asked = Header(_KIND.kind, _KIND.format_version, origin.settings, origin.parents)
    record = ClassifierRecord(
        origin, head.kind, head.shape(), network_header(asked, tensors_digest(tensors))
    )
    write_network(folder, (_RECORD_NAME, record.to_json()), {_WEIGHTS_NAME: tensors})
    return record


def check_free_for_classifier(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds something a new classifier must not replace.

    Raises:
        SettingsError: it holds a classifier, and ``overwrite`` is off; or it holds something else.
    """
    if not folder.exists():
        return
    if not (folder / _RECORD_NAME).is_file():
        raise SettingsError(
            f"{folder} holds another model, not a classifier of tiles; choose another --name"
        )
    if not overwrite:
        raise SettingsError(
            f"{folder} holds a classifier already; use it with --model {folder.name}, replace it "
            f"with --overwrite, or choose another --name"
        )


def load_classifier(name: str, *, workspace: Workspace | None = None) -> LoadedClassifier:
    """A classifier by name, with its tensors.

    Args:
        name: a classifier of the workspace, or the path of such a folder.
        workspace: where models lie.

    Raises:
        ModelError: there is none of that name, or this wsi-tower cannot build it.
        CorruptStoreError: the folder is damaged; the file is named.
    """
    folder = own_folder(name, workspace.models if workspace else None, _RECORD_NAME)
    if folder is None:
        known = classifiers_of(workspace) if workspace else []
        raise missing_model("classifier", name, known, workspace, _TRAIN)
    source = folder / _RECORD_NAME
    record = ClassifierRecord.from_json(read_json(source, _REMEDY), source)
    head: TileClassifier = built_again(record, _CLASSIFIERS, "a head", source, _REMEDY)
    load_state(head, folder / _WEIGHTS_NAME, record.header.content_digest, source, _REMEDY)
    return LoadedClassifier(head.eval(), record)


def classifiers_of(workspace: Workspace) -> list[str]:
    """Names of the classifiers of a workspace."""
    return sorted(path.parent.name for path in workspace.models.glob(f"[!.]*/{_RECORD_NAME}"))
