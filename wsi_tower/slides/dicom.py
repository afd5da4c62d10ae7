"""Which DICOM files are whole-slide images, and which of them form one slide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pydicom
from pydicom.errors import InvalidDicomError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["DicomSeries", "find_series"]

# DICOM PS3.4, table B.5-1.
_WHOLE_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
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


def _described(path: Path) -> tuple[str, bool] | None:
    """Series UID and whether the image is an associated one; None for other objects."""
    tags = ["SOPClassUID", "SeriesInstanceUID", "ImageType"]
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    except (InvalidDicomError, OSError, ValueError):
        return str(path), False
    if header.get("SOPClassUID") != _WHOLE_SLIDE_CLASS:
        return None
    kinds = header.get("ImageType") or []
    return str(header.get("SeriesInstanceUID", path)), bool(_ASSOCIATED.intersection(kinds))
