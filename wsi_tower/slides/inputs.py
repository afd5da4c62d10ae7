"""From what the user names to the slides to work on: files, folders, URLs and slide lists."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from wsi_tower.errors import (
    DuplicateSlideError,
    InputError,
    NoSlidesError,
    SettingsError,
)
from wsi_tower.slides.dicom import find_series, series_of
from wsi_tower.slides.entries import MASK_SUFFIXES, SlideEntry
from wsi_tower.slides.opening import FLAT_SUFFIXES
from wsi_tower.slides.slide_list import read_slide_list
from wsi_tower.slides.sources import is_url, slide_id_of
from wsi_tower.workspace import MARKER_NAME, WORKSPACE_FOLDERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["find_slides"]

SLIDE_SUFFIXES = frozenset(
    {
        ".svs", ".tif", ".tiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif",
        ".czi", ".dcm",
    }
)  # fmt: skip
"""OpenSlide's extensions; what a folder is searched for."""


def find_slides(
    inputs: Sequence[str],
    *,
    mpp_of: Mapping[str, float] | None = None,
    tissue_mask: str | None = None,
) -> list[SlideEntry]:
    """The slides that inputs name, in a stable order.

    Args:
        inputs: slide files, folders (searched recursively), URLs, and slide lists (``.csv``).
        mpp_of: micrometres per level-0 pixel by file name or slide id.
        tissue_mask: a mask for the one slide, or a folder with one for every slide by its id;
            masks that a list names win.

    Raises:
        NoSlidesError: an input does not exist, or a folder holds no slide.
        DuplicateSlideError: two slides share an id.
        SlideListError: a list cannot be understood.
        SettingsError: ``mpp_of`` names a slide that is not there, or one mask file is given for
            several slides.
    """
    entries: dict[str, SlideEntry] = {}
    for text in inputs:
        for entry in _entries(text):
            identity = _identity(entry.source)
            entries[identity] = _merged(entries.get(identity, entry), entry)
    found = list(entries.values())
    _refuse_duplicates(found)
    found = _with_pixel_sizes(found, mpp_of or {})
    return found if tissue_mask is None else _with_masks(found, Path(tissue_mask))


def _entries(text: str) -> list[SlideEntry]:
    if is_url(text):
        return [SlideEntry(slide_id_of(text), text)]
    path = Path(text)
    if not os.path.lexists(path):
        raise NoSlidesError(f"input {text} does not exist; check the path")
    if path.suffix.lower() == ".csv" and not path.is_dir():
        return read_slide_list(path)
    if path.is_dir() and path.suffix.lower() != ".zarr":
        return _entries_of_folder(path)
    return [SlideEntry(slide_id_of(str(path)), str(path))]


def _entries_of_folder(folder: Path) -> list[SlideEntry]:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise InputError(f"folder {folder} may not be read by this user; change its permission")
    files = sorted(_slide_files(folder))
    entries = [
        SlideEntry(slide_id_of(str(path)), str(path))
        for path in files
        if path.suffix.lower() != ".dcm"
    ]
    entries += _dicom_entries(path for path in files if path.suffix.lower() == ".dcm")
    if not entries:
        flat = ", ".join(sorted(FLAT_SUFFIXES))
        raise NoSlidesError(
            f"folder {folder} holds no slide (looked for {', '.join(sorted(SLIDE_SUFFIXES))} in it "
            f"and below); flat images ({flat}) are read when named or listed"
        )
    return sorted(entries, key=lambda entry: entry.source)


def _slide_files(folder: Path) -> Iterator[Path]:
    """Slides in a folder and below; links are followed once, workspaces and Zarr left alone.

    A folder that may not be read comes out too, so that it becomes a row of the report instead of
    slides that nobody misses.
    """
    seen: set[str] = set()
    closed: list[OSError] = []
    for root, folders, files in os.walk(folder, followlinks=True, onerror=closed.append):
        real = os.path.realpath(root)
        if real in seen or (MARKER_NAME in files and Path(root) != folder):
            folders.clear()
            continue
        if MARKER_NAME in files:  # slides and workspace in one folder, as the user named it
            folders[:] = [name for name in folders if name not in WORKSPACE_FOLDERS]
        seen.add(real)
        yield from (Path(root, name) for name in folders if name.lower().endswith(".zarr"))
        folders[:] = sorted(name for name in folders if not _is_closed(root, name))
        for name in files:
            if PurePosixPath(name).suffix.lower() in SLIDE_SUFFIXES and not name.startswith("."):
                yield Path(root, name)
    yield from (Path(error.filename) for error in closed if error.filename)


