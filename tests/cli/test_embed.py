"""`wsi-tower embed` as a user runs it."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from tests.embeddings.conftest import saved_encoder
from wsi_tower.cli.main import cli
from wsi_tower.embeddings import open_cache
from wsi_tower.workspace import Workspace

if TYPE_CHECKING:
    from click.testing import Result

ROOT = Path(__file__).parents[2]
CPU = ("--device", "cpu", "--threads", "2")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture(scope="module")
def tiled(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of two slides in tiles of 128 µm, with patients, and two encoders."""
    folder = tmp_path_factory.mktemp("embed")
    cohort = folder / "cohort.csv"
    cohort.write_text(
        "wsi,patient,site\n"
        f"{slides / 'phantom-01.svs'},p1,breast\n{slides / 'phantom-02.svs'},p2,colon\n"
    )
    workspace = folder / "w"
    arguments = ("--mpp", 1, "--tile-px", 128, "--no-report", "-j", 1)
    assert run("tile", cohort, "-w", workspace, *arguments).exit_code == 0
    saved_encoder(Workspace(workspace))
    saved_encoder(Workspace(workspace), "pairs", method="similarity", descriptor="head")
    return workspace


@pytest.fixture
def study(tiled: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiled, tmp_path / "study")
    return tmp_path / "study"


def test_the_method_s_newest_encoder_is_taken_and_told(study: Path) -> None:
    result = run("embed", "--method", "tower", "-w", study, *CPU)
    assert result.exit_code == 0, result.output
    told, *rows = result.stderr.splitlines()
    assert told == (
        "encoder tower (tower, 1 µm/px), described by pooled features, into embeddings/tower"
    )
    assert [row[:12] for row in rows] == ["[1/2] done  ", "[2/2] done  "]
    first, last = result.stdout.splitlines()
    assert first.startswith("2 slides: 2 done; ")
    assert first.endswith(f"tiles in {study / 'embeddings' / 'tower'}")
    page = Path(last.removeprefix("Look at "))
    assert "float32" in page.read_text()
    assert sorted(path.name for path in (page.parent / "pictures").iterdir()) == [
        "phantom-01.jpg",
        "phantom-02.jpg",
    ]
    with (page.parent / "slides.csv").open(newline="") as file:
        assert {row["encoder"] for row in csv.DictReader(file)} == {"tower"}
    cache = open_cache(study / "embeddings" / "tower" / "phantom-02.h5")
    assert cache.slide.cohort == {"patient": "p2", "site": "colon"}
    assert (cache.workspace / cache.slide.tile_store).is_dir()
    assert (cache.workspace / cache.slide.path).resolve().name == "phantom-02.svs"


def test_json_is_alone_and_a_rerun_skips(study: Path) -> None:
    arguments = ("embed", "--method", "similarity", "-w", study, *CPU, "--json", "--no-report")
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert told["report"] is None
    assert {row["status"] for row in told["slides"]} == {"done"}
    assert told["slides"][0]["details"]["descriptor"] == "head"
    again = json.loads(run(*arguments).stdout)
    assert {row["status"] for row in again["slides"]} == {"skipped"}
    other = run(*arguments, "--dtype", "float16")
    assert other.exit_code == 1
    assert {row["reason"] for row in json.loads(other.stdout)["slides"]} == {"other-settings"}
    assert run(*arguments, "--dtype", "float16", "--overwrite").exit_code == 0


@pytest.mark.slow
def test_two_workers_give_what_one_gives(study: Path) -> None:
    arguments = ("embed", "--encoder", "tower", "-w", study, *CPU, "--no-report")
    assert run(*arguments, "-j", 2, "--name", "two").exit_code == 0
    assert run(*arguments, "-j", 1, "--name", "one").exit_code == 0
    for name in ("phantom-01", "phantom-02"):
        one, two = (open_cache(study / "embeddings" / way / f"{name}.h5") for way in ("one", "two"))
        assert abs(one.features - two.features).max() < 1e-5


def test_two_workspaces_are_embedded_into_the_first(study: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "tiles").mkdir(parents=True)
    shutil.move(study / "tiles" / "phantom-02.zarr", other / "tiles" / "phantom-02.zarr")
    (other / "cohort.csv").write_text("slide_id,patient\nphantom-02,p7\n")
    result = run("embed", "-w", study, "-w", other, *CPU, "--no-report", "--encoder", "tower")
    assert result.exit_code == 0, result.output
    cache = open_cache(study / "embeddings" / "tower" / "phantom-02.h5")
    assert (cache.workspace / cache.slide.tile_store).resolve() == (
        other / "tiles" / "phantom-02.zarr"
    )
    assert cache.slide.cohort["patient"] == "p7"
    assert Workspace(study).cohort()["phantom-02"]["patient"] == "p7"


def test_stain_is_fitted_on_a_slide_and_the_reference_kept(study: Path, tmp_path: Path) -> None:
    arguments = ("embed", "--encoder", "tower", "-w", study, *CPU, "--no-report")
    result = run(*arguments, "--stain", "macenko", "--stain-reference", "phantom-01")
    assert result.exit_code == 0, result.output
    kept = study / "embeddings" / "tower-macenko" / "stain-reference.json"
    assert json.loads(kept.read_text())["source"] == "slide phantom-01"
    shutil.copy(kept, tmp_path / "ref.json")
    again = run(*arguments, "--stain", "macenko", "--stain-reference", tmp_path / "ref.json")
    assert "2 skipped" in again.stdout
    wrong = run(*arguments, "--stain", "reinhard", "--stain-reference", tmp_path / "ref.json")
    assert wrong.exit_code == 2
    assert "is for --stain macenko, not reinhard" in wrong.stderr


