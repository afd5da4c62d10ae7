"""What every artefact on disk has in common: a header, digests, and being complete or absent.

A header names the artefact's kind and format version, the settings that made it and the digests of
its parents, so that a changed setting never silently reuses an old result. Clock time, paths and
package versions are recorded in the header but enter no digest.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast

import xxhash

from wsi_tower import __version__
from wsi_tower.errors import CorruptStoreError, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

__all__ = [
    "Header",
    "Json",
    "LockState",
    "bytes_digest",
    "content_hasher",
    "differences",
    "differences_in_words",
    "digest",
    "file_aside",
    "folder_aside",
    "held_lock",
    "is_held",
    "plain",
    "remove_folder",
    "write_bytes_aside",
    "write_text_aside",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

LockState: TypeAlias = Literal["held", "busy", "no locks here"]
"""``busy``: another process holds it."""

_DIGEST_BYTES = 16
_DAY_SECONDS = 86_400
_LOOK_SECONDS = 0.02
_PARTIAL = ".partial-"
_PACKAGES_THAT_SHAPE_PIXELS = ("numpy", "opencv-python-headless", "simplejpeg", "zarr")


def plain(settings: Any) -> dict[str, Any]:
    """A frozen settings dataclass as plain JSON values."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return values


def digest(value: Json | Mapping[str, Any]) -> str:
    """32 hexadecimal digits that identify a JSON value: BLAKE2b of its canonical text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    content = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def differences(there: Any, here: Any, within: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each plain value that differs between two nested mappings: its dotted name and both values.

    What one of them lacks is None there.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        for name in sorted(there.keys() | here.keys()):
            dotted = f"{within}.{name}" if within else name
            yield from differences(there.get(name), here.get(name), dotted)
    elif there != here:
        yield within, there, here


def differences_in_words(there: Any, here: Any) -> list[str]:
    """`differences` for a message."""
    found = differences(there, here)
    return [f"{name} is {one!r} there and {other!r} here" for name, one, other in found]


def content_hasher() -> xxhash.xxh3_128:
    """Takes the bytes of artefacts and slides and gives their digest: XXH3, 128 bits.

    It guards against accidents, not against forgers, and reads as fast as memory: BLAKE2b took
    longer over a tile store than copying it did.
    """
    return xxhash.xxh3_128()


def bytes_digest(parts: Iterable[bytes | bytearray | memoryview]) -> str:
    """32 hexadecimal digits that identify a sequence of bytes; see `content_hasher`."""
    hasher = content_hasher()
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


@dataclass(frozen=True)
class Header:
    """The header of an artefact."""

    kind: str
    """What it is: ``tiles``, ``embeddings``, …"""
    format_version: int
    """Version of the artefact's layout; old ones stay readable."""
    settings: dict[str, Any]
    """The settings that made it."""
    parents: dict[str, str]
    """Digests of what it was made from, by role: ``slide``, ``tissue_mask``, …"""
    content_digest: str = ""
    """Digest of the arrays' contents; empty until they are written."""
    created: str = ""
    """When it was made (UTC, ISO 8601). Enters no digest."""
    software: dict[str, str] = field(default_factory=dict)
    """Versions of the packages that made it. Enter no digest."""

    @property
    def settings_digest(self) -> str:
        """Digest of kind, format version, settings and parents: equal means reusable."""
        return digest(
            {
                "kind": self.kind,
                "format_version": self.format_version,
                "settings": self.settings,
                "parents": self.parents,
            }
        )

    def told_differences(self, asked: Header) -> str:
        """In what this header, of what is there, differs from that of what is asked for."""
        found = differences(self.settings | self.parents, asked.settings | asked.parents)
        return "; ".join(f"{name} is {there} there and {now} now" for name, there, now in found)

    def completed(self, content_digest: str) -> Self:
        """The header of the finished artefact, with the time and versions of now."""
        software = {"wsi-tower": __version__, "python": sys.version.split()[0]}
        software |= {name: version(name) for name in _PACKAGES_THAT_SHAPE_PIXELS}
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return dataclasses.replace(
            self, content_digest=content_digest, created=created, software=software
        )

    def to_json(self) -> dict[str, Any]:
        """This header as JSON, with the settings digest for people who read it."""
        return dataclasses.asdict(self) | {"settings_digest": self.settings_digest}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: Path) -> Self:
        """The header that `to_json` wrote; ``source`` is named in errors.

        Raises:
            CorruptStoreError: a field is missing or of another type.
        """
        header = {field.name: values.get(field.name) for field in dataclasses.fields(cls)}
        unsound = [name for name, value in header.items() if not isinstance(value, _TYPES[name])]
        if unsound:
            raise CorruptStoreError(
                f"{source} has no sound wsi-tower header (missing or of another type: "
                f"{', '.join(unsound)}); remake it with --overwrite"
            )
        return cls(**cast("dict[str, Any]", header))


