"""OME-NGFF 0.5 label images: written as pyramids, read back as arrays.

Specification: OME-NGFF 0.5, sections *multiscales* and *image-label*. Scales are micrometres; each
level takes every second pixel of the finer one, so all share the centre of their first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import zarr

from wsi_tower.arrays import ArrayLayout, create_array, create_group, write_shard

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.geometry import LevelSize

    Rgba = tuple[int, int, int, int]

__all__ = [
    "LabelLevel",
    "label_levels",
    "read_label_image",
    "write_instance_bands",
    "write_label_image",
]

LabelLevel: TypeAlias = "zarr.Array[Any]"
"""A level of a label image: has ``shape`` and gives slices."""

_VERSION = "0.5"
_SMALLEST_PX = 256
_CHUNK_PX = 512


def write_label_image(
    path: Path,
    labels: NDArray[np.uint8],
    *,
    pixel_um: tuple[float, float],
    name: str,
    classes: Mapping[int, tuple[str, Rgba]],
) -> None:
    """Write a label image with its pyramid as a Zarr v3 group; a file a level.

    Args:
        path: the group, not there yet.
        labels: class of every pixel, height × width.
        pixel_um: micrometres per pixel along x and y.
        name: of the image.
        classes: name and colour of every class.
    """
    image = _Image(name, labels.shape[0], labels.shape[1], pixel_um)
    finest = _created(path, image, labels.dtype, _image_label(classes), rows_a_file=len(labels))
    finest.take(labels)
    finest.finish()


def write_instance_bands(
    path: Path,
    bands: Iterable[NDArray[np.uint32]],
    *,
    size: LevelSize,
    pixel_um: tuple[float, float],
    name: str,
    more: Mapping[str, Any],
) -> None:
    """Write a label image of instances with its pyramid, as its rows come.

    Held at a time: a band, and 512 rows of each level; a level has one file every 512 rows.

    Args:
        path: the group, not there yet.
        bands: ids from the top down, 0 for none; each any number of rows × the image's width.
        size: of the image in pixels.
        pixel_um: micrometres per pixel along x and y.
        name: of the image.
        more: attributes of the group beside those of OME, plain values.

    Raises:
        ValueError: the bands are not as high together, or as wide, as the image.
    """
    image = _Image(name, size.height, size.width, pixel_um)
    finest = _created(path, image, np.dtype(np.uint32), {"version": _VERSION}, _CHUNK_PX, more)
    for band in bands:
        finest.take(band)
    finest.finish()


def read_label_image(path: Path) -> NDArray[np.uint8]:
    """The finest level of a label image: height × width."""
    values: NDArray[np.uint8] = np.asarray(zarr.open_array(path / "0", mode="r")[:], np.uint8)
    return values


def label_levels(path: Path) -> list[LabelLevel]:
    """The levels of a label image, from fine to coarse, of which slices are read."""
    group = zarr.open_group(path, mode="r")
    names = sorted((name for name, _ in group.arrays()), key=int)
    return [zarr.open_array(path / name, mode="r") for name in names]


@dataclass(frozen=True, slots=True)
class _Image:
    """What the metadata say of an image."""

    name: str
    height: int
    width: int
    pixel_um: tuple[float, float]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Height and width of the image and of its halvings."""
        shapes = [(self.height, self.width)]
        while max(shapes[-1]) > _SMALLEST_PX:
            height, width = shapes[-1]
            shapes.append((-(-height // 2), -(-width // 2)))
        return shapes

    @property
    def multiscale(self) -> dict[str, Any]:
        """The OME metadata of its levels."""
        scale = (self.pixel_um[1], self.pixel_um[0])
        return {
            "name": self.name,
            "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"],
            "datasets": [
                {
                    "path": str(level),
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [2**level * side for side in scale]}
                    ],
                }
                for level in range(len(self.shapes))
            ],
        }


class _Level:
    """A level that grows from the top: full bands are written, and every second pixel goes on.

    Every second, since labels do not average.
    """

    def __init__(
        self, folder: Path, layout: ArrayLayout, rows_a_file: int, coarser: _Level | None
    ) -> None:
        self._folder = folder
        self._layout = layout
        self._coarser = coarser
        height, width = layout.shape
        # An even number of rows, or all there are: every band but the first starts on a kept row.
        self._band = np.empty((min(rows_a_file, height), width), layout.dtype)
        self._filled = 0
        self._top = 0

    def take(self, rows: NDArray[Any]) -> None:
        """Add rows below those that came before."""
        while len(rows):
            fitting = rows[: len(self._band) - self._filled]
            self._band[self._filled : self._filled + len(fitting)] = fitting
            self._filled += len(fitting)
            rows = rows[len(fitting) :]
            if self._filled == len(self._band):
                self._write()

    def finish(self) -> None:
        """Write what is left, here and in the coarser levels."""
        self._write()
        height = self._layout.shape[0]
        if self._top != height:
            raise ValueError(f"{self._top} rows came for a level of {height}")
        if self._coarser is not None:
            self._coarser.finish()

    def _write(self) -> None:
        band = self._band[: self._filled]
        if not len(band):
            return
        write_shard(self._folder, self._layout, (self._top // len(self._band), 0), band)
        self._top += len(band)
        self._filled = 0
        if self._coarser is not None:
            self._coarser.take(band[::2, ::2])


def _created(
    path: Path,
    image: _Image,
    dtype: np.dtype[Any],
    label: Mapping[str, Any],
    rows_a_file: int,
    more: Mapping[str, Any] | None = None,
) -> _Level:
    """A new group with its empty levels; the finest is returned, and feeds the others."""
    ome: dict[str, Any] = {
        "version": _VERSION,
        "multiscales": [image.multiscale],
        "image-label": dict(label),
    }
    create_group(path, {"ome": ome, **(more or {})})
    level: _Level | None = None
    for number, (height, width) in reversed(list(enumerate(image.shapes))):
        chunk = min(_CHUNK_PX, max(height, width))
        rows = min(rows_a_file, height)
        layout = ArrayLayout(
            (height, width),
            dtype,
            chunk=(chunk, chunk),
            shard=(-(-rows // chunk) * chunk, -(-width // chunk) * chunk),
            separator="/",
            dimension_names=("y", "x"),
        )
        create_array(path / str(number), layout)
        level = _Level(path / str(number), layout, rows_a_file, level)
    assert level is not None
    return level


def _image_label(classes: Mapping[int, tuple[str, Rgba]]) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "colors": [
            {"label-value": value, "rgba": list(rgba)} for value, (_, rgba) in classes.items()
        ],
        "properties": [
            {"label-value": value, "class": name} for value, (name, _) in classes.items()
        ],
    }
