"""Caches in the forms of other tools: CLAM's bags, AnnData, Parquet."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import h5py
import numpy as np

from wsi_tower.batch import Outcome, unwatched
from wsi_tower.embeddings.anndata import write_anndata
from wsi_tower.embeddings.cache import open_cache
from wsi_tower.embeddings.slide import coordinate_attributes, printable
from wsi_tower.errors import SettingsError
from wsi_tower.records import file_aside, write_text_aside

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from wsi_tower.batch import Progress
    from wsi_tower.embeddings.cache import EmbeddingCache

__all__ = ["ExportFormat", "ExportJob", "check_export_format", "export_slide", "write_bag_list"]

ExportFormat: TypeAlias = Literal["clam", "anndata", "parquet"]


@dataclass(frozen=True, slots=True)
class ExportJob:
    """A cache to write in another form."""

    cache: Path
    """The cache."""
    out: Path
    """Folder that takes the files."""
    format: ExportFormat
    """Which form."""

    @property
    def slide_id(self) -> str:
        """Its id in the workspace."""
        return self.cache.stem

    @property
    def source(self) -> str:
        """The cache, as the loop shows it."""
        return str(self.cache)


def check_export_format(name: ExportFormat) -> None:
    """Refuse a form that cannot be written here.

    Raises:
        SettingsError: there is no such form, or a library for it is missing.
    """
    if name not in get_args(ExportFormat):
        raise SettingsError(
            f"format must be one of {', '.join(get_args(ExportFormat))}, not {name!r}"
        )
    if name == "parquet":
        _pyarrow()


def export_slide(job: ExportJob, wait: bool = True, progress: Progress = unwatched) -> Outcome:
    """Write a slide's cache in another form, in place of what an earlier export wrote.

    ============  ==================================================================
    form          files
    ============  ==================================================================
    ``clam``      ``h5_files/<slide>.h5`` and ``pt_files/<slide>.pt``
    ``anndata``   ``<slide>.h5ad``, features in ``X``, micrometres in ``obsm/spatial``
    ``parquet``   ``<slide>.parquet``, a row a tile
    ============  ==================================================================

    Args:
        job: what and where.
        wait: plays no part.
        progress: called when all is written.

    Raises:
        CorruptStoreError: the cache cannot be used.
        SettingsError: a library is missing.
        StorageError: the disk refused.
    """
    del wait
    cache = open_cache(job.cache)
    write = {"clam": _write_clam, "anndata": _write_h5ad, "parquet": _write_parquet}[job.format]
    paths = write(cache, job.out)
    progress(job.slide_id, len(cache), len(cache))
    megabytes = round(sum(path.stat().st_size for path in paths) / 1e6, 2)
    return Outcome("done", len(cache), {"encoder": cache.encoder_id, "megabytes": megabytes})


def write_bag_list(caches: Iterable[Path], out: Path) -> None:
    """Write ``slides.csv``, the table that CLAM splits: case, slide, and the cohort's columns.

    The case is the patient where the cohort has a column of that name, else the slide.

    Raises:
        CorruptStoreError: a cache cannot be used.
        StorageError: the disk refused.
    """
    rows = []
    for path in caches:
        slide = open_cache(path).slide
        case = slide.cohort.get("patient") or slide.slide_id
        rows.append({"case_id": case, "slide_id": slide.slide_id} | slide.cohort)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_aside(out / "slides.csv", text.getvalue())


def _write_clam(cache: EmbeddingCache, out: Path) -> list[Path]:
    import torch

    bag = out / "h5_files" / f"{cache.slide_id}.h5"
    with file_aside(bag) as aside, h5py.File(aside, "w") as made:
        made["features"] = np.asarray(cache.features, np.float32)
        made["coords"] = cache.coords_l0
        made["coords"].attrs.update(coordinate_attributes(cache.slide))
    tensor = out / "pt_files" / f"{cache.slide_id}.pt"
    # By handle: given a path, torch names the archive's folder by it and refuses a leading dot.
    with file_aside(tensor) as aside, aside.open("wb") as file:
        torch.save(torch.from_numpy(np.array(cache.features, np.float32)), file)
    return [bag, tensor]


def _write_h5ad(cache: EmbeddingCache, out: Path) -> list[Path]:
    path = out / f"{cache.slide_id}.h5ad"
    with file_aside(path) as aside, h5py.File(aside, "w") as file:
        write_anndata(file, cache)
    return [path]


def _write_parquet(cache: EmbeddingCache, out: Path) -> list[Path]:
    arrow, parquet = _pyarrow()
    features = np.ascontiguousarray(cache.features)
    columns: dict[str, Any] = {
        "slide_id": _repeated(arrow, printable(cache.slide_id), len(cache)),
        "row": np.arange(len(cache)),
        "x_l0": cache.coords_l0[:, 0],
        "y_l0": cache.coords_l0[:, 1],
        "x_um": cache.centre_um[:, 0],
        "y_um": cache.centre_um[:, 1],
    }
    for name, value in cache.slide.cohort_beside(columns).items():
        columns[name] = _repeated(arrow, value, len(cache))
    columns["features"] = arrow.FixedSizeListArray.from_arrays(
        arrow.array(features.ravel()), features.shape[1]
    )
    path = out / f"{cache.slide_id}.parquet"
    with file_aside(path) as aside:
        parquet.write_table(arrow.table(columns), aside)
    return [path]


def _repeated(arrow: Any, value: str, count: int) -> Any:
    return arrow.DictionaryArray.from_arrays(np.zeros(count, np.int32), [value])


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise SettingsError(
            "format parquet needs pyarrow; install it with: pip install 'wsi-tower[parquet]'"
        ) from error
    return pa, parquet
