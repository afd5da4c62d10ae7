"""`TileStore`: one slide's tiles on disk, opened for reading.

Layout (format version 2) — a Zarr v3 group ``<slide_id>.zarr``::

    zarr.json           attribute "wsi_tower": header, slide, plan, pixel mode, array digests
    thumbnail           the slide, at most 1024 px a side; attribute pitch_l0
    tissue/             OME-NGFF 0.5 label image: 1 tissue, 2 pen; outline.geojson for QuPath
    tiles/xy_l0         int64 (N, 2), top-left corners in level-0 pixels
    tiles/centre_um     float64 (N, 2), centres in micrometres from the slide's origin
    tiles/tissue_fraction, pen_fraction, optical_density, focus     float32 (N,)
    tiles/pixels        uint8 (N, side, side, 3), one tile a chunk, 1024 chunks a shard
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import zarr
from zarr.errors import BaseZarrError

from wsi_tower.annotations import read_geojson_polygons
from wsi_tower.errors import CorruptStoreError, SettingsError
from wsi_tower.geometry import Level0Box, Level0Size, Mpp
from wsi_tower.jpeg.codec import JpegCodec
from wsi_tower.ngff import read_label_image
from wsi_tower.records import Header, digest
from wsi_tower.slides import Overview
from wsi_tower.tiles.columns import column_digest
from wsi_tower.tiles.pixels import (
    Decode,
    ShardTiles,
    SlideTiles,
    TilePixels,
    resolved_source,
    unchanged_slide,
)
from wsi_tower.tiles.plan import TilePlan
from wsi_tower.tiles.shards import CHUNKS_PER_SHARD, ShardFiles, ShardReader

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray
    from shapely import MultiPolygon

    from wsi_tower.slides import Slide

__all__ = ["FORMAT_VERSION", "KIND", "SlideRecord", "TileStore"]

KIND = "tiles"
FORMAT_VERSION = 2


@dataclass(frozen=True, slots=True)
class SlideRecord:
    """What a store knows of its slide."""

    slide_id: str
    """Its id in the workspace."""
    path: str
    """Where it lies: relative to the workspace, or a URL."""
    reader: str
    """Reader that served it."""
    vendor: str
    """Scanner vendor or format."""
    size: Level0Size
    """Width and height of level 0."""
    mpp: Mpp
    """Micrometres per level-0 pixel."""
    mpp_origin: str
    """Who said so: ``openslide``, ``tiffslide``, ``ome-xml``, ``tiff tags`` or ``user``."""
    downsamples: tuple[float, ...]
    """Level-0 pixels per pixel of every level."""
    objective_power: float | None
    """Nominal magnification, or None."""
    bounds: Level0Box | None
    """Part of level 0 that was scanned, or None."""
    file_bytes: int
    """Size of the file."""
    digest: str
    """Digest of its first and last MiB."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """From the store's attributes."""
        bounds = values["bounds"]
        return cls(
            **{
                **values,
                "size": Level0Size(**values["size"]),
                "mpp": Mpp(**values["mpp"]),
                "downsamples": tuple(values["downsamples"]),
                "bounds": Level0Box(**bounds) if bounds else None,
            }
        )


