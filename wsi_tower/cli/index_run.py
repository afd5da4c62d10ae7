"""What ``wsi-tower index`` does once its options are read: make, update or verify an index."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import click

from wsi_tower.errors import NoSlidesError, SettingsError
from wsi_tower.records import plain
from wsi_tower.retrieval import IndexSettings, TileIndex, build_index, verify_index
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wsi_tower.cli.options import Shared
    from wsi_tower.retrieval import IndexChange

__all__ = ["IndexRequest", "IndexSummary", "only_folder", "run_index", "run_verify"]


@dataclass(frozen=True)
class IndexRequest:
    """Everything a run of indexing was asked for."""

    workspaces: tuple[Workspace, ...]
    """Whose embeddings are indexed; the first takes the index."""
    encoder: str
    """Folder of the embeddings; empty: the only one."""
    settings: IndexSettings
    """How the index is made."""
    without: frozenset[str]
    """Slides to leave out."""
    overwrite: bool
    """Whether to make all of it anew."""
    quiet: bool
    """Whether to say nothing on the way."""

    @classmethod
    def parsed(cls, shared: Shared, **values: Any) -> Self:
        """From the command's options.

        Raises:
            SettingsError: a value cannot be right.
        """
        without, encoder = frozenset(values.pop("without")), values.pop("encoder")
        return cls(
            workspaces=tuple(Workspace(root.absolute()) for root in shared.workspaces),
            encoder=encoder,
            settings=IndexSettings(**values),
            without=without,
            overwrite=shared.overwrite,
            quiet=shared.json,
        )


@dataclass(frozen=True)
class IndexSummary:
    """What a run of indexing gave."""

    path: Path
    """Folder of the index."""
    change: IndexChange
    """What was done."""
    bytes: int
    """Size of the index on disk; its embeddings are not counted."""
    seconds: float
    """How long it took, start-up of the process not counted."""

    @property
    def notes(self) -> Iterator[str]:
        """What a user should know."""
        if self.change.has_outgrown:
            learnt_from = self.change.record.tiles_learnt_from
            yield (
                f"lists and codes were learnt from {learnt_from:,} tiles, far fewer than there are "
                f"now; --overwrite learns them anew and finds more"
            )

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        record = self.change.record
        return {
            "index": str(self.path),
            "encoder": record.encoder_id,
            "descriptor": record.descriptor,
            "status": self.change.status,
            "slides": len(record.slides),
            "tiles": record.tiles,
            "added": list(self.change.added),
            "removed": list(self.change.removed),
            "choice": plain(record.choice),
            "bytes": self.bytes,
            "bytes_per_tile": record.choice.bytes_per_tile,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def run_index(request: IndexRequest) -> IndexSummary:
    """Make an index, or bring it up to date.

    Raises:
        WsiTowerError: see `build_index`.
    """
    began = time.perf_counter()
    home = request.workspaces[0]
    encoder = request.encoder or only_folder(home.root / "embeddings", "wsi-tower embed")
    stages: set[str] = set()

    def told(what: str, *counts: int) -> None:
        del counts
        if what not in stages and not request.quiet:
            click.echo(f"{what} …", err=True)
        stages.add(what)

    change = build_index(
        request.workspaces,
        encoder,
        request.settings,
        without=request.without,
        overwrite=request.overwrite,
        progress=told,
    )
    path = home.index(encoder)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return IndexSummary(path, change, size, round(time.perf_counter() - began, 3))


def run_verify(request: IndexRequest) -> dict[str, Any]:
    """Verify an index; what it holds in plain values.

    Raises:
        CorruptStoreError: it, or an embedding cache of it, is not what was written.
    """
    began = time.perf_counter()
    home = request.workspaces[0]
    encoder = request.encoder or only_folder(home.root / "index", "wsi-tower index")
    index = TileIndex.open(home.index(encoder))
    verify_index(index)
    return {
        "index": str(index.path),
        "status": "verified",
        "slides": len(index.slides),
        "tiles": len(index),
        "seconds": round(time.perf_counter() - began, 3),
    }


def only_folder(parent: Path, maker: str) -> str:
    """Name of the one folder, an encoder's, below another.

    Raises:
        NoSlidesError: there is none.
        SettingsError: there are several.
    """
    found = sorted(path.name for path in parent.glob("[!.]*") if path.is_dir())
    if not found:
        raise NoSlidesError(
            f"there is nothing in {parent}; make it with `{maker}`, or choose another workspace "
            f"with -w"
        )
    if len(found) > 1:
        raise SettingsError(
            f"{parent} has several encoders: {', '.join(found)}; choose one with --encoder"
        )
    return found[0]
