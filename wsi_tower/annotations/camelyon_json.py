"""Camelyon's JSON: ``{"positive": [{"name": "_0", "vertices": [[x, y], …]}], "negative": […]}``.

Vertices are level-0 pixels from the slide's corner. The class of an outline is the list it is in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsi_tower.annotations.outlines import NamedArea, area_within
from wsi_tower.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["CLASSES", "camelyon_areas"]

CLASSES = ("positive", "negative")
"""Tumour, and what is cut out of it."""


def camelyon_areas(content: dict[str, Any], path: Path) -> Iterator[NamedArea]:
    """The outlines of both lists; empty ones too.

    Raises:
        AnnotationError: an outline has no vertices, or they are no pairs of finite numbers.
    """
    for name in CLASSES:
        for number, outline in enumerate(content.get(name, [])):
            try:
                yield NamedArea(name, area_within(outline["vertices"]))
            except (TypeError, KeyError, ValueError) as error:
                raise AnnotationError(
                    f"annotation file {path}, {name} outline {number}: its vertices are no list of "
                    f"[x, y] ({error}); mend it there, or export the file again"
                ) from error