_TYPES = {
    "kind": str,
    "format_version": int,
    "settings": dict,
    "parents": dict,
    "content_digest": str,
    "created": str,
    "software": dict,
}
"""What JSON must hold for each field of a header."""


def write_text_aside(path: Path, text: str) -> None:
    """Write UTF-8 text as `write_bytes_aside` writes bytes.

    Bytes of file names that are no UTF-8, which Python holds as lone surrogates, are written back
    as they were.

    Raises:
        StorageError: the disk refused.
    """
    write_bytes_aside(path, text.encode("utf-8", "surrogateescape"))


def write_bytes_aside(path: Path, content: bytes | bytearray | memoryview) -> None:
    """Write a file so that it is complete or absent: aside, flushed, then renamed over ``path``.

    Raises:
        StorageError: the disk refused.
    """
    with file_aside(path) as aside:
        aside.write_bytes(content)


@contextmanager
def file_aside(path: Path, *, alone: bool = False) -> Iterator[Path]:
    """A path beside ``path`` to write a file to, which takes its place when the block succeeds.

    For writers that want a path of their own. Whatever ends the block early, ``path`` is as it was.

    Args:
        path: the file to make or replace.
        alone: see `folder_aside`.

    Raises:
        StorageError: the disk refused.
    """
    aside = _fresh_aside(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead_asides(path, alone=alone)
        try:
            yield aside
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def folder_aside(path: Path, *, alone: bool) -> Iterator[Path]:
    """A fresh folder beside ``path`` that takes its place when the block succeeds.

    Whatever ends the block early, ``path`` is as it was. Asides that a killed process left behind
    are removed first.

    Args:
        path: the folder to make or replace.
        alone: whether the caller holds `held_lock` for ``path``, so that every aside there is a
            dead process's. Else only those that nobody touched for a day are removed.

    Raises:
        StorageError: the disk refused.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_dead_asides(path, alone=alone)
        aside = _fresh_aside(path)
        aside.mkdir()
        try:
            yield aside
            _put_in_place(aside, path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _fresh_aside(path: Path) -> Path:
    return path.with_name(f"{_aside_prefix(path)}{uuid.uuid4().hex[:12]}")


def _aside_prefix(path: Path) -> str:
    # A digest in place of the name: as a suffix, x.zarr would match the aside of a-x.zarr, and a
    # name near the file system's limit would outgrow it.
    return f"{_PARTIAL}{bytes_digest([os.fsencode(path.name)])[:12]}-"


def _remove_dead_asides(path: Path, *, alone: bool) -> None:
    for aside in path.parent.glob(f"{_aside_prefix(path)}*"):
        if alone or _untouched_for_a_day(aside):
            if aside.is_dir():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                aside.unlink(missing_ok=True)


def _untouched_for_a_day(aside: Path) -> bool:
    try:
        newest = max(one.stat().st_mtime for one in (aside, *aside.rglob("*")))
    except OSError:  # its owner is at work in it
        return False
    return time.time() - newest > _DAY_SECONDS


def _put_in_place(aside: Path, path: Path) -> None:
    # A kill between the two renames leaves the store absent, never mixed; a rerun makes it again.
    outdated = _fresh_aside(path)
    with suppress(FileNotFoundError):
        path.rename(outdated)
    aside.rename(path)
    shutil.rmtree(outdated, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder so that it is whole or absent: renamed aside first. Nothing where none is.

    Raises:
        StorageError: the disk refused.
    """
    outdated = _fresh_aside(path)
    with storage_errors(path):
        try:
            path.rename(outdated)
        except FileNotFoundError:
            return
        shutil.rmtree(outdated, ignore_errors=True)


@contextmanager
def held_lock(path: Path, *, wait: bool) -> Iterator[LockState]:
    """Hold an advisory lock file for the time of the block; the value says how that went.

    The kernel releases it when the process ends, however it ends. Where the file system has no
    locks, renames alone keep artefacts whole, at the price of double work.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _lock(descriptor, wait=wait)
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds a lock file now; False where locks cannot be asked for."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _lock(descriptor: int, *, wait: bool) -> LockState:
    try:
        _lock_exclusively(descriptor, wait=wait)
    except BlockingIOError:
        return "busy"
    except OSError:
        return "no locks here"
    return "held"


def _lock_exclusively(descriptor: int, *, wait: bool) -> None:
    if not wait:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_SECONDS)  # it may be held by one who only looks, see `is_held`
        else:
            return
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
