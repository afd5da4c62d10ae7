"""Which file a slide is: its size and a digest of its first and last mebibyte."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import fsspec

from wsi_tower.records import bytes_digest
from wsi_tower.slides.sources import is_url

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["Fingerprint", "fingerprint"]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells one slide file from another without reading it whole."""

    file_bytes: int
    """Size of the file."""
    digest: str
    """BLAKE2b of its first and last MiB and its size."""


def fingerprint(source: str) -> Fingerprint:
    """The fingerprint of a path or URL; of a slide in several files, that of the named one."""
    with _opened(source) as file:
        head = file.read(_MIB)
        size = file.seek(0, 2)
        file.seek(max(size - _MIB, 0))
        tail = file.read(_MIB)
    return Fingerprint(size, bytes_digest([head, tail, str(size).encode()]))


def _opened(source: str) -> AbstractContextManager[BinaryIO]:
    if not is_url(source):
        # fsspec would take `::`, `*` and the like in a file's name for its own.
        return Path(source).open("rb")
    remote: AbstractContextManager[BinaryIO] = fsspec.open(source, "rb")
    return remote
