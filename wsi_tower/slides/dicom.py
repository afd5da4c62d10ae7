"""Which DICOM files are whole-slide images, and which of them form one slide."""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pydicom
from pydicom.errors import InvalidDicomError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["DicomSeries", "find_series", "series_of"]

# DICOM PS3.4, table B.5-1.
_WHOLE_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
_DAMAGE = (
    InvalidDicomError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RecursionError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on files that are damaged or no DICOM at all."""
_ASSOCIATED = frozenset({"LABEL", "OVERVIEW", "THUMBNAIL"})


@dataclass(frozen=True, slots=True)
class DicomSeries:
    """The files of one slide."""

    uid: str
    """Series instance UID."""
    files: tuple[Path, ...]
    """Its files in one folder, by name; pyramid levels before label and overview images."""


def find_series(paths: Iterable[Path]) -> list[DicomSeries]:
    """Whole-slide series among DICOM files; annotations and other objects are left out.

    Files that are no DICOM at all come back as a series of their own, so that opening them gives
    the error they deserve.
    """
    series: dict[tuple[Path, str], list[tuple[bool, Path]]] = {}
    for path in sorted(paths):
        described = _described(path)
        if described is not None:
            uid, is_associated = described
            series.setdefault((path.parent, uid), []).append((is_associated, path))
    return [
        DicomSeries(uid, tuple(path for _, path in sorted(files)))
        for (_, uid), files in series.items()
    ]


def series_of(path: Path) -> str:
    """What the files of one series in one folder have in common; a path for any other file."""
    described = _described(path)
    return f"{path.parent}/{described[0]}" if described else str(path)


def _described(path: Path) -> tuple[str, bool] | None:
    """Series UID and whether the image is an associated one; None for other objects."""
    # A pipe would keep its reader waiting.
    header = _header(path) if path.is_file() else None
    if header is None:
        return str(path), False
    if header.get("SOPClassUID") != _WHOLE_SLIDE_CLASS:
        return None
    kinds = header.get("ImageType") or []
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return str(header.get("SeriesInstanceUID", path)), bool(_ASSOCIATED.intersection(kinds))


def _header(path: Path) -> pydicom.Dataset | None:
    """The elements that tell what a file is, or None where it is no sound DICOM file."""
    tags = ["SOPClassUID", "SeriesInstanceUID", "ImageType"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom remarks on every odd value
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
            return header if header.get("SOPClassUID") else None
    except _DAMAGE:
        return None
