"""A slide to work on, before it is opened."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from wsi_tower.slides.sources import is_url, name_of

__all__ = ["MASK_SUFFIXES", "SlideEntry"]

MASK_SUFFIXES = (".geojson", ".json", ".png", ".tif", ".tiff", ".jpg")
"""What a mask in a folder of masks may end with; the first that exists is taken."""


@dataclass(frozen=True, slots=True)
class SlideEntry:
    """A slide to work on, before it is opened."""

    slide_id: str
    """Its id in the workspace: the file name without its last suffix, unless a list gives one."""
    source: str
    """Path or URL to open."""
    mpp_um: float | None = None
    """Micrometres per level-0 pixel that the user gave."""
    target_mpp: float | None = None
    """Resolution to tile this slide at, where the list gives one."""
    tissue_mask: str | None = None
    """Path of a tissue mask that the user gave."""
    columns: dict[str, str] = field(default_factory=dict)
    """Free columns of the slide list: patient, site, label, …"""

    @property
    def name(self) -> str:
        """File name, as the user knows the slide."""
        return name_of(self.source)

    def absolute(self) -> SlideEntry:
        """The same slide by absolute paths, so that processes elsewhere find it."""
        mask = self.tissue_mask
        return replace(
            self,
            source=self.source if is_url(self.source) else _absolute(self.source),
            tissue_mask=None if mask is None else _absolute(mask),
        )


def _absolute(source: str) -> str:
    # The file's own name stays, also where it is a link: slides are known by it.
    path = Path(source)
    return str(path.parent.resolve() / path.name)
