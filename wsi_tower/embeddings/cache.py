"""`EmbeddingCache`: the descriptors of one slide's tiles on disk.

Layout (format version 1) — an HDF5 file ``embeddings/<encoder>/<slide_id>.h5``::

    attribute "wsi_tower"   JSON: header, encoder, descriptor, slide, digest of every array
    features                float32 | float16 (N, D), contiguous and uncompressed
    coords                  int64 (N, 2), top-left corners in level-0 pixels; row i is the tile
                            store's row i. Attributes as CLAM and TRIDENT write and read them
    coords_um               float64 (N, 2), centres in micrometres from the slide's origin
    slide_descriptor        float32 (D,)
    mosaic                  int64 (K,), rows of the tiles that stand for the slide; may be empty

Features are one block of the file, so that they can be mapped into memory without HDF5.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import h5py
import numpy as np

from wsi_tower.embeddings.slide import CachedSlide, coordinate_attributes, printable
from wsi_tower.errors import CorruptStoreError
from wsi_tower.records import Header, bytes_digest, digest, file_aside, plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "FORMAT_VERSION",
    "KIND",
    "CacheContents",
    "EmbeddingCache",
    "FeatureArray",
    "open_cache",
    "write_cache",
]

KIND = "embeddings"
FORMAT_VERSION = 1
FeatureArray: TypeAlias = "NDArray[np.float32] | NDArray[np.float16]"

_ATTRIBUTE = "wsi_tower"
_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class CacheContents:
    """Everything that goes into a cache."""

    slide: CachedSlide
    """The slide and its tiles."""
    encoder_id: str
    """The encoder's full name: of one's own, or ``hf-hub:owner/name``."""
    descriptor: Literal["head", "pooled"]
    """What describes a tile: the head's output, or the pooled feature."""
    features: FeatureArray
    """A row a tile: (N, D)."""
    coords_l0: NDArray[np.int64]
    """Top-left corners in level-0 pixels: (N, 2)."""
    centre_um: NDArray[np.float64]
    """Centres in micrometres from the slide's origin: (N, 2)."""
    slide_descriptor: NDArray[np.float32]
    """One vector for the slide: (D,)."""
    mosaic: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Rows of the tiles that stand for the slide, where it was asked for them: (K,)."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The settings that made it."""
    parents: dict[str, str] = field(default_factory=dict)
    """Content digests of what it was made from: ``tiles`` and ``encoder``."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingCache:
    """One slide's embeddings, opened for reading. Safe in threads; nothing needs closing."""

    path: Path
    """The file."""
    encoder: str
    """The encoder's slug."""
    encoder_id: str
    """The encoder's full name."""
    descriptor: Literal["head", "pooled"]
    """What describes a tile: the head's output, or the pooled feature."""
    features: FeatureArray
    """A row a tile: (N, D), read-only, mapped from the file."""
    coords_l0: NDArray[np.int64]
    """Top-left corners in level-0 pixels: (N, 2)."""
    centre_um: NDArray[np.float64]
    """Centres in micrometres from the slide's origin: (N, 2)."""
    slide_descriptor: NDArray[np.float32]
    """One vector for the slide: (D,)."""
    mosaic: NDArray[np.int64]
    """Rows of the tiles that stand for the slide; empty where they were not asked for."""
    slide: CachedSlide
    """The slide and its tiles."""
    header: Header
    """Kind, settings, and the digests of tile store and encoder."""
    array_digests: dict[str, str]
    """Digest of every array."""

    @property
    def slide_id(self) -> str:
        """The slide's id in the workspace."""
        return self.slide.slide_id

    @property
    def content_digest(self) -> str:
        """Digest of the arrays' contents."""
        return self.header.content_digest

    @property
    def workspace(self) -> Path:
        """Folder of the workspace that the cache lies in: paths of `slide` begin there."""
        return self.path.absolute().parents[2]

    def __len__(self) -> int:
        return len(self.features)

    def verify(self) -> None:
        """Read the features and compare their digest with the one recorded.

        Raises:
            CorruptStoreError: they are not what was written.
        """
        if _array_digest(self.features) != self.array_digests["features"]:
            raise _damaged(self.path, "its features are not what was written")


def write_cache(path: Path, contents: CacheContents, *, alone: bool = False) -> EmbeddingCache:
    """Write a cache so that it is complete or absent.

    Args:
        path: ``embeddings/<encoder>/<slide_id>.h5``.
        contents: what to write.
        alone: whether the caller holds `held_lock` for ``path``; see `folder_aside`.

    Returns:
        The cache, opened.

    Raises:
        StorageError: the disk refused.
        CorruptStoreError: the disk does not hold what was written.
    """
    arrays = _arrays(contents)
    digests = {name: _array_digest(values) for name, values in arrays.items()}
    header = Header(KIND, FORMAT_VERSION, contents.settings, contents.parents)
    told = {
        **header.completed(digest(digests)).to_json(),
        "array_digests": digests,
        "encoder": {"slug": path.parent.name, "id": contents.encoder_id},
        "descriptor": contents.descriptor,
        "slide": plain(contents.slide),
    }
    with file_aside(path, alone=alone) as aside:
        with h5py.File(aside, "w") as file:
            file.attrs[_ATTRIBUTE] = json.dumps(told)
            for name, values in arrays.items():
                file.create_dataset(name, data=values, track_times=False)
            file["coords"].attrs.update(coordinate_attributes(contents.slide))
            file["features"].attrs["name"] = printable(contents.slide.slide_id)
            file["features"].attrs["encoder"] = contents.encoder_id
        open_cache(aside).verify()
    return open_cache(path)


