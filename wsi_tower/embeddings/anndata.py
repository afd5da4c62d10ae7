"""AnnData files, by the on-disk format that its makers document, without the library.

https://anndata.readthedocs.io/en/latest/fileformat-prose.html: every element names its encoding in
attributes. The library would bring pandas and SciPy for the sake of a dozen of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from wsi_tower.embeddings.slide import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from wsi_tower.embeddings.cache import EmbeddingCache

__all__ = ["write_anndata"]


def write_anndata(file: h5py.File, cache: EmbeddingCache) -> None:
    """Fill an empty HDF5 file: features in ``X``, tiles in ``obs``, places in ``obsm/spatial``.

    Squidpy and scanpy look for centres under ``spatial``; they are in micrometres here.
    """
    slide, count = cache.slide, len(cache)
    _encoded(file, "anndata", "0.1.0")
    _array(file, "X", np.asarray(cache.features))
    columns: dict[str, Any] = {
        "slide_id": slide.slide_id,
        "row": np.arange(count),
        "x_l0": cache.coords_l0[:, 0],
        "y_l0": cache.coords_l0[:, 1],
    }
    columns |= slide.cohort_beside(columns)
    _table(file, "obs", [f"{slide.slide_id}:{row}" for row in range(count)], columns)
    _table(file, "var", [f"feature_{number}" for number in range(cache.features.shape[1])], {})
    for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
        _encoded(file.create_group(name), "dict", "0.1.0")
    _array(file["obsm"], "spatial", cache.centre_um)
    told = _encoded(file["uns"].create_group("wsi_tower"), "dict", "0.1.0")
    _text(told, "encoder", cache.encoder_id)
    _text(told, "descriptor", cache.descriptor)
    _text(told, "content_digest", cache.content_digest)
    _number(told, "tile_footprint_l0", slide.footprint_l0)
    _number(told, "tile_mpp", slide.tile_mpp)
    _number(told, "mpp_x", slide.mpp.x)
    _number(told, "mpp_y", slide.mpp.y)
    _array(told, "slide_descriptor", cache.slide_descriptor)


def _encoded(element: Any, encoding: str, version: str) -> Any:
    element.attrs["encoding-type"] = encoding
    element.attrs["encoding-version"] = version
    return element


def _array(group: h5py.Group, name: str, values: NDArray[Any]) -> None:
    _encoded(group.create_dataset(name, data=values), "array", "0.2.0")


def _strings(group: h5py.Group, name: str, values: list[str]) -> None:
    texts = [printable(value) for value in values]
    made = group.create_dataset(name, data=texts, dtype=h5py.string_dtype())
    _encoded(made, "string-array", "0.2.0")


def _text(group: h5py.Group, name: str, value: str) -> None:
    made = group.create_dataset(name, data=printable(value), dtype=h5py.string_dtype())
    _encoded(made, "string", "0.2.0")


def _number(group: h5py.Group, name: str, value: float) -> None:
    _encoded(group.create_dataset(name, data=value), "numeric-scalar", "0.2.0")


def _table(
    file: h5py.File, name: str, index: list[str], columns: Mapping[str, NDArray[Any] | str]
) -> None:
    """A data frame; a text is the value of all its rows."""
    group = _encoded(file.create_group(name), "dataframe", "0.2.0")
    group.attrs["_index"] = "_index"
    # A slash would make a group of its own.
    columns = {name.replace("/", "_"): values for name, values in columns.items()}
    group.attrs.create("column-order", list(columns), dtype=h5py.string_dtype())
    _strings(group, "_index", index)
    for column, values in columns.items():
        if isinstance(values, str):
            _category(group, column, values, len(index))
        else:
            _array(group, column, values)


def _category(group: h5py.Group, name: str, value: str, count: int) -> None:
    """A column of one value, as a category: codes and their names."""
    made = _encoded(group.create_group(name), "categorical", "0.2.0")
    made.attrs["ordered"] = False
    _array(made, "codes", np.zeros(count, np.int8))
    _strings(made, "categories", [value])
