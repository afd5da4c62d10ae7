"""Encoders on disk: no pickle, complete or absent, checked when read.

Layout (format version 1) — a folder ``encoders/<name>``::

    encoder.json             `EncoderRecord`: header, architecture, normalisation, method, digests
    encoder.safetensors      the backbone under timm's own names, without classifier
    head.safetensors         where the method has a head
    decoder.safetensors      where the method has a decoder
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsi_tower.errors import CorruptStoreError, EncoderError
from wsi_tower.models.building import build_encoder
from wsi_tower.models.folders import own_folder, records_in, write_network
from wsi_tower.models.network import Network
from wsi_tower.models.parts import (
    load_state,
    network_header,
    read_json,
    state_of,
    tensors_digest,
    weights_digest,
)
from wsi_tower.models.record import (
    FORMAT_VERSION,
    KIND,
    REMEDY,
    EncoderRecord,
    NetworkShape,
    Origin,
)
from wsi_tower.models.timm_encoder import TimmEncoder
from wsi_tower.records import Header, digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    from wsi_tower.workspace import Workspace

__all__ = [
    "EncodersFound",
    "LoadedEncoder",
    "encoders_of",
    "load_encoder",
    "newest_encoder",
    "save_network",
    "weights_digest",
]

RECORD_NAME = "encoder.json"


@dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """An encoder ready for use."""

    network: Network
    """In eval mode, on the CPU."""
    record: EncoderRecord
    """What it is; its content digest names these very weights."""


@dataclass(frozen=True, slots=True)
class EncodersFound:
    """The encoders of a workspace."""

    records: tuple[EncoderRecord, ...]
    """Newest first."""
    damaged: tuple[str, ...]
    """A message for each folder whose record cannot be read."""


def save_network(folder: Path, network: Network, origin: Origin) -> EncoderRecord:
    """Save a network's parts and their record, in place of what the folder held.

    Complete or absent: written aside, then renamed. The caller holds `held_lock` for the folder.

    Args:
        folder: ``encoders/<name>`` of a workspace.
        network: a `TimmEncoder`, with a `ProjectionHead` and a `UNetDecoder` where it has them.
        origin: what the network does not know itself.

    Returns:
        The record that was written.

    Raises:
        EncoderError: a part cannot be built again by name.
        StorageError: the disk refused.
    """
    shape = NetworkShape.of(network)
    plan = dataclasses.replace(shape.plan, input_px=origin.input_px)
    shape = dataclasses.replace(shape, plan=plan)
    tensors = {name: state_of(module) for name, module in _parts(network)}
    record = _record(origin, shape, {name: tensors_digest(part) for name, part in tensors.items()})
    files = {f"{name}.safetensors": part for name, part in tensors.items()}
    write_network(folder, (RECORD_NAME, record.to_json()), files)
    return record


def load_encoder(
    name: str, *, workspace: Workspace | None = None, weights: Path | None = None
) -> LoadedEncoder:
    """An encoder by name, with its weights.

    Args:
        name: an encoder of the workspace, the path of such a folder, or what `build_encoder`
            takes: ``imagenet``, a name of timm, ``hf-hub:owner/name``, ``local-dir:FOLDER``.
        workspace: where encoders of one's own lie; they come first.
        weights: a file in place of the weights of that name; not for encoders of one's own.

    Raises:
        EncoderError: unknown name, weights that cannot be had or do not fit.
        CorruptStoreError: the folder is damaged; the file is named.
    """
    folder = own_folder(name, workspace.encoders if workspace else None, RECORD_NAME, has_hubs=True)
    if folder is None:
        return _foreign(name, workspace, weights)
    if weights is not None:
        raise EncoderError(
            f"encoder {name} in {folder} has weights of its own; leave --weights {weights} out, or "
            f"name an architecture"
        )
    return _loaded(folder)


def encoders_of(workspace: Workspace, *, method: str | None = None) -> EncodersFound:
    """The encoders of a workspace, newest first; tensors are not read.

    Args:
        workspace: where they lie.
        method: only those of this method; None: all.
    """
    records, damaged = records_in(workspace.encoders, RECORD_NAME, read_record)
    return EncodersFound(
        tuple(record for record in records if method in (None, record.origin.method)), damaged
    )


def newest_encoder(workspace: Workspace, method: str) -> EncoderRecord:
    """The newest encoder of a method.

    Raises:
        EncoderError: there is none; the message holds the methods that there are.
    """
    found = encoders_of(workspace)
    for record in found.records:
        if record.origin.method == method:
            return record
    methods = sorted({record.origin.method for record in found.records})
    there = f"only of {', '.join(methods)}" if methods else "nor any other"
    raise EncoderError(
        f"{workspace.encoders} has no encoder of method {method}, {there}; train one with "
        f"wsi-tower pretrain --method {method}"
    )


def read_record(path: Path) -> EncoderRecord:
    """The record in ``encoder.json``.

    Raises:
        CorruptStoreError: it cannot be read.
    """
    return EncoderRecord.from_json(read_json(path, REMEDY), path)


def _foreign(name: str, workspace: Workspace | None, weights: Path | None) -> LoadedEncoder:
    """An encoder that somebody else trained."""
    own = () if workspace is None else [one.name for one in encoders_of(workspace).records]
    encoder = build_encoder(name, pretrained=True, weights=weights, others=own)
    network = Network(encoder).eval()
    settings = {"encoder": name, "weights": "file" if weights else "own"}
    origin = Origin(name, "pretrained", encoder.plan.input_px, settings=settings)
    digests = {"encoder": weights_digest(encoder.model)}
    return LoadedEncoder(network, _record(origin, NetworkShape.of(network), digests))


def _loaded(folder: Path) -> LoadedEncoder:
    record = read_record(folder / RECORD_NAME)
    network = record.shape.build()
    parts = dict(_parts(network))
    if (
        digest(record.digests) != record.header.content_digest
        or parts.keys() != record.digests.keys()
    ):
        raise CorruptStoreError(
            f"{folder / RECORD_NAME} is damaged: its digests are not those that were written; "
            f"{REMEDY}"
        )
    for name, module in parts.items():
        path = folder / f"{name}.safetensors"
        load_state(module, path, record.digests[name], folder / RECORD_NAME, REMEDY)
    return LoadedEncoder(network.eval(), record)


def _record(origin: Origin, shape: NetworkShape, digests: dict[str, str]) -> EncoderRecord:
    header = Header(KIND, FORMAT_VERSION, origin.settings, origin.parents)
    return EncoderRecord(origin, shape, network_header(header, digest(digests)), digests)


def _parts(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """What is saved, by the name of its file."""
    if isinstance(network.encoder, TimmEncoder):
        yield "encoder", network.encoder.model
    if network.head is not None:
        yield "head", network.head
    if network.decoder is not None:
        yield "decoder", network.decoder
