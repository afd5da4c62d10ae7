"""What a segmentation on disk says of itself.

Layout (format version 1) — ``segmentations/<model>/``::

    <slide_id>.zarr        OME-NGFF 0.5 label image of objects; attribute "wsi_tower": this record
    <slide_id>.geojson     outlines for QuPath
    <slide_id>.dsa.json    outlines for the Digital Slide Archive
    <slide_id>.csv         a row an object
    <slide_id>.ome.tif     the label image as a pyramidal OME-TIFF

The label image is put in place last: where it is, the others are whole and belong to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from wsi_tower.errors import CorruptStoreError
from wsi_tower.records import Header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wsi_tower.segment.settings import SegmentFormat

__all__ = [
    "FORMAT_VERSION",
    "KIND",
    "SegmentationRecord",
    "export_path",
    "read_segmentation",
]

KIND = "segmentation"
FORMAT_VERSION = 1
_SUFFIXES: dict[SegmentFormat, str] = {
    "geojson": ".geojson",
    "dsa": ".dsa.json",
    "csv": ".csv",
    "tiff": ".ome.tif",
}


def export_path(labels: Path, kind: SegmentFormat) -> Path:
    """Where an export lies: beside the label image."""
    return labels.with_name(labels.name.removesuffix(".zarr") + _SUFFIXES[kind])


@dataclass(frozen=True, slots=True)
class SegmentationRecord:
    """One slide's segmentation."""

    slide_id: str
    """Its id in the workspace."""
    model: str
    """Name of the model."""
    classes: tuple[str, ...]
    """What it tells, by class number."""
    mpp: float
    """Micrometres per pixel of the label image: the geometric mean of both axes."""
    pixel_um: tuple[float, float]
    """The same along x and y."""
    pitch_l0: float
    """Level-0 pixels per pixel of the label image."""
    windows: int
    """Windows that the network saw."""
    tissue_mm2: float
    """Area of the slide's tissue."""
    counts: dict[str, int]
    """Objects of each class."""
    areas_mm2: dict[str, float]
    """Area on tissue of each class's objects."""
    header: Header
    """Kind, settings and parents."""

    @property
    def objects(self) -> int:
        """Objects of all classes."""
        return sum(self.counts.values())

    @property
    def density_per_mm2(self) -> float:
        """Objects per square millimetre of tissue."""
        return self.objects / self.tissue_mm2

    @property
    def area_fraction(self) -> float:
        """Part of the tissue's area that is object."""
        return sum(self.areas_mm2.values()) / self.tissue_mm2

    def measures(self) -> dict[str, Any]:
        """What tables show of the slide."""
        told: dict[str, Any] = {
            "model": self.model,
            "mpp": round(self.mpp, 4),
            "tissue_mm2": round(self.tissue_mm2, 4),
            "objects": self.objects,
            "density_per_mm2": round(self.density_per_mm2, 2),
            "area_fraction": round(self.area_fraction, 5),
        }
        if len(self.classes) == 1:
            return told
        for name in self.classes:
            told[f"{name}: objects"] = self.counts[name]
            told[f"{name}: per mm2"] = round(self.counts[name] / self.tissue_mm2, 2)
            told[f"{name}: area fraction"] = round(self.areas_mm2[name] / self.tissue_mm2, 5)
        return told

    def to_json(self) -> dict[str, Any]:
        """This record as plain values, the header's among them."""
        own = {name: getattr(self, name) for name in self.__slots__ if name != "header"}
        return {**self.header.to_json(), **own}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], source: Path) -> Self:
        """The record that `to_json` wrote.

        Raises:
            CorruptStoreError: a value is missing.
        """
        header = Header.from_json(values, source)
        names = [name for name in cls.__slots__ if name != "header"]
        missing = [name for name in names if name not in values]
        if header.kind != KIND or missing:
            raise CorruptStoreError(
                f"{source} is no segmentation of wsi-tower (missing: {', '.join(missing) or KIND})"
                f"; remake it with --overwrite"
            )
        if header.format_version > FORMAT_VERSION:
            raise CorruptStoreError(
                f"segmentation {source} has format version {header.format_version}; this wsi-tower "
                f"reads {FORMAT_VERSION}, so update it"
            )
        told = {name: values[name] for name in names}
        told |= {"classes": tuple(told["classes"]), "pixel_um": tuple(told["pixel_um"])}
        return cls(**told, header=header)


def read_segmentation(path: Path) -> SegmentationRecord:
    """The record of a label image.

    Raises:
        CorruptStoreError: it is none, is damaged, or of a later version.
    """
    try:
        values = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
        told = values["attributes"]["wsi_tower"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CorruptStoreError(
            f"segmentation {path} cannot be read ({error}); remake it with --overwrite"
        ) from error
    return SegmentationRecord.from_json(told, path)
