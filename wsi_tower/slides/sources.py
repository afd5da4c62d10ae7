"""Names of slides: what a path or URL is called, and its id in the workspace."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import urlsplit

from wsi_tower.errors import without_secrets

__all__ = ["is_url", "name_of", "shown_source", "slide_id_of"]


def is_url(source: str) -> bool:
    """Whether a source is a URL rather than a path."""
    return "://" in source


def shown_source(source: str) -> str:
    """A source as it may be written into stores, reports and logs.

    User, password and query of a URL stay out: signed addresses carry their secret there.
    """
    return without_secrets(source) if is_url(source) else source


def name_of(source: str) -> str:
    """File name of a path or URL, as the user knows the slide.

    A URL's query stays out: signed addresses carry their secret there, and names enter reports.
    """
    if not is_url(source):
        return PurePosixPath(source).name
    parts = urlsplit(source)
    return PurePosixPath(parts.path).name or parts.netloc


def slide_id_of(source: str) -> str:
    """The id of a slide: its file name without the last suffix.

    A Zarr folder keeps its suffix: it is only listed as unsupported, beside the file of its name.
    """
    name = PurePosixPath(name_of(source))
    return name.name if name.suffix.lower() == ".zarr" else name.stem
