"""What a cache knows of its slide, and how other tools want to be told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from wsi_tower.geometry import Level0Box, Level0Size, Mpp

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from wsi_tower.tiles import TileStore

__all__ = ["CachedSlide", "coordinate_attributes", "printable"]

_OBJECTIVE_UM = 10.0
"""Magnification times µm/px: 10x is 1 µm/px, 40x is 0.25."""
_USUAL = (80.0, 60.0, 40.0, 20.0, 10.0, 5.0, 2.5, 1.25)
_LIKE_USUAL = 0.2


@dataclass(frozen=True, slots=True)
class CachedSlide:
    """What later stages need to know of the slide and its tiles."""

    slide_id: str
    """Its id in the workspace."""
    path: str
    """Where the slide lies: relative to the workspace, or a URL."""
    tile_store: str
    """Where its tile store lies, relative to the workspace."""
    size: Level0Size
    """Width and height of level 0."""
    mpp: Mpp
    """Micrometres per level-0 pixel."""
    bounds: Level0Box | None
    """Part of level 0 that was scanned, or None."""
    footprint_l0: int
    """Side of a tile in level-0 pixels."""
    pitch_l0: int
    """Level-0 pixels from one tile to the next."""
    tile_px: int
    """Side of a tile in its own pixels."""
    tile_mpp: float
    """Resolution of the tiles in µm/px."""
    level: int = 0
    """Level of the slide that they were read from."""
    downsample: float = 1.0
    """Level-0 pixels per pixel of that level."""
    cohort: dict[str, str] = field(default_factory=dict)
    """Columns of the cohort table, such as patient or site, when the cache was written. The
    workspace's own table may be newer. Enter no digest."""

    @classmethod
    def of(cls, store: TileStore, *, path: str, tile_store: str, cohort: Mapping[str, str]) -> Self:
        """What a tile store knows; both paths are seen from the cache's workspace."""
        slide, plan = store.slide, store.plan
        return cls(
            slide_id=slide.slide_id,
            path=path,
            tile_store=tile_store,
            size=slide.size,
            mpp=slide.mpp,
            bounds=slide.bounds,
            footprint_l0=plan.footprint_l0,
            pitch_l0=plan.pitch_l0,
            tile_px=plan.tile_px,
            tile_mpp=plan.effective_mpp,
            level=plan.level,
            downsample=slide.downsamples[plan.level],
            cohort=dict(cohort),
        )

    def cohort_beside(self, names: Container[str]) -> dict[str, str]:
        """The cohort's columns, those of one name with another renamed ``cohort.NAME``."""
        return {
            f"cohort.{name}" if name in names else name: value
            for name, value in self.cohort.items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From the cache's attribute."""
        bounds = values["bounds"]
        return cls(
            **{
                **values,
                "size": Level0Size(**values["size"]),
                "mpp": Mpp(**values["mpp"]),
                "bounds": Level0Box(**bounds) if bounds else None,
            }
        )


def coordinate_attributes(slide: CachedSlide) -> dict[str, Any]:
    """What readers of CLAM and TRIDENT look up beside ``coords``.

    Both cut tiles from the slide again by them. CLAM reads ``patch_size`` pixels of ``patch_level``
    and TRIDENT ``patch_size`` pixels at ``target_magnification``, so the latter is that level's.
    """
    level_dim = [round(side / slide.downsample) for side in (slide.size.width, slide.size.height)]
    magnification = _magnification(slide.mpp.mean)
    return {
        "name": printable(slide.slide_id),
        "patch_size": round(slide.footprint_l0 / slide.downsample),
        "patch_level": slide.level,
        "downsample": (slide.downsample, slide.downsample),
        "downsampled_level_dim": level_dim,
        "level_dim": level_dim,
        "save_path": ".",
        "savetodir": ".",
        "overlap": round((slide.footprint_l0 - slide.pitch_l0) / slide.downsample),
        "patch_size_level0": slide.footprint_l0,
        "level0_width": slide.size.width,
        "level0_height": slide.size.height,
        "level0_magnification": _whole(magnification),
        "target_magnification": _whole(magnification / slide.downsample),
    }


def _magnification(mpp: float) -> float:
    """Nominal magnification of a pixel size: the usual one within 20 %, else its own."""
    own = _OBJECTIVE_UM / mpp
    usual = min(_USUAL, key=lambda one: abs(math.log(one / own)))
    return usual if abs(usual / own - 1) <= _LIKE_USUAL else own


def _whole(value: float) -> int | float:
    return round(value) if abs(value / max(1, round(value)) - 1) < 0.01 else round(value, 4)


def printable(name: str) -> str:
    """A name as HDF5 takes it."""
    # Bytes of file names that are no UTF-8 are lone surrogates in Python, which HDF5 refuses.
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
