"""What is segmented, and what is written of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from wsi_tower.errors import SettingsError
from wsi_tower.training import Precision

__all__ = ["SegmentFormat", "SegmentSettings"]

SegmentFormat: TypeAlias = Literal["geojson", "dsa", "csv", "tiff"]
"""What is written beside the OME-NGFF label image: outlines for QuPath, the same for Digital Slide
Archive, a table with a row an object, a pyramidal OME-TIFF."""

_MIN_WINDOW_PX, _MAX_WINDOW_PX = 32, 8192


@dataclass(frozen=True, slots=True)
class SegmentSettings:
    """What decides a segmentation's contents; all of it enters the digest."""

    threshold: float | None = None
    """Least probability of what belongs to an object; None: the model's own."""
    window_px: int = 512
    """Side of the pictures that the network sees."""
    overlap_px: int = 128
    """Pixels that neighbouring windows share. What a network says of a pixel counts from a quarter
    of this on from its window's rim, and in full from three quarters on."""
    mpp: float | None = None
    """Resolution in µm/px for a model of any resolution; None: that of the slide's tiles."""
    resample: bool = False
    """Whether a slide without a level of the model's resolution is brought to it."""
    min_area_um2: float = 10.0
    """Area below which an object is dropped."""
    split: bool = False
    """Whether touching objects are split where they narrow, see `label_objects`."""
    split_um: float = 4.0
    """Least distance between the middles of objects that are split."""
    simplify_um: float = 0.25
    """How far simplifying may move an outline."""
    formats: tuple[SegmentFormat, ...] = ("geojson", "csv")
    """What is written beside the label image."""
    precision: Precision = "fp32"
    """Of the forward pass; ``bf16`` runs it under autocast."""

    def __post_init__(self) -> None:
        self._check_ranges()
        if not _MIN_WINDOW_PX <= self.window_px <= _MAX_WINDOW_PX:
            raise SettingsError(
                f"window_px must lie between {_MIN_WINDOW_PX} and {_MAX_WINDOW_PX}, not "
                f"{self.window_px}"
            )
        if not 0 <= self.overlap_px <= self.window_px // 2:
            raise SettingsError(
                f"overlap_px must lie between 0 and half of window_px {self.window_px}, not "
                f"{self.overlap_px}"
            )
        unknown = [name for name in self.formats if name not in get_args(SegmentFormat)]
        if unknown:
            raise SettingsError(
                f"format {unknown[0]!r} is unknown; take of {', '.join(get_args(SegmentFormat))}"
            )
        if self.precision not in get_args(Precision):
            raise SettingsError(f"precision must be fp32 or bf16, not {self.precision!r}")

    def _check_ranges(self) -> None:
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise SettingsError(f"threshold must lie between 0 and 1, not {self.threshold}")
        if self.mpp is not None and not 0 < self.mpp < float("inf"):
            raise SettingsError(f"mpp must be above 0 µm/px, not {self.mpp}")
        for name in ("min_area_um2", "simplify_um"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise SettingsError(f"{name} must be 0 or more, not {value}")
        if not 0 < self.split_um < float("inf"):
            raise SettingsError(f"split_um must be above 0, not {self.split_um}")
