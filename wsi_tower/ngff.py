"""OME-NGFF 0.5 label images: written as small pyramids, read back as arrays.

Specification: OME-NGFF 0.5, sections *multiscales* and *image-label*. Scales are micrometres; each
level takes every second pixel of the finer one, so all share the centre of their first pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Rgba = tuple[int, int, int, int]

__all__ = ["read_label_image", "write_label_image"]

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
    pyramid = _pyramid(labels)
    group = zarr.create_group(store=path, zarr_format=3)
    group.attrs["ome"] = {
        "version": _VERSION,
        "multiscales": [_multiscale(name, len(pyramid), pixel_um)],
        "image-label": _image_label(classes),
    }
    for level, values in enumerate(pyramid):
        chunk = min(_CHUNK_PX, max(values.shape))
        shard = tuple(-(-side // chunk) * chunk for side in values.shape)
        array = group.create_array(
            str(level),
            shape=values.shape,
            dtype=values.dtype,
            chunks=(chunk, chunk),
            shards=shard,
            compressors=ZstdCodec(level=3),
            dimension_names=("y", "x"),
        )
        array[:] = values


def read_label_image(path: Path) -> NDArray[np.uint8]:
    """The finest level of a label image: height × width."""
    values: NDArray[np.uint8] = np.asarray(zarr.open_array(path / "0", mode="r")[:], np.uint8)
    return values


def _pyramid(labels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The image and its halvings; every second pixel, since labels do not average."""
    levels = [np.ascontiguousarray(labels)]
    while max(levels[-1].shape) > _SMALLEST_PX:
        levels.append(np.ascontiguousarray(levels[-1][::2, ::2]))
    return levels


def _multiscale(name: str, levels: int, pixel_um: tuple[float, float]) -> dict[str, Any]:
    return {
        "name": name,
        "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"],
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [2**level * pixel_um[1], 2**level * pixel_um[0]]}
                ],
            }
            for level in range(levels)
        ],
    }


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
