"""A slide's objects written: the label image and what else was asked for, whole or absent."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

import shapely

from wsi_tower.ngff import write_instance_bands
from wsi_tower.records import file_aside, folder_aside, remove_folder
from wsi_tower.segment.exports import (
    BandOutliner,
    DsaWriter,
    FoundObject,
    GeoJsonWriter,
    class_colour,
    write_objects_csv,
    write_ome_tiff,
)
from wsi_tower.segment.record import export_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from shapely.geometry import MultiPolygon

    from wsi_tower.geometry import Level0Box
    from wsi_tower.segment.joining import ObjectTable
    from wsi_tower.segment.raster import SlideRaster
    from wsi_tower.segment.record import SegmentationRecord
    from wsi_tower.segment.settings import SegmentFormat, SegmentSettings
    from wsi_tower.segment.spool import BandSpool

__all__ = ["FoundObjects", "write_segmentation"]


@dataclass(frozen=True, slots=True, eq=False)
class FoundObjects:
    """What was found on a slide."""

    raster: SlideRaster
    """The picture that it was found on."""
    numbers: BandSpool
    """The picture's bands, with numbers that may be part of an object."""
    ids: NDArray[np.uint32]
    """Id of every number."""
    table: ObjectTable
    """The objects by id."""
    bounds: Level0Box | None
    """Part of the slide that was scanned, where it says so."""

    def bands(self) -> Iterator[NDArray[np.uint32]]:
        """The picture's ids, from the top down."""
        return (self.ids[numbers] for numbers in self.numbers)


def write_segmentation(
    path: Path,
    found: FoundObjects,
    record: SegmentationRecord,
    settings: SegmentSettings,
    *,
    alone: bool,
) -> None:
    """Write a label image and its exports in place of what is there.

    Args:
        path: the label image.
        found: what to write.
        record: the image's.
        settings: formats, and how outlines are simplified.
        alone: see `folder_aside`.

    Raises:
        StorageError: the disk refused; what was there before is still there.
    """
    with ExitStack() as stack:
        # Entered first and so left last: where the image is, its exports are.
        aside = stack.enter_context(folder_aside(path, alone=alone))
        files = {
            kind: stack.enter_context(file_aside(export_path(path, kind), alone=alone))
            for kind in settings.formats
        }
        with _outlines_to(files, found, record, settings) as bands:
            write_instance_bands(
                aside,
                bands,
                size=found.raster.size,
                pixel_um=found.raster.pixel_um,
                name=f"{record.model} on {record.slide_id}",
                more={"wsi_tower": record.to_json()},
            )
        if "csv" in files:
            with files["csv"].open("w", encoding="utf-8", newline="") as file:
                write_objects_csv(file, found.table, found.raster, record.classes)
        if "tiff" in files:
            name = f"{record.model} on {record.slide_id}"
            write_ome_tiff(files["tiff"], aside, name, found.raster.pixel_um)
        # What is there would vouch for exports that are not its own.
        remove_folder(path)


@contextmanager
def _outlines_to(
    files: dict[SegmentFormat, Path],
    found: FoundObjects,
    record: SegmentationRecord,
    settings: SegmentSettings,
) -> Iterator[Iterable[NDArray[np.uint32]]]:
    """The bands; as they are taken, outlines are written to those files that hold any."""
    with ExitStack() as stack:
        writers: list[GeoJsonWriter | DsaWriter] = []
        if "geojson" in files:
            writers.append(
                GeoJsonWriter(stack.enter_context(_text(files["geojson"])), found.bounds)
            )
        if "dsa" in files:
            file = stack.enter_context(_text(files["dsa"]))
            writers.append(DsaWriter(file, f"{record.model} on {record.slide_id}"))
        yield _outlined(found, record, settings, writers) if writers else found.bands()
        for writer in writers:
            writer.finish()


def _outlined(
    found: FoundObjects,
    record: SegmentationRecord,
    settings: SegmentSettings,
    writers: list[GeoJsonWriter | DsaWriter],
) -> Iterator[NDArray[np.uint32]]:
    outliner = BandOutliner(settings.simplify_um / found.raster.mpp)
    top = 0
    for ids in found.bands():
        for number, outline in outliner.take(top, ids):
            _write(_described(number, outline, found, record), writers)
        yield ids
        top += len(ids)
    for number, outline in outliner.finish():
        _write(_described(number, outline, found, record), writers)


def _described(
    number: int, outline: MultiPolygon, found: FoundObjects, record: SegmentationRecord
) -> FoundObject:
    table, raster, row = found.table, found.raster, number - 1
    class_number = int(table.class_number[row])
    scaled = shapely.transform(outline, lambda points: points * raster.pitch_l0)
    return FoundObject(
        number,
        record.classes[class_number],
        class_colour(class_number),
        scaled.geoms[0] if len(scaled.geoms) == 1 else scaled,
        float(table.area_px[row] * raster.pixel_um[0] * raster.pixel_um[1]),
        float(table.optical_density[row]),
        float(table.probability[row]),
    )


def _write(found: FoundObject, writers: list[GeoJsonWriter | DsaWriter]) -> None:
    for writer in writers:
        writer.add(found)


def _text(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8")
