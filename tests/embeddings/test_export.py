"""Exports, as the tools that read them do: by key, shape and attribute."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch

from tests.embeddings.made import SLIDE, made_cache
from wsi_tower.embeddings import ExportJob, check_export_format, export_slide, write_bag_list
from wsi_tower.errors import CorruptStoreError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.embeddings import EmbeddingCache, ExportFormat


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    features = np.random.default_rng(0).normal(size=(23, 7)).astype(np.float32)
    slide = replace(SLIDE, cohort={"patient": "p1", "row": "front", "a/b": "c"})
    return made_cache(tmp_path / "w", features, slide=slide)


def exported(cache: EmbeddingCache, out: Path, form: ExportFormat) -> Path:
    outcome = export_slide(ExportJob(cache.path, out, form))
    assert (outcome.status, outcome.tiles) == ("done", 23)
    return out


def test_clam_bags_are_an_h5_and_a_tensor_of_one_name(
    cache: EmbeddingCache, tmp_path: Path
) -> None:
    out = exported(cache, tmp_path / "out", "clam")
    bag = torch.load(out / "pt_files" / "a.pt", weights_only=True)
    assert (bag.dtype, tuple(bag.shape)) == (torch.float32, (23, 7))
    with h5py.File(out / "h5_files" / "a.h5", "r") as file:
        np.testing.assert_array_equal(file["features"][:], bag.numpy())
        np.testing.assert_array_equal(file["coords"][:], cache.coords_l0)
        assert file["coords"].attrs["patch_size"] == 100
    write_bag_list([cache.path], out)
    with (out / "slides.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["case_id"], row["slide_id"], row["patient"]) == ("p1", "a", "p1")


def decoded(element: Any) -> Any:
    """An element read by what its attributes say, as the documented format has it."""
    encoding, version = element.attrs["encoding-type"], element.attrs["encoding-version"]
    assert version == {"anndata": "0.1.0", "dict": "0.1.0"}.get(encoding, "0.2.0")
    match encoding:
        case "array" | "numeric-scalar":
            return element[()]
        case "string":
            return element.asstr()[()]
        case "string-array":
            return element.asstr()[:].tolist()
        case "categorical":
            assert element.attrs["ordered"] in (True, False)
            names = decoded(element["categories"])
            return [names[code] for code in decoded(element["codes"])]
        case "dataframe":
            columns = list(element.attrs["column-order"])
            assert set(element) == {*columns, element.attrs["_index"]}
            values = {name: decoded(element[name]) for name in columns}
            return values | {"_index": decoded(element[element.attrs["_index"]])}
        case _:
            return {name: decoded(element[name]) for name in element}


def test_anndata_is_readable_by_its_documented_encodings(
    cache: EmbeddingCache, tmp_path: Path
) -> None:
    out = exported(cache, tmp_path / "out", "anndata")
    with h5py.File(out / "a.h5ad", "r") as file:
        assert file.attrs["encoding-type"] == "anndata"
        found = decoded(file)
    assert set(found) == {"X", "obs", "var", "layers", "obsm", "obsp", "varm", "varp", "uns"}
    np.testing.assert_array_equal(found["X"], cache.features)
    np.testing.assert_array_equal(found["obsm"]["spatial"], cache.centre_um)
    assert found["obs"]["_index"][3] == "a:3"
    assert found["obs"]["patient"] == ["p1"] * 23
    assert found["obs"]["cohort.row"] == ["front"] * 23
    assert found["obs"]["a_b"] == ["c"] * 23
    np.testing.assert_array_equal(found["obs"]["row"], np.arange(23))
    np.testing.assert_array_equal(found["obs"]["x_l0"], cache.coords_l0[:, 0])
    assert len(found["var"]["_index"]) == 7
    assert found["uns"]["wsi_tower"]["encoder"] == "tower"
    np.testing.assert_array_equal(
        found["uns"]["wsi_tower"]["slide_descriptor"], cache.slide_descriptor
    )


def test_parquet_has_a_row_a_tile(cache: EmbeddingCache, tmp_path: Path) -> None:
    from pyarrow import parquet

    table = parquet.read_table(exported(cache, tmp_path / "out", "parquet") / "a.parquet")
    assert table.column_names == [
        *("slide_id", "row", "x_l0", "y_l0", "x_um", "y_um"),
        *("patient", "cohort.row", "a/b", "features"),
    ]
    rows = table.to_pylist()
    assert len(rows) == 23
    np.testing.assert_array_equal([row["features"] for row in rows], cache.features)
    assert rows[12]["x_um"] == cache.centre_um[12, 0]
    assert {row["patient"] for row in rows} == {"p1"}


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SettingsError, match=r"pip install 'wsi-tower\[parquet\]'"):
        check_export_format("parquet")


def test_a_damaged_cache_is_named_and_nothing_is_written(
    cache: EmbeddingCache, tmp_path: Path
) -> None:
    cache.path.write_bytes(cache.path.read_bytes()[:500])
    with pytest.raises(CorruptStoreError, match=r"a\.h5"):
        export_slide(ExportJob(cache.path, tmp_path / "out", "clam"))
    assert not (tmp_path / "out").exists()


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(SettingsError, match="clam, anndata, parquet, not 'csv'"):
        check_export_format("csv")  # type: ignore[arg-type]
