"""The label image as a pyramidal OME-TIFF, for programs that read no Zarr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tifffile import TiffWriter

from wsi_tower.ngff import label_levels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.ngff import LabelLevel

__all__ = ["write_ome_tiff"]

_TILE_PX = 512
"""As the label image's chunks: a row of tiles is read at once."""


def write_ome_tiff(path: Path, labels: Path, name: str, pixel_um: tuple[float, float]) -> None:
    """Write a label image's levels as one image with sub-resolutions, deflated.

    Args:
        path: file to write.
        labels: the OME-NGFF label image.
        name: of the image.
        pixel_um: micrometres per pixel along x and y.

    Raises:
        OSError: the disk refused; the file is then incomplete.
    """
    finest, *coarser = label_levels(labels)
    metadata = {
        "axes": "YX",
        "Name": name,
        "PhysicalSizeX": pixel_um[0],
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": pixel_um[1],
        "PhysicalSizeYUnit": "µm",
    }
    with TiffWriter(path, bigtiff=True, ome=True) as writer:
        _write(writer, finest, subifds=len(coarser), metadata=metadata)
        for level in coarser:
            _write(writer, level, subfiletype=1, metadata=None)


def _write(writer: TiffWriter, level: LabelLevel, **more: Any) -> None:
    writer.write(
        _tiles(level),
        shape=level.shape,
        dtype=level.dtype,
        tile=(_TILE_PX, _TILE_PX),
        compression="zlib",
        photometric="minisblack",
        **more,
    )


def _tiles(level: LabelLevel) -> Iterator[NDArray[np.uint32]]:
    height, width = level.shape
    for top in range(0, height, _TILE_PX):
        band = np.asarray(level[top : top + _TILE_PX], np.uint32)
        for left in range(0, width, _TILE_PX):
            tile = np.zeros((_TILE_PX, _TILE_PX), np.uint32)
            part = band[:, left : left + _TILE_PX]
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile
