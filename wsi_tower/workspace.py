"""Where things lie: the one folder convention that every stage shares.

::

    wsi-tower-workspace/
    ├── wsi-tower-workspace.json      marks the folder; slide discovery never descends into it
    ├── cohort.csv                    one row a slide: free columns of the slide lists
    ├── tiles/<slide_id>.zarr
    ├── runs/<name>/                  a run of training: settings, log, checkpoints, end
    ├── encoders/<name>/              what it learnt: safetensors and encoder.json
    ├── models/<name>/                what segments, or tells classes: safetensors and a record
    ├── segmentations/<model>/        masks and objects of each slide
    │   ├── <slide_id>.zarr
    │   └── <slide_id>.geojson
    ├── classifications/<model>/      class of each tile of each slide: CSV and a map
    ├── embeddings/<encoder>/<slide_id>.h5    descriptors of every tile
    ├── index/<encoder>/              what finds similar tiles among them
    └── reports/
        ├── <verb>-<time>/            a page, slides.csv and run.json a run
        │   └── pictures/<slide_id>.jpg
        ├── sweeps/<name>.csv         the runs of a sweep
        └── runs/<names>.png          runs compared
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsi_tower.errors import (
    CorruptStoreError,
    NoSlidesError,
    StorageError,
    StoreBusyError,
    storage_errors,
)
from wsi_tower.records import held_lock, write_text_aside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["MARKER_NAME", "WORKSPACE_FOLDERS", "Workspace"]

MARKER_NAME = "wsi-tower-workspace.json"
WORKSPACE_FOLDERS = frozenset(
    {
        *("tiles", "runs", "encoders", "models", "segmentations", "embeddings", "index"),
        *("classifications", "reports", ".locks"),
    }
)
"""What stands in a workspace beside the marker."""
_ID = "slide_id"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder that holds everything wsi-tower makes."""

    root: Path
    """The folder; made when something is first written."""

    @property
    def tiles(self) -> Path:
        """Folder of the tile stores."""
        return self.root / "tiles"

    @property
    def reports(self) -> Path:
        """Folder of the runs' reports."""
        return self.root / "reports"

    @property
    def encoders(self) -> Path:
        """Folder of the encoders."""
        return self.root / "encoders"

    @property
    def runs(self) -> Path:
        """Folder of the runs of training."""
        return self.root / "runs"

    @property
    def models(self) -> Path:
        """Folder of the segmentation models."""
        return self.root / "models"

    def model(self, name: str) -> Path:
        """Folder of a segmentation model."""
        return self.models / name

    def segmentations(self, model: str) -> Path:
        """Folder of what a model found on the slides."""
        return self.root / "segmentations" / model

    def segmentation(self, model: str, slide_id: str) -> Path:
        """The slide's masks by a model; what is exported of them has the same stem beside it."""
        return self.segmentations(model) / f"{slide_id}.zarr"

    def classifications(self, model: str) -> Path:
        """Folder of the classes that a model told of the slides' tiles."""
        return self.root / "classifications" / model

    def run(self, name: str) -> Path:
        """Folder of a run of training."""
        return self.runs / name

    def tile_store(self, slide_id: str) -> Path:
        """The slide's tile store."""
        return self.tiles / f"{slide_id}.zarr"

    def tile_stores(self) -> list[Path]:
        """Every tile store, by name.

        Raises:
            NoSlidesError: there is none.
        """
        found = sorted(path for path in self.tiles.glob("*.zarr") if not path.name.startswith("."))
        if not found:
            raise NoSlidesError(
                f"workspace {self.root} has no tile stores; make them with `wsi-tower tile SLIDES "
                f"-w {self.root}`, or choose another workspace with -w"
            )
        return found

    def embeddings(self, encoder: str) -> Path:
        """Folder of the embedding caches of an encoder, named by its slug."""
        return self.root / "embeddings" / encoder

    def embedding_cache(self, encoder: str, slide_id: str) -> Path:
        """The slide's embedding cache of an encoder."""
        return self.embeddings(encoder) / f"{slide_id}.h5"

    def embedded(self) -> list[str]:
        """Names of the encoders that have caches."""
        caches = (self.root / "embeddings").glob("[!.]*/[!.]*.h5")
        return sorted({path.parent.name for path in caches})

    def embedding_caches(self, encoder: str) -> list[Path]:
        """Every embedding cache of an encoder, by name.

        Raises:
            NoSlidesError: there is none; the message holds the encoders that there are.
        """
        caches = self.embeddings(encoder).glob("*.h5")
        found = sorted(path for path in caches if not path.name.startswith("."))
        if not found:
            folders = self.embedded()
            others = f"only of {', '.join(folders)}" if folders else "nor of any other"
            raise NoSlidesError(
                f"workspace {self.root} has no embeddings of encoder {encoder}, {others}; make "
                f"them with `wsi-tower embed --encoder {encoder} -w {self.root}`, or choose "
                f"another workspace with -w"
            )
        return found

    def index(self, encoder: str) -> Path:
        """The index of an encoder's embeddings, named by its slug."""
        return self.root / "index" / encoder

    def lock(self, artefact: Path) -> Path:
        """The lock file to hold while writing ``artefact``."""
        return self.root / ".locks" / f"{artefact.parent.name}-{artefact.name}.lock"

    @contextmanager
    def owned(self, artefact: Path, *, wait: bool) -> Iterator[bool]:
        """Hold the lock of ``artefact`` for the time of the block; false where there are no locks.

        Args:
            artefact: what is written in the block.
            wait: whether to wait while another process writes it.

        Raises:
            StoreBusyError: another process is writing it, and ``wait`` is off.
        """
        with held_lock(self.lock(artefact), wait=wait) as state:
            if state == "busy":
                raise StoreBusyError(
                    f"another process is writing {artefact}; wait for it, or stop it"
                )
            yield state == "held"

    def prepared(self) -> Workspace:
        """Make the folder, mark it, and check that it can be written.

        Raises:
            StorageError: a file stands there, it may not be written, or the disk is full.
        """
        marker = self.root / MARKER_NAME
        with storage_errors(self.root):
            if self.root.exists() and not self.root.is_dir():
                raise StorageError(
                    f"workspace {self.root} is a file; choose another folder with -w/--workspace"
                )
            self.root.mkdir(parents=True, exist_ok=True)
            is_marked = marker.exists()
        if not is_marked:
            write_text_aside(marker, json.dumps({"kind": "workspace", "format_version": 1}) + "\n")
        elif not os.access(self.root, os.W_OK):
            raise StorageError(f"workspace {self.root} may not be written; choose another with -w")
        return self

    def free_bytes(self) -> int:
        """Free space on the workspace's disk, also before the folder exists."""
        folder = self.root.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def merge_cohort(self, rows: Mapping[str, Mapping[str, str]]) -> None:
        """Add free columns by slide id to ``cohort.csv``; newer values replace older ones."""
        if not any(rows.values()):
            return
        path = self.root / "cohort.csv"
        with held_lock(self.lock(path), wait=True):
            merged = self.cohort()
            for slide_id, columns in rows.items():
                merged[slide_id] = merged.get(slide_id, {}) | dict(columns)
            write_text_aside(path, _cohort_csv(merged))

    def cohort(self) -> dict[str, dict[str, str]]:
        """The free columns of every slide, by slide id; empty where no list gave any.

        Raises:
            CorruptStoreError: the file was edited into something else.
        """
        path = self.root / "cohort.csv"
        if not path.exists():
            return {}
        # Spreadsheets put a byte order mark in front when they save the file.
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file, restkey="")
            names, rows = reader.fieldnames or (), list(reader)
        if _ID not in names or any("" in row for row in rows):
            raise CorruptStoreError(
                f"{path} is no table with a column {_ID} and as many values as columns in each "
                f"row; mend it, or remove it and run with the slide list again"
            )
        return {
            row[_ID]: {name: value or "" for name, value in row.items() if name != _ID}
            for row in rows
        }


def _cohort_csv(rows: Mapping[str, Mapping[str, str]]) -> str:
    columns = sorted({name for columns in rows.values() for name in columns} - {_ID})
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [_ID, *columns], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(rows[slide_id]) | {_ID: slide_id} for slide_id in sorted(rows))
    return text.getvalue()
