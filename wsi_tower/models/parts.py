"""What every saved network has in common: tensors in safetensors, and a checked JSON record."""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch

from wsi_tower.errors import CorruptStoreError, EncoderError
from wsi_tower.records import Header, bytes_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor, nn

__all__ = [
    "RecordKind",
    "is_of",
    "load_state",
    "network_header",
    "read_json",
    "state_of",
    "tensors_digest",
    "weights_digest",
]

_PACKAGES = ("torch", "timm", "safetensors")


@dataclasses.dataclass(frozen=True, slots=True)
class RecordKind:
    """A kind of record: what its errors call it, and which version is read."""

    kind: str
    """In its header."""
    format_version: int
    """Of its layout."""
    what: str
    """As people call it, with its article: ``an encoder``."""
    remedy: str
    """What to do about a damaged one."""

    def header(self, values: object, source: Path) -> Header:
        """The header of a record that was read from ``source``.

        Raises:
            CorruptStoreError: a later version's, of another kind, or none.
        """
        if not isinstance(values, dict) or not isinstance(values.get("header"), dict):
            raise CorruptStoreError(f"{source} is no record of {self.what}; {self.remedy}")
        header = Header.from_json(values["header"], source)
        if header.kind != self.kind:
            raise CorruptStoreError(
                f"{source} is the record of {header.kind!r}, not of {self.what}; {self.remedy}"
            )
        if header.format_version != self.format_version:
            raise CorruptStoreError(
                f"{source} has format version {header.format_version}; this wsi-tower reads "
                f"{self.format_version}, so update it"
            )
        return header

    def check_fields(self, unsound: list[str], source: Path) -> None:
        """Refuse a record with such fields.

        Raises:
            CorruptStoreError: there are some.
        """
        if unsound:
            raise CorruptStoreError(
                f"{source} is damaged: {', '.join(unsound)} missing or of another type; "
                f"{self.remedy}"
            )


def is_of(values: Mapping[str, Any], name: str, kinds: tuple[type, ...]) -> bool:
    """Whether a record has a field of these types; true and false are no numbers."""
    return name in values and not isinstance(values[name], bool) and isinstance(values[name], kinds)


def read_json(path: Path, remedy: str) -> object:
    """What a record's file holds.

    Raises:
        CorruptStoreError: it cannot be read.
    """
    try:
        values: object = json.loads(path.read_bytes())
    except OSError as error:
        raise CorruptStoreError(f"{path} cannot be read: {error.strerror}; {remedy}") from error
    except ValueError as error:
        raise CorruptStoreError(f"{path} is damaged: {error}; {remedy}") from error
    return values


def network_header(asked: Header, content_digest: str) -> Header:
    """The header of a finished network, with the versions of what built it."""
    header = asked.completed(content_digest)
    software = header.software | {name: version(name) for name in _PACKAGES}
    return dataclasses.replace(header, software=software)


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """The state, each tensor on the CPU with memory of its own, as safetensors wants it."""
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in module.state_dict().items()
    }


def load_state(module: nn.Module, path: Path, recorded: str, record: Path, remedy: str) -> None:
    """Put a file's tensors into a module.

    Args:
        module: takes them.
        path: a file of safetensors.
        recorded: the digest that they had when they were written.
        record: the record of the network, named in errors.
        remedy: what to do about a damaged file.

    Raises:
        CorruptStoreError: it is missing, damaged or not what was written.
        EncoderError: it is sound, but of a network that this timm builds otherwise.
    """
    try:
        tensors = safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise CorruptStoreError(f"{path} is missing; {remedy}") from error
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise CorruptStoreError(f"{path} is damaged: {error}; {remedy}") from error
    if tensors_digest(tensors) != recorded:
        raise CorruptStoreError(f"{path} is damaged: it is not what was written; {remedy}")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise EncoderError(
            f"{path} is sound, but this timm ({version('timm')}) builds another network of that "
            f"name: {error}; install the version that {record} names"
        ) from error


def weights_digest(module: nn.Module) -> str:
    """Digest of names, types, shapes and values of a module's state."""
    return tensors_digest(state_of(module))


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """Digest of names, types, shapes and values, whatever their order."""

    def parts() -> Iterator[bytes | memoryview]:
        for name in sorted(tensors):
            tensor = tensors[name]
            yield f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
            content: Any = tensor.reshape(-1).view(torch.uint8).numpy()
            yield memoryview(content)

    return bytes_digest(parts())
