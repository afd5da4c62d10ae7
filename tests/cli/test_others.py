"""`info`, `doctor`, `phantom` and `demo` as a user runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wsi_tower.cli.main import cli
from wsi_tower.cli.pipeline import Stage, read_pipeline, shipped_pipeline
from wsi_tower.errors import SettingsError
from wsi_tower.tiles import TileStore
from wsi_tower.workspace import Workspace


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)


def test_info_tells_what_a_slide_says_of_itself(slides: Path) -> None:
    result = run("info", slides / "phantom-01.svs", "--json")
    (told,) = json.loads(result.stdout)
    assert told["size_l0"] == [3000, 2500]
    assert (told["mpp"], told["mpp_origin"]) == ([1.0, 1.0], "openslide")
    assert told["extent_mm"] == [3.0, 2.5]
    assert told["levels"][1] == {"size_px": [750, 625], "downsample": 4.0}


def test_info_in_words(slides: Path) -> None:
    said = run("info", slides / "phantom-01.svs").stdout
    assert "3000 × 2500 px, downsample 1" in said
    assert "openslide" in said


def test_info_goes_on_after_a_bad_file(slides: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.svs"
    bad.touch()
    result = run("info", bad, slides / "phantom-01.svs", "--json")
    assert result.exit_code == 1
    first, second = json.loads(result.stdout)
    assert first["error"]["reason"] == "unreadable"
    assert second["vendor"] == "aperio"


def test_info_of_a_store(slides: Path, tmp_path: Path) -> None:
    run("tile", slides / "phantom-01.svs", "-w", tmp_path, "--mpp", 1)
    (told,) = json.loads(run("info", tmp_path / "tiles" / "phantom-01.zarr", "--json").stdout)
    assert told["tile_px"] == 256
    assert told["pixels"] == "native"


def test_doctor_finds_a_working_machine(tmp_path: Path) -> None:
    result = run("doctor", "-w", tmp_path / "w", "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["problems"]) == (0, [])
    assert told["workspace"]["writable"] is True
    assert not (tmp_path / "w").exists(), "looking leaves nothing behind"
    assert set(told["readers"]) == {"openslide", "tiffslide", "flat"}
    assert told["packages"]["zarr"]
    assert told["openslide"]
    assert "Ready." in run("doctor", "-w", tmp_path / "w").stdout


def test_phantom_writes_slides_truth_and_a_list(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("phantom", out, "--slides", 2, "--size", "2mm×1.5mm", "--mpp", 2, "-j", 1)
    result = run(*arguments, "--json")
    assert json.loads(result.stdout)["slides"] == [
        str(out / "phantom-01.svs"),
        str(out / "phantom-02.svs"),
    ]
    assert (out / "truth" / "phantom-02.geojson").is_file()
    assert len((out / "slides.csv").read_text().splitlines()) == 3
    first = (out / "phantom-01.svs").read_bytes()
    assert run(*arguments).exit_code == 2, "what is there is not replaced unasked"
    assert run(*arguments, "--overwrite").exit_code == 0
    assert (out / "phantom-01.svs").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "14mm"], "'14mm' is not WIDTH×HEIGHT"),
        (["--size", "14×11"], "'14' is not a number with a unit"),
        (["--mpp", "0"], "0"),
        (["--slides", "0"], "0 phantom slides"),
        (["--tumour-outlines", "no.geojson"], "no.geojson have no pixel size"),
        (["--tumour-outlines", "no.geojson", "--tumour-mpp", "0.2"], "No such file"),
        (["--tumour-mpp", "0.2"], "0.2 µm/px but no file"),
    ],
)
def test_impossible_phantoms_are_refused(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = run("phantom", tmp_path / "out", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()


def test_phantom_refuses_outlines_without_use_before_it_writes(tmp_path: Path) -> None:
    outlines = tmp_path / "dots.geojson"
    outlines.write_text('{"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}')
    result = run("phantom", tmp_path / "out", "--tumour-outlines", outlines, "--tumour-mpp", 0.25)
    assert result.exit_code == 2
    assert "no area of more than 0.2 mm at 0.25 µm per unit" in result.stderr
    assert not (tmp_path / "out").exists()


def test_phantom_lays_on_outlines_and_labels_nuclei(tmp_path: Path) -> None:
    outlines = tmp_path / "a.geojson"
    outlines.write_text(
        '{"type": "Polygon", "coordinates": [[[0, 0], [900, 0], [900, 900], [0, 0]]]}'
    )
    asked = ("--slides", 1, "--size", "2mm×1.5mm", "--mpp", 2, "-j", 2, "--nuclei")
    out = tmp_path / "out"
    result = run("phantom", out, *asked, "--tumour-outlines", outlines, "--tumour-mpp", 0.5)
    assert result.exit_code == 0, result.output
    assert (out / "slides.csv").read_text().splitlines()[1].endswith(",tumour,micro")
    assert (out / "truth" / "phantom-01.nuclei.ome.zarr" / "zarr.json").is_file()


def test_phantom_into_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    result = run("phantom", tmp_path / "out")
    assert result.exit_code == 2
    assert "is a file; name a folder" in result.stderr


def test_demo_runs_the_stages_of_its_pipeline(tmp_path: Path) -> None:
    pipeline = tmp_path / "small.yaml"
    pipeline.write_text(
        "stages:\n"
        "  - run: [phantom, '{workspace}/s', --slides, '1', --size, 2mm×2mm, --mpp, '1']\n"
        "    only_without_slides: true\n"
        "  - run: [tile, '{workspace}/s', --mpp, '1', -w, '{workspace}', -j, '{workers}']\n"
    )
    result = run("demo", "-w", tmp_path / "w", "-j", 1, "--pipeline", pipeline)
    assert result.exit_code == 0, result.output
    pictures = [line.strip() for line in result.stdout.partition("Open these:")[2].splitlines()]
    named = [Path(line) for line in pictures if line]
    assert [path.suffix for path in named] == [".html", ".html", ".jpg"]
    page = named[0].read_text(encoding="utf-8")
    assert "2 stages are done" in page
    assert "wsi-tower tile" in page
    links = re.findall(r'<img[^>]* src="([^"]+)"', page)
    assert [(named[0].parent / link).resolve() for link in links] == [named[2].resolve()]
    assert all(path.is_file() for path in named)


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """The pipeline that is shipped, with next to nothing learnt."""
    text = shipped_pipeline("demo.yaml").read_text(encoding="utf-8")
    shorter = text.replace('--steps, "36", --batch-size, "32"', '--steps, "1", --batch-size, "4"')
    assert shorter != text
    path = tmp_path / "quick.yaml"
    path.write_text(shorter, encoding="utf-8")
    return path


def test_demo_takes_the_users_slides(slides: Path, tmp_path: Path, quick: Path) -> None:
    result = run("demo", slides, "-w", tmp_path / "w", "-j", 1, "--pipeline", quick)
    assert result.exit_code == 0, result.output
    assert "phantom-slides" not in result.stdout
    assert (tmp_path / "w" / "tiles" / "phantom-01.zarr").is_dir()
    assert (tmp_path / "w" / "encoders" / "tower" / "encoder.safetensors").is_file()
    shown = result.stdout.partition("Open these:")[2]
    assert "runs/tower/curves.png" in shown
    assert "runs/tower/restored.png" in shown
    assert "hits.png" in shown
    assert (tmp_path / "w" / "index" / "tower-reinhard").is_dir()


def test_demo_shows_what_there_is_although_a_slide_failed(
    slides: Path, tmp_path: Path, quick: Path
) -> None:
    (tmp_path / "bad.svs").touch()
    asked = ("-w", tmp_path / "w", "-j", 1, "--pipeline", quick)
    result = run("demo", slides, tmp_path / "bad.svs", *asked)
    assert result.exit_code == 1
    assert "phantom-01.jpg" in result.stdout.partition("Open these:")[2]


def test_demo_says_what_ended_badly_and_stops(tmp_path: Path) -> None:
    pipeline = tmp_path / "small.yaml"
    pipeline.write_text(
        "stages:\n"
        "  - run: [index, --encoder, none, -w, '{workspace}']\n"
        "  - run: [tile, '{workspace}/s', -w, '{workspace}']\n"
    )
    result = run("demo", "-w", tmp_path / "w", "--pipeline", pipeline)
    assert result.exit_code == 2
    page = (tmp_path / "w" / "reports" / "demo" / "index.html").read_text(encoding="utf-8")
    assert "1 stage of 1 did not end well" in page
    assert "exit code 2" in page


def test_a_stage_asks_about_the_middle_tile_of_the_first_slide(
    slides: Path, tmp_path: Path
) -> None:
    run("tile", slides, "--mpp", 2, "-w", tmp_path, "-j", 1, "--no-report")
    path = Workspace(tmp_path).tile_stores()[0]
    with TileStore.open(path) as store:
        tiles = len(store)
    filled = Stage(("query", "--slide", "{slide_id}", "--row", "{row}")).filled(
        slides=[], workspace=str(tmp_path), workers="1"
    )
    assert filled == ["query", "--slide", path.stem, "--row", str(tiles // 2)]


def test_stages_may_depend_on_whether_there_are_slides() -> None:
    assert Stage(("tile",)).is_wanted(has_slides=True)
    assert not Stage(("tile",), only_without_slides=True).is_wanted(has_slides=True)
    assert not Stage(("tile",), only_with_slides=True).is_wanted(has_slides=False)
    assert Stage(("tile",), only_with_slides=True).is_wanted(has_slides=True)


def test_the_shipped_pipeline_is_made_of_real_commands(slides: Path, tmp_path: Path) -> None:
    run("tile", slides, "--mpp", 2, "-w", tmp_path, "-j", 1, "--no-report")
    for stage in read_pipeline(shipped_pipeline("demo.yaml")):
        verb, *arguments = stage.filled(slides=["a.svs"], workspace=str(tmp_path), workers="1")
        command = cli.get_command(None, verb)  # type: ignore[arg-type]
        assert command is not None
        command.make_context(verb, arguments)


@pytest.mark.parametrize("content", ["", "stages: 3", "stages:\n  - run: tile", "a: [", "- 1"])
def test_broken_pipelines_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"pipeline .*broken\.yaml"):
        read_pipeline(path)