def test_a_damaged_store_costs_a_row_and_the_exit_code(study: Path) -> None:
    (study / "tiles" / "phantom-01.zarr" / "zarr.json").write_text("{}")
    result = run("embed", "--encoder", "tower", "-w", study, *CPU, "--json", "--no-report")
    assert result.exit_code == 1
    rows = {row["slide_id"]: row for row in json.loads(result.stdout)["slides"]}
    assert rows["phantom-01"]["reason"] == "corrupt-store"
    assert rows["phantom-02"]["status"] == "done"


@pytest.mark.parametrize(
    ("typed", "reason", "said"),
    [
        ("--method simclr", "encoder", "no encoder of method simclr, only of similarity, tower"),
        ("--encoder resnet1o", "encoder", "unknown encoder 'resnet1o'; did you mean resnet"),
        ("--encoder tower --method tower", "encoder", "both name an encoder"),
        ("--weights w.pt", "encoder", "weights w.pt need the name of their architecture"),
        ("--encoder-file no.py:make", "encoder", "no.py cannot be read"),
        ("--stain-reference ref.json", "settings", "is for --stain reinhard or macenko"),
        ("--stain reinhard --stain-reference b", "no-slides", "neither a file nor a slide"),
        ("--device gpu", "settings", "device must be auto, cpu, cuda or cuda:NUMBER"),
        ("--batch-size 0", "settings", "batch_size must be 1 or more"),
        ("--input-px 9 --resample", "settings", "both say how large tiles become"),
        ("--name a/b", "settings", "encoder name 'a/b' has other signs than letters"),
    ],
)
def test_what_cannot_be_ends_at_once(tiled: Path, typed: str, reason: str, said: str) -> None:
    result = run("embed", "-w", tiled, "--json", *typed.split())
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert (error["reason"], said in error["message"]) == (reason, True), error
    assert not (tiled / "embeddings").exists()


def test_an_empty_workspace_says_how_to_fill_it(tmp_path: Path) -> None:
    result = run("embed", "-w", tmp_path / "typo", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["reason"] == "no-slides"
    assert not (tmp_path / "typo").exists()


def test_slides_of_one_id_are_refused_by_both_names(tiled: Path, tmp_path: Path) -> None:
    shutil.copytree(tiled / "tiles", tmp_path / "b" / "tiles")
    result = run("embed", "-w", tiled, "-w", tmp_path / "b", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["reason"] == "duplicate-slide-id"


def test_another_resolution_is_a_row_with_its_remedy(study: Path) -> None:
    saved_encoder(Workspace(study), "fine", mpp=0.25)
    arguments = ("embed", "--encoder", "fine", "-w", study, *CPU, "--no-report")
    result = run(*arguments)
    assert result.exit_code == 1
    assert "was trained at 0.25 µm/px and these tiles of 128 px have 1 so" in result.stdout


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from click.testing import CliRunner; from wsi_tower.cli.main import cli; "
        "print(CliRunner().invoke(cli, ['embed', '--help']).output); "
        "print([name for name in ('torch', 'numpy', 'h5py') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert found.stdout.rstrip().endswith("[]")
    command = cli.get_command(click.Context(cli), "embed")
    assert command is not None
    assert all(isinstance(one, click.Option) and one.help for one in command.params)


def test_reading_caches_loads_no_torch() -> None:
    script = (
        "import sys; from wsi_tower.embeddings import open_cache; "
        "print([name for name in ('torch', 'zarr') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert found.stdout == "[]\n"


# ------------------------------------------------------------------ export


def test_export_takes_the_only_encoder_and_asks_where_there_are_two(
    study: Path, tmp_path: Path
) -> None:
    none = run("export", tmp_path / "out", "--format", "clam", "-w", study)
    assert none.exit_code == 2
    assert "has no embeddings; make them with `wsi-tower embed" in none.stderr
    assert run("embed", "--encoder", "tower", "-w", study, *CPU, "--no-report").exit_code == 0
    result = run("export", tmp_path / "out", "--format", "clam", "-w", study)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2 slides: 2 done; ")
    assert sorted(path.name for path in (tmp_path / "out").rglob("phantom*")) == [
        "phantom-01.h5",
        "phantom-01.pt",
        "phantom-02.h5",
        "phantom-02.pt",
    ]
    with (tmp_path / "out" / "slides.csv").open(newline="") as file:
        assert [row["case_id"] for row in csv.DictReader(file)] == ["p1", "p2"]
    run("embed", "--encoder", "pairs", "-w", study, *CPU, "--no-report")
    two = run("export", tmp_path / "out", "--format", "anndata", "-w", study)
    assert two.exit_code == 2
    assert "embeddings of pairs, tower; say which with --encoder" in two.stderr
    chosen = ("--format", "anndata", "--encoder", "pairs", "--json")
    told = json.loads(run("export", tmp_path / "ad", "-w", study, *chosen).stdout)
    assert {row["status"] for row in told["slides"]} == {"done"}
    assert (tmp_path / "ad" / "phantom-01.h5ad").is_file()


def test_export_of_a_damaged_cache_is_a_row(study: Path, tmp_path: Path) -> None:
    run("embed", "--encoder", "tower", "-w", study, *CPU, "--no-report")
    (study / "embeddings" / "tower" / "phantom-01.h5").write_bytes(b"broken")
    result = run("export", tmp_path / "out", "--format", "clam", "-w", study)
    assert result.exit_code == 1
    assert "1 done, 1 failed" in result.stdout
    with (tmp_path / "out" / "slides.csv").open(newline="") as file:
        assert [row["slide_id"] for row in csv.DictReader(file)] == ["phantom-02"]
