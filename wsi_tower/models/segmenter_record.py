"""What a saved segmenter says of itself: ``model.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

from wsi_tower.errors import CorruptStoreError, SettingsError
from wsi_tower.models.parts import RecordKind, is_of
from wsi_tower.stain import StainReference

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wsi_tower.records import Header

__all__ = ["SEGMENTER_RECORD", "SegmenterOrigin", "SegmenterRecord"]

_REMEDY = "restore the folder from a copy, or train the model again"
SEGMENTER_RECORD = RecordKind("segmenter", 1, "a segmentation model", _REMEDY)


@dataclass(frozen=True, slots=True)
class SegmenterOrigin:
    """Where a segmenter comes from: what its network does not know itself."""

    name: str
    """Its name, and that of its folder."""
    method: str
    """What trained it: ``finetune`` or ``patch-contrast``."""
    classes: tuple[str, ...]
    """What each of its K channels tells."""
    mpp: float | None
    """Resolution of the pictures that it was trained on, in µm/px; None: not known."""
    window_px: int
    """Their side."""
    threshold: float = 0.5
    """Probability from which a pixel is of a class."""
    stain: StainReference | None = None
    """What the stain of its pictures is brought to; None: they are taken as they are."""
    settings: dict[str, Any] = field(default_factory=dict)
    """All settings that made it."""
    parents: dict[str, str] = field(default_factory=dict)
    """Digests of what it was made from, by role: ``encoder``, ``pictures``, ``masks``."""
    training: dict[str, Any] = field(default_factory=dict)
    """A free record of the run: steps, seconds, scores. Enters no digest."""

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise SettingsError(f"classes must be names that differ, not {self.classes}")
        if self.window_px < 1:
            raise SettingsError(f"window_px must be 1 or more, not {self.window_px}")
        if not 0 < self.threshold < 1:
            raise SettingsError(f"threshold must lie between 0 and 1, not {self.threshold:g}")
        if self.mpp is not None and not self.mpp > 0:
            raise SettingsError(f"mpp must be above 0, not {self.mpp:g}")


@dataclass(frozen=True, slots=True)
class SegmenterRecord:
    """A saved segmenter's ``model.json``."""

    origin: SegmenterOrigin
    """Where it comes from."""
    kind: str
    """Which `Segmenter` it is: ``unet``, …"""
    shape: dict[str, Any]
    """What that is built from, weights apart; plain values."""
    header: Header
    """Kind, format version, settings, parents; its content digest covers every tensor."""

    @property
    def name(self) -> str:
        """Its name, and that of its folder."""
        return self.origin.name

    def to_json(self) -> dict[str, Any]:
        """This record as JSON."""
        origin = self.origin
        return {
            "header": self.header.to_json(),
            "name": origin.name,
            "method": origin.method,
            "classes": list(origin.classes),
            "mpp": origin.mpp,
            "window_px": origin.window_px,
            "threshold": origin.threshold,
            "stain": origin.stain.to_json() if origin.stain else None,
            "network": self.kind,
            "shape": self.shape,
            "training": origin.training,
        }

    @classmethod
    def from_json(cls, values: object, source: Path) -> Self:
        """The record that `to_json` wrote; ``source`` is named in errors.

        Raises:
            CorruptStoreError: a later version's, no record of a segmenter, or a damaged one.
        """
        header = SEGMENTER_RECORD.header(values, source)
        told = cast("dict[str, Any]", values)
        unsound = [name for name, kinds in _KINDS.items() if not is_of(told, name, kinds)]
        SEGMENTER_RECORD.check_fields(unsound, source)
        try:
            return cls(_origin(told, header), told["network"], told["shape"], header)
        except (ValueError, TypeError, LookupError) as error:
            raise CorruptStoreError(f"{source} is damaged: {error}; {_REMEDY}") from error


_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "method": (str,),
    "classes": (list,),
    "mpp": (int, float, type(None)),
    "window_px": (int,),
    "threshold": (int, float),
    "stain": (dict, type(None)),
    "network": (str,),
    "shape": (dict,),
    "training": (dict,),
}
"""What JSON must hold beside the header."""


def _origin(values: Mapping[str, Any], header: Header) -> SegmenterOrigin:
    stain = values["stain"]
    return SegmenterOrigin(
        values["name"],
        values["method"],
        tuple(str(name) for name in values["classes"]),
        values["mpp"],
        values["window_px"],
        values["threshold"],
        StainReference.from_json(stain) if stain is not None else None,
        header.settings,
        header.parents,
        values["training"],
    )
