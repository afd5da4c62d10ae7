"""Which annotation file belongs to which slide: the one of its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wsi_tower.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["AnnotationFiles", "find_annotations"]

_SUFFIXES = (".xml", ".json", ".geojson")


class AnnotationFiles(NamedTuple):
    """The files of a folder."""

    of_slide: dict[str, Path]
    """By slide id, for the slides that have one."""
    of_none: tuple[Path, ...]
    """Those whose name is no slide's."""


def find_annotations(folder: Path, slide_ids: Iterable[str]) -> AnnotationFiles:
    """Files ``<slide_id>.xml``, ``.json`` or ``.geojson`` of a folder, in any case.

    Args:
        folder: searched without its subfolders.
        slide_ids: of the slides that are looked for.

    Raises:
        AnnotationError: there is no such folder, it holds no annotation file, or two for a slide.
    """
    if not folder.is_dir():
        raise AnnotationError(
            f"annotations {folder} are no folder; give the folder with a file for each slide that "
            f"has any, called as the slide with .xml, .json or .geojson"
        )
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise AnnotationError(
            f"folder {folder} holds no .xml, .json or .geojson file; give the folder of the "
            f"annotations"
        )
    ids = {slide_id.lower(): slide_id for slide_id in slide_ids}
    of_slide: dict[str, Path] = {}
    for path in files:
        slide_id = ids.get(path.stem.lower())
        if slide_id is not None and (other := of_slide.setdefault(slide_id, path)) != path:
            raise AnnotationError(
                f"slide {slide_id} has two annotation files, {other} and {path}; keep one of them"
            )
    known = set(of_slide.values())
    return AnnotationFiles(of_slide, tuple(path for path in files if path not in known))