class TileStore:
    """One slide's tiles, opened for reading. Use as a context manager, or close it."""

    def __init__(
        self,
        path: Path,
        root: zarr.Group,
        attributes: dict[str, Any],
        decode: Decode = "exact",
        files: ShardFiles | None = None,
    ) -> None:
        self.path = path
        self._decode: Decode = decode
        # Not by truth: files to share are empty, and so false, until one is opened.
        self._files = ShardFiles() if files is None else files
        self._root = root
        try:
            self.header = Header.from_json(attributes, path)
            self.slide = SlideRecord.from_json(attributes["slide"])
            self.plan = TilePlan(**attributes["plan"])
            self.pixel_mode: str = attributes["pixels"]["mode"]
            self.pixel_reason: str = attributes["pixels"]["reason"]
            self.stored_bytes: int = attributes["pixels"]["bytes"]
            self.array_digests: dict[str, str] = attributes["array_digests"]
        except (KeyError, TypeError) as error:
            raise _damaged(path, f"attribute {error} is missing or wrong") from error

    @classmethod
    def open(
        cls, path: str | Path, *, decode: Decode = "exact", files: ShardFiles | None = None
    ) -> Self:
        """Open a store.

        Args:
            path: its folder.
            decode: how JPEG pixels are decoded; ``fast`` for training, see `Decode`.
            files: open files to share with other stores; None: its own.

        Raises:
            CorruptStoreError: not a tile store, of a later format version, or damaged.
        """
        path = Path(path)
        try:
            root = zarr.open_group(path, mode="r", zarr_format=3)
        except (BaseZarrError, OSError, ValueError, KeyError) as error:
            raise _damaged(path, str(error) or type(error).__name__) from error
        attributes = cast("dict[str, Any]", root.attrs.get("wsi_tower", {}))
        if attributes.get("kind") != KIND:
            raise _damaged(path, "it is no wsi-tower tile store")
        found = attributes.get("format_version", 0)
        if found != FORMAT_VERSION:
            remedy = "update it" if found > FORMAT_VERSION else "remake the store with --overwrite"
            raise CorruptStoreError(
                f"store {path} has format version {found}; this wsi-tower reads {FORMAT_VERSION}, "
                f"so {remedy}"
            )
        return cls(path, root, attributes, decode, files)

    def __len__(self) -> int:
        return int(self._array("tiles/xy_l0").shape[0])

    @cached_property
    def xy_l0(self) -> NDArray[np.int64]:
        """Top-left corners in level-0 pixels: int64 (N, 2)."""
        return self.column("xy_l0")

    @cached_property
    def centre_um(self) -> NDArray[np.float64]:
        """Centres in micrometres from the slide's origin: float64 (N, 2)."""
        return self.column("centre_um")

    @cached_property
    def tissue_fraction(self) -> NDArray[np.float32]:
        """Part of each tile that is tissue: float32 (N,)."""
        return self.column("tissue_fraction")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the arrays with a row a tile, pixels apart."""
        return tuple(name for name in self.array_digests if name not in ("tissue", "pixels"))

    def column(self, name: str) -> NDArray[Any]:
        """An array with a row a tile: ``pen_fraction``, ``optical_density``, ``focus`` and so on.

        Raises:
            SettingsError: the store was made without it.
            CorruptStoreError: it is damaged.
        """
        if name not in self.columns:
            raise SettingsError(
                f"store {self.path} has no column {name!r}, only {', '.join(self.columns)}"
                + ("; measure it with --focus" if name == "focus" else "")
            )
        try:
            values = np.asarray(self._array(f"tiles/{name}")[...])
        except (BaseZarrError, OSError, ValueError, RuntimeError) as error:
            raise _damaged(self.path, f"its {name} cannot be read ({error})") from error
        # A chunk that is missing reads as zeros.
        if column_digest(values) != self.array_digests[name]:
            raise _damaged(self.path, f"its {name} is not what was written")
        return values

    @cached_property
    def pixels(self) -> TilePixels:
        """Pixels by row: ``store.pixels[rows]`` is (len(rows), side, side, 3) uint8."""
        side = self.plan.tile_px
        if self.pixel_mode == "none":
            record = self.slide
            source = resolved_source(self.path, record.path)
            tiles = SlideTiles(source, record.digest, record.mpp, self.plan, self.xy_l0)
            return TilePixels(tiles, len(self), side)
        array = self._array("tiles/pixels")
        if array.shards is None or array.shards[0] != CHUNKS_PER_SHARD:
            raise _damaged(self.path, f"its shards are {array.shards}")
        serializer = array.serializer
        codec = serializer if isinstance(serializer, JpegCodec) else None
        return TilePixels(ShardTiles(self._shards(), codec, self._decode), len(self), side)

    @cached_property
    def thumbnail(self) -> Overview:
        """The whole slide, at most 1024 px a side."""
        array = self._array("thumbnail")
        return Overview(np.asarray(array[...]), float(cast("float", array.attrs["pitch_l0"])))

    @cached_property
    def tissue_labels(self) -> NDArray[np.uint8]:
        """Class of every pixel of the mask image: 0 glass, 1 tissue, 2 pen."""
        return read_label_image(self.path / "tissue")

    @cached_property
    def tissue_pitch_l0(self) -> float:
        """Level-0 pixels per pixel of the mask image, the same along x and y."""
        attributes = json.loads((self.path / "tissue" / "zarr.json").read_text(encoding="utf-8"))
        (multiscale,) = attributes["attributes"]["ome"]["multiscales"]
        (scaling,) = multiscale["datasets"][0]["coordinateTransformations"]
        return float(scaling["scale"][1]) / self.slide.mpp.x

    def open_slide(self) -> Slide:
        """The slide that the store was made from; the caller closes it.

        Raises:
            SettingsError: it is not where it was.
            CorruptStoreError: another file lies there.
            SlideError: it cannot be read.
        """
        record = self.slide
        return unchanged_slide(resolved_source(self.path, record.path), record.digest, record.mpp)

    @cached_property
    def outlines(self) -> MultiPolygon:
        """Tissue outlines in level-0 pixels."""
        from shapely import MultiPolygon

        found = read_geojson_polygons(
            self.path / "tissue" / "outline.geojson", bounds=self.slide.bounds
        )
        return MultiPolygon(
            [part for _, shape in found for part in getattr(shape, "geoms", [shape])]
        )

    def verify(self, *, pixels: bool = True) -> None:
        """Read every array and compare its digest with the one recorded.

        Args:
            pixels: whether theirs too.

        Raises:
            CorruptStoreError: something differs.
        """
        found: dict[str, str] = {}
        for name in self.array_digests:
            if name == "pixels":
                recorded = self.array_digests[name]
                found[name] = self._shards().content_digest() if pixels else recorded
            else:
                values = self.tissue_labels if name == "tissue" else self.column(name)
                found[name] = column_digest(values)
        for name, recorded in self.array_digests.items():
            if found[name] != recorded:
                raise _damaged(self.path, f"array {name} is not what was written")
        if digest(found) != self.header.content_digest:
            raise _damaged(self.path, "its content digest is not that of its arrays")

    def close(self) -> None:
        """Give back files."""
        if "pixels" in self.__dict__:
            self.pixels.close()

    def _shards(self) -> ShardReader:
        return ShardReader(self.path / "tiles" / "pixels", len(self), self._files)

    def _array(self, name: str) -> zarr.Array[Any]:
        try:
            array = self._root[name]
        except KeyError as error:
            raise _damaged(self.path, f"it has no array {name}") from error
        if not isinstance(array, zarr.Array):
            raise _damaged(self.path, f"{name} is a group")
        return array

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _damaged(path: Path, why: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"store {path} cannot be used: {why}; remake it with `wsi-tower tile … --overwrite`"
    )
