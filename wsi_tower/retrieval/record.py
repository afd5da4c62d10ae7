"""What an index says of itself: its slides with their columns, how it was chosen, its files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wsi_tower.errors import CorruptStoreError
from wsi_tower.geometry import Level0Box, Level0Size, Mpp
from wsi_tower.records import Header, plain
from wsi_tower.retrieval.choice import IndexChoice

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FORMAT_VERSION", "KIND", "RECORD_NAME", "IndexRecord", "IndexedSlide", "damaged"]

KIND = "index"
FORMAT_VERSION = 1
RECORD_NAME = "index.json"


@dataclass(frozen=True, slots=True)
class IndexedSlide:
    """A slide of an index, with every column of it."""

    slide_id: str
    """Its id in the workspace."""
    tiles: int
    """Its tiles: rows of its tile store and embedding cache."""
    shard: int
    """The part of the index that holds it."""
    first: int
    """Number of its first tile in that part; the others follow in the order of their rows."""
    cache: str
    """Its embedding cache: relative to the index's folder, or absolute."""
    content_digest: str
    """Digest of the cache's arrays when they were indexed."""
    size: Level0Size
    """Width and height of level 0."""
    mpp: Mpp
    """Micrometres per level-0 pixel."""
    bounds: Level0Box | None
    """Part of level 0 that was scanned, or None."""
    footprint_l0: int
    """Side of a tile in level-0 pixels."""
    cohort: dict[str, str] = field(default_factory=dict)
    """Columns of the cohort table: patient, site, label, whatever there is."""

    @property
    def footprint_um(self) -> tuple[float, float]:
        """Width and height of a tile in micrometres."""
        return self.footprint_l0 * self.mpp.x, self.footprint_l0 * self.mpp.y

    def cache_path(self, folder: Path) -> Path:
        """Its embedding cache, of the index in ``folder``."""
        # By the names alone, since the folder is not there yet when an index is made.
        return Path(os.path.normpath(folder.absolute() / self.cache))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From the index's record."""
        bounds = values["bounds"]
        return cls(
            **{
                **values,
                "size": Level0Size(**values["size"]),
                "mpp": Mpp(**values["mpp"]),
                "bounds": Level0Box(**bounds) if bounds else None,
            }
        )


@dataclass(frozen=True, slots=True)
class IndexRecord:
    """The record of an index: ``index.json``."""

    header: Header
    """Kind, settings, and the digests of encoder and caches."""
    encoder: str
    """Slug of the encoder whose descriptors it holds."""
    encoder_id: str
    """The encoder's full name."""
    descriptor: str
    """What describes a tile: ``head`` or ``pooled``."""
    choice: IndexChoice
    """The index that settings and number of tiles came to."""
    tiles_learnt_from: int
    """Tiles that there were when lists and codes were learnt; 0 where it is flat."""
    slides: tuple[IndexedSlide, ...]
    """Its slides, by id."""
    file_digests: dict[str, str]
    """Digest of every file of the index beside this one."""

    @property
    def tiles(self) -> int:
        """Tiles of all slides."""
        return sum(slide.tiles for slide in self.slides)

    @property
    def shards(self) -> int:
        """Parts that can be searched by themselves."""
        return int(self.header.settings["shards"])

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the cohort's columns."""
        return tuple(sorted({name for slide in self.slides for name in slide.cohort}))

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return self.header.to_json() | {
            "encoder": {"slug": self.encoder, "id": self.encoder_id},
            "descriptor": self.descriptor,
            "choice": plain(self.choice),
            "tiles": self.tiles,
            "tiles_learnt_from": self.tiles_learnt_from,
            "file_digests": self.file_digests,
            "slides": [plain(slide) for slide in self.slides],
        }

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The record of the index in ``folder``.

        Raises:
            CorruptStoreError: missing, damaged, no index, or of another format version.
        """
        path = folder / RECORD_NAME
        try:
            values = json.loads(path.read_bytes())
        except OSError as error:
            raise damaged(folder, f"{RECORD_NAME} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise damaged(folder, f"{RECORD_NAME} is no JSON text: {error}") from error
        _check_kind(folder, values)
        try:
            return cls._parsed(values, path)
        except (KeyError, TypeError, AttributeError) as error:
            raise damaged(folder, f"{RECORD_NAME}: {error} is missing or wrong") from error

    @classmethod
    def _parsed(cls, values: Mapping[str, Any], path: Path) -> Self:
        return cls(
            header=Header.from_json(values, path),
            encoder=values["encoder"]["slug"],
            encoder_id=values["encoder"]["id"],
            descriptor=values["descriptor"],
            choice=IndexChoice.from_json(values["choice"]),
            tiles_learnt_from=values["tiles_learnt_from"],
            slides=tuple(IndexedSlide.from_json(slide) for slide in values["slides"]),
            file_digests=dict(values["file_digests"]),
        )


def damaged(folder: Path, why: str) -> CorruptStoreError:
    """The error of an index that cannot be used."""
    return CorruptStoreError(
        f"index {folder} cannot be used: {why}; remake it with `wsi-tower index --overwrite`"
    )


def _check_kind(folder: Path, values: Any) -> None:
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise damaged(folder, f"{RECORD_NAME} is no record of a wsi-tower index")
    found = values.get("format_version")
    if found != FORMAT_VERSION:
        newer = isinstance(found, int) and found > FORMAT_VERSION
        remedy = "update it" if newer else "remake the index with `wsi-tower index --overwrite`"
        raise CorruptStoreError(
            f"index {folder} has format version {found}; this wsi-tower reads {FORMAT_VERSION}, "
            f"so {remedy}"
        )