def open_cache(path: str | Path) -> EmbeddingCache:
    """Open a cache: small arrays are read and checked, features are mapped.

    Raises:
        CorruptStoreError: missing, no cache, of another format version, cut off or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise _damaged(path, "it does not exist")
    try:
        # Caches are replaced and never changed, so that no lock is needed; some cluster file
        # systems have none.
        with h5py.File(path, "r", locking=False) as file:
            told = _told(path, file)
            return _opened(path, file, told)
    except (OSError, RuntimeError) as error:
        raise _damaged(path, str(error)) from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _damaged(path, f"{error} is missing or wrong") from error


def _told(path: Path, file: h5py.File) -> dict[str, Any]:
    """The attribute of the file, known to be a cache's of this version."""
    values = json.loads(file.attrs.get(_ATTRIBUTE, "{}"))
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise _damaged(path, "it is no wsi-tower embedding cache")
    found = values.get("format_version", 0)
    if found != FORMAT_VERSION:
        remedy = "update it" if found > FORMAT_VERSION else "embed again with --overwrite"
        raise CorruptStoreError(
            f"embedding cache {path} has format version {found}; this wsi-tower reads "
            f"{FORMAT_VERSION}, so {remedy}"
        )
    return values


def _opened(path: Path, file: h5py.File, told: dict[str, Any]) -> EmbeddingCache:
    header = Header.from_json(told, path)
    digests: dict[str, str] = told["array_digests"]
    if digest(digests) != header.content_digest:
        raise _damaged(path, "its content digest is not that of its arrays")
    small = {name: _checked(path, file, name, digests[name]) for name in digests.keys() - _MAPPED}
    features = _mapped(path, file["features"])
    rows = {len(features), len(small["coords"]), len(small["coords_um"])}
    if len(rows) != 1 or features.shape[1:] != small["slide_descriptor"].shape:
        raise _damaged(path, f"its arrays have different lengths: {sorted(rows)} rows")
    return EmbeddingCache(
        path=path,
        encoder=told["encoder"]["slug"],
        encoder_id=told["encoder"]["id"],
        descriptor=told["descriptor"],
        features=features,
        coords_l0=small["coords"],
        centre_um=small["coords_um"],
        slide_descriptor=small["slide_descriptor"],
        mosaic=small["mosaic"],
        slide=CachedSlide.from_json(told["slide"]),
        header=header,
        array_digests=digests,
    )


_MAPPED = {"features"}


def _checked(path: Path, file: h5py.File, name: str, recorded: str) -> NDArray[Any]:
    values = np.asarray(file[name][...])
    if _array_digest(values) != recorded:
        raise _damaged(path, f"its {name} is not what was written")
    values.flags.writeable = False
    return values


def _mapped(path: Path, dataset: h5py.Dataset) -> FeatureArray:
    offset = dataset.id.get_offset()
    if dataset.ndim != 2 or offset is None or dataset.dtype.name not in ("float32", "float16"):
        raise _damaged(path, "its features are not one block of float32 or float16 (N, D)")
    size = path.stat().st_size
    if offset + dataset.nbytes > size:
        raise _damaged(path, f"it ends after {size} bytes, within its features")
    mapped = np.memmap(path, dataset.dtype, "r", offset, dataset.shape)
    return cast("FeatureArray", mapped)


def _arrays(contents: CacheContents) -> dict[str, NDArray[Any]]:
    half = contents.features.dtype == np.float16
    features = np.ascontiguousarray(contents.features, "<f2" if half else "<f4")
    return {
        "features": features,
        "coords": np.asarray(contents.coords_l0, "<i8"),
        "coords_um": np.asarray(contents.centre_um, "<f8"),
        "slide_descriptor": np.asarray(contents.slide_descriptor, "<f4"),
        "mosaic": np.asarray(contents.mosaic, "<i8"),
    }


def _array_digest(values: NDArray[Any]) -> str:
    """Digest of an array's contents, the same on any machine; takes a block at a time."""
    rows = max(1, _BLOCK_BYTES // max(1, values[:1].nbytes))
    blocks = (
        np.ascontiguousarray(values[start : start + rows]).reshape(-1).view(np.uint8).data
        for start in range(0, len(values), rows)
    )
    return bytes_digest(chain([f"{values.dtype.str} {values.shape}\n".encode()], blocks))


def _damaged(path: Path, why: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"embedding cache {path} cannot be used: {why}; remake it with `wsi-tower embed … "
        f"--overwrite`"
    )