def _is_closed(root: str, name: str) -> bool:
    """Whether a folder is hidden, a Zarr store, or the data of the MIRAX slide beside it."""
    is_mirax_data = Path(root, f"{name}.mrxs").exists()
    return name.startswith(".") or name.lower().endswith(".zarr") or is_mirax_data


def _dicom_entries(paths: Iterable[Path]) -> list[SlideEntry]:
    series = find_series(paths)
    in_folder = Counter(one.files[0].parent for one in series)
    entries = []
    for one in series:
        first = one.files[0]
        if len(one.files) == 1:
            slide_id = slide_id_of(str(first))
        else:
            slide_id = first.parent.name if in_folder[first.parent] == 1 else one.uid
        entries.append(SlideEntry(slide_id, str(first)))
    return entries


def _identity(source: str) -> str:
    """Equal for inputs that are one slide: links to one file, files of one DICOM series."""
    if is_url(source):
        return source
    path = Path(os.path.realpath(source))
    return series_of(path) if path.suffix.lower() == ".dcm" else str(path)


def _merged(known: SlideEntry, again: SlideEntry) -> SlideEntry:
    """One entry for a slide named twice: what a list says wins over a bare name.

    Raises:
        DuplicateSlideError: two lists, or two rows, say different things of it.
    """
    bare = SlideEntry(slide_id_of(again.source), again.source)
    if again in (known, bare):
        return known
    if known == SlideEntry(slide_id_of(known.source), known.source):
        return again
    raise DuplicateSlideError(
        f"slide {again.source} is named twice, with different values; remove one of its rows"
    )


def _refuse_duplicates(entries: Iterable[SlideEntry]) -> None:
    seen: dict[str, SlideEntry] = {}
    for entry in entries:
        other = seen.setdefault(entry.slide_id, entry)
        if other is not entry:
            raise DuplicateSlideError(
                f"slides {other.source} and {entry.source} share the id {entry.slide_id!r}; rename "
                f"one, or give ids in a slide list's sample_id column"
            )


def _with_pixel_sizes(entries: list[SlideEntry], mpp_of: Mapping[str, float]) -> list[SlideEntry]:
    known = {name for entry in entries for name in (entry.name, entry.slide_id)}
    for name in mpp_of:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {len(entries)} slides"
            raise SettingsError(f"--mpp-of names {name}, which is no slide of this run; {hint}")
    return [
        replace(entry, mpp_um=mpp_of.get(entry.name, mpp_of.get(entry.slide_id, entry.mpp_um)))
        for entry in entries
    ]


def _with_masks(entries: list[SlideEntry], mask: Path) -> list[SlideEntry]:
    if not mask.exists():
        raise SettingsError(f"--tissue-mask {mask} does not exist; check the path")
    if not mask.is_dir() and len(entries) != 1:
        raise SettingsError(
            f"--tissue-mask {mask} is one file for {len(entries)} slides; give a folder with one "
            f"mask a slide, named by slide id, or a list with a mask_path column"
        )
    return [
        entry
        if entry.tissue_mask
        else replace(entry, tissue_mask=str(_mask_in(mask, entry) if mask.is_dir() else mask))
        for entry in entries
    ]


def _mask_in(folder: Path, entry: SlideEntry) -> Path:
    """The slide's mask in a folder; a path that does not exist where it has none."""
    candidates = [folder / f"{entry.slide_id}{suffix}" for suffix in MASK_SUFFIXES]
    return next((path for path in candidates if path.exists()), candidates[0])
