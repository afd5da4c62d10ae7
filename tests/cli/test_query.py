"""`wsi-tower index`, `query` and `similar-map` as a user runs them."""

from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner, Result
from PIL import Image

from wsi_tower.cli.main import cli
from wsi_tower.embeddings import open_cache
from wsi_tower.geometry import Level0Point, LevelSize
from wsi_tower.slides import open_slide
from wsi_tower.tiles import TileStore

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.embeddings import EmbeddingCache

ENCODER = '''
import torch

class Colours(torch.nn.Module):
    """Mean and spread of each colour."""

    def forward(self, images):
        return torch.cat([images.mean((2, 3)), images.std((2, 3))], dim=1)

def make():
    return Colours()
'''
TILE_UM = 64.0


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)


def told(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.fixture(scope="module")
def made(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two slides of two patients, embedded by their colours, and an index."""
    workspace = tmp_path_factory.mktemp("query") / "ws"
    rows = ["wsi,patient,site"]
    rows += [f"{path},p{n},{site}" for n, (path, site) in enumerate(pairs(slides))]
    slide_list = workspace.with_name("slides.csv")
    slide_list.write_text("\n".join(rows) + "\n")
    encoder_file(workspace).write_text(ENCODER)
    tiles = ("--mpp", 1, "--tile-px", 64, "--pixels", "jpeg", "--no-report", "-j", 1)
    assert run("tile", slide_list, "-w", workspace, *tiles).exit_code == 0
    named = ("--encoder-file", f"{encoder_file(workspace)}:make", "--no-report")
    assert run("embed", "-w", workspace, *named).exit_code == 0
    assert run("index", "-w", workspace).exit_code == 0
    return workspace


def pairs(slides: Path) -> list[tuple[Path, str]]:
    return list(zip(sorted(slides.glob("*.svs")), ("breast", "lung"), strict=True))


def encoder_file(workspace: Path) -> Path:
    return workspace.with_name("colours.py")


def cache_of(workspace: Path, number: int) -> EmbeddingCache:
    return open_cache(workspace / "embeddings" / "colours-make" / f"phantom-0{number}.h5")


@pytest.fixture
def changing(made: Path, tmp_path: Path) -> Path:
    """A copy of the workspace that a test may change."""
    shutil.copytree(made, tmp_path / "ws")
    return tmp_path / "ws"


def test_index_says_what_it_chose_and_why(made: Path) -> None:
    result = run("index", "-w", made)
    assert result.exit_code == 0
    tiles = sum(len(cache_of(made, number)) for number in (1, 2))
    head, why = result.stdout.splitlines()
    assert f"unchanged; 2 slides, {tiles:,} tiles of 6 values" in head
    assert why.startswith(f"  flat: {tiles:,} tiles, fewer than 1,000,000")
    document = told("index", "-w", made)
    assert (document["status"], document["slides"], document["tiles"]) == ("unchanged", 2, tiles)
    assert document["choice"]["kind"] == "flat"


def test_index_verifies(changing: Path) -> None:
    document = told("index", "--verify", "-w", changing)
    assert document["status"] == "verified"
    positions = changing / "index" / "colours-make" / "shard-0" / "centre_um.npy"
    positions.write_bytes(positions.read_bytes()[:-4] + b"\0\0\0\0")
    result = run("index", "--verify", "-w", changing)
    assert result.exit_code == 2
    assert "shard-0/centre_um.npy is not what was written" in result.stderr


def test_index_leaves_slides_out_and_takes_them_in_again(changing: Path) -> None:
    document = told("index", "-w", changing, "--without", "phantom-02")
    assert (document["status"], document["removed"]) == ("updated", ["phantom-02"])
    document = told("index", "-w", changing)
    assert (document["status"], document["added"]) == ("updated", ["phantom-02"])


def test_query_by_row_gives_what_a_loop_gives(made: Path) -> None:
    document = told("query", "-w", made, "--slide", "phantom-01", "--row", 30, "--per-slide", 0)
    one, other = cache_of(made, 1), cache_of(made, 2)
    by_hand = np.linalg.norm(other.features.astype(float) - one.features[30], axis=1)
    order = np.argsort(by_hand, kind="stable")[:12]
    hits = document["hits"]
    assert [hit["row"] for hit in hits] == order.tolist()
    np.testing.assert_allclose([hit["distance"] for hit in hits], by_hand[order], rtol=1e-6)
    first = hits[0]
    assert (first["slide"], first["patient"], first["site"]) == ("phantom-02", "p1", "lung")
    assert first["xy_l0"] == other.coords_l0[order[0]].tolist()
    assert first["centre_um"] == other.centre_um[order[0]].tolist()
    assert document["query"]["row"] == 30


def test_query_by_position_is_that_by_row(made: Path) -> None:
    x_um, y_um = cache_of(made, 1).centre_um[30]
    at = f"{(x_um + 20) / 1000}mm,{y_um - 20}um"
    by_place = told("query", "-w", made, "--slide", "phantom-01", "--at", at)
    by_row = told("query", "-w", made, "--slide", "phantom-01", "--row", 30)
    assert by_place["hits"] == by_row["hits"]


def test_a_table_is_printed(made: Path) -> None:
    result = run("query", "-w", made, "--slide", "phantom-01", "--row", 30, "-k", 2)
    head, first, _, last = result.stdout.splitlines()
    assert head.split() == ["slide", "row", "mm", "distance", "patient", "site"]
    assert first.split()[:2] == ["1", "phantom-02"]
    assert last.startswith("2 hits among ")


def test_out_writes_table_outlines_and_picture(made: Path, tmp_path: Path) -> None:
    document = told(
        *("query", "-w", made, "--slide", "phantom-01", "--row", 30, "--out", tmp_path / "out"),
        *("--like", "phantom-02:3", "--unlike", "phantom-02:4"),
    )
    names = ["hits.json", "hits.csv", "geojson/phantom-02.geojson", "hits.png"]
    assert document["files"] == [str(tmp_path / "out" / name) for name in names]
    with (tmp_path / "out" / "hits.csv").open() as file:
        assert [int(row["row"]) for row in csv.DictReader(file)] == [
            hit["row"] for hit in document["hits"]
        ]
    features = json.loads((tmp_path / "out" / names[2]).read_text())["features"]
    assert len(features) == len(document["hits"])
    with Image.open(tmp_path / "out" / "hits.png") as picture:
        assert (picture.format, picture.width > 1000) == ("PNG", True)


def test_out_without_a_folder_goes_to_the_reports(changing: Path) -> None:
    result = run("query", "-w", changing, "--slide", "phantom-01", "--row", 30, "--out")
    assert result.exit_code == 0, result.output
    assert (changing / "reports" / "query-phantom-01-30" / "hits.png").exists()


def test_query_by_region(made: Path, tmp_path: Path) -> None:
    cache = cache_of(made, 1)
    left, top = (int(value) for value in cache.coords_l0[30])
    right, bottom = left + 140, top + 140
    ring = [[left, top], [right, top], [right, bottom], [left, bottom]]
    geometry = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    (tmp_path / "region.geojson").write_text(json.dumps(geometry))
    asked = ("--slide", "phantom-01", "--region", tmp_path / "region.geojson")
    document = told("query", "-w", made, *asked, "-k", 4, "--out", tmp_path / "out")
    assert document["query"]["kind"] == "region"
    assert 30 in document["query"]["rows"]
    assert len(document["query"]["rows"]) > 1
    assert (tmp_path / "out" / "hits.png").exists()


def test_a_crop_finds_the_tile_that_it_was_cut_from(made: Path, tmp_path: Path) -> None:
    """Cut from the store, enlarged to twice its resolution: it must come back first."""
    with TileStore.open(made / "tiles" / "phantom-02.zarr") as store:
        tile = Image.fromarray(store.pixels[40])
    tile.resize((128, 128), Image.Resampling.BICUBIC).save(tmp_path / "crop.png")
    encoder = ("--encoder-file", f"{encoder_file(made)}:make")
    asked = ("--image", tmp_path / "crop.png", "--mpp", 0.5)
    document = told("query", "-w", made, *asked, *encoder, "-k", 3, "--out", tmp_path / "out")
    assert (document["hits"][0]["slide"], document["hits"][0]["row"]) == ("phantom-02", 40)
    assert document["query"]["mpp"] == 0.5
    assert (tmp_path / "out" / "hits.png").exists()


def test_similar_slides(made: Path, tmp_path: Path) -> None:
    asked = ("--slide", "phantom-01", "--level", "slide", "--out", tmp_path)
    document = told("query", "-w", made, *asked)
    (hit,) = document["hits"]
    assert (hit["slide"], hit["site"]) == ("phantom-02", "lung")
    one, other = (cache_of(made, number).slide_descriptor for number in (1, 2))
    assert hit["distance"] == pytest.approx(float(np.linalg.norm(one - other)), rel=1e-5)
    assert (tmp_path / "hits.png").exists()
    assert "only 1 of 12 hits" in document["notes"][0]


def test_a_map_paints_a_slide(made: Path, tmp_path: Path) -> None:
    asked = ("--slide", "phantom-01", "--row", 30, "--on", "phantom-02", "--out", tmp_path)
    document = told("similar-map", "-w", made, *asked)
    one, other = cache_of(made, 1), cache_of(made, 2)
    by_hand = np.linalg.norm(other.features.astype(float) - one.features[30], axis=1)
    assert document["nearest"] == pytest.approx(by_hand.min(), rel=1e-5)
    with (tmp_path / "similarity.csv").open() as file:
        distances = [float(row["distance"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(distances, by_hand, rtol=1e-5)
    group = zarr.open_group(tmp_path / "similarity.zarr", mode="r")
    image = np.asarray(zarr.open_array(tmp_path / "similarity.zarr" / "0", mode="r")[:])
    ome: Any = group.attrs["ome"]
    scale = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == [TILE_UM, TILE_UM]
    x, y = other.coords_l0[by_hand.argmin()] // 64
    assert image[y, x] == image.max() == 100
    assert (image > 0).sum() == len(other)
    with Image.open(tmp_path / "similarity.png") as picture:
        assert picture.format == "PNG"
    result = run("similar-map", "-w", made, *asked)  # again, over what is there
    assert result.stdout.splitlines()[0].startswith("phantom-02: ")


def damaged_index(workspace: Path) -> None:
    (workspace / "index" / "colours-make" / "index.json").write_text("{")


def later_index(workspace: Path) -> None:
    path = workspace / "index" / "colours-make" / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 9}))


def damaged_cache(workspace: Path) -> None:
    cache_of(workspace, 2).path.write_bytes(b"broken")


def changed_cache(workspace: Path) -> None:
    source = encoder_file(workspace)
    source.write_text(ENCODER.replace("images.std((2, 3))", "images.std((2, 3)) * 2"))
    named = ("--encoder-file", f"{source}:make", "--no-report", "--overwrite")
    assert run("embed", "-w", workspace, *named).exit_code == 0


def other_encoder(workspace: Path) -> None:
    source = encoder_file(workspace)
    source.write_text(ENCODER.replace("images.std((2, 3))", "images.amax((2, 3))"))


def no_index(workspace: Path) -> None:
    shutil.rmtree(workspace / "index")


ROW = ("--slide", "phantom-01", "--row", 30)


@pytest.mark.parametrize(
    ("damage", "arguments", "said"),
    [
        (damaged_index, ROW, "index.json is no JSON text"),
        (later_index, ROW, "has format version 9; this wsi-tower reads 1, so update it"),
        (damaged_cache, ROW, "phantom-02.h5 cannot be used"),
        (changed_cache, ROW, "phantom-01.h5 changed after it was indexed"),
        (no_index, ROW, "make it with `wsi-tower index`"),
        (None, (*ROW, "--where", "site=brain"), "no slide is left to answer: none of index"),
        (None, (*ROW, "--where", "organ=brain"), "no slide of index"),
        (None, (*ROW, "--where", "patient=p0"), "allow it with --own-slide or --own-patient"),
        (None, (*ROW, "--encoder", "tower"), "has no index of encoder tower, only of colours-make"),
        (None, ("--slide", "phantom-01", "--at", "99mm,1mm"), "outside slide phantom-01, which is"),
        (None, ("--slide", "phantom-01", "--at", "0mm,0mm"), "the nearest is row"),
        (None, ("--slide", "phantom-01", "--at", "5"), "is not X,Y with units, as in 12.3mm,4.5mm"),
        (None, ("--slide", "phantom-01", "--row", 99999), "rows go from 0 to"),
        (None, ("--slide", "phantom-1", "--row", 1), "such as phantom-01"),
        (None, ("--slide", "phantom-01"), "a query takes one of --slide with --row"),
        (None, (*ROW, "--at", "1mm,1mm"), "both name a tile; give one"),
        (None, (*ROW, "--region", "nowhere.geojson"), "a query takes one of --slide"),
        (None, ("--slide", "phantom-01", "--region", "nowhere"), "annotation file nowhere cannot"),
        (None, ("--image", "CROP", "--encoder-file", "FILE"), "has no pixel size; give its µm per"),
        (None, ("--image", "nowhere.png", "--mpp", 0.5), "nowhere.png does not exist"),
        (None, ("--image", "CROP", "--mpp", 0.5), "name it with --encoder-file"),
        (
            None,
            ("--image", "CROP", "--mpp", 0.1, "--encoder-file", "FILE"),
            "is smaller than a tile of 64 µm",
        ),
        (
            other_encoder,
            ("--image", "CROP", "--mpp", 0.5, "--encoder-file", "FILE"),
            "do not belong together: encoder",
        ),
    ],
)
def test_bad_input_ends_with_advice(
    made: Path, tmp_path: Path, damage: Any, arguments: tuple[object, ...], said: str
) -> None:
    workspace = made
    if damage is not None:
        shutil.copytree(made, tmp_path / "ws")
        workspace = tmp_path / "ws"
        shutil.copyfile(encoder_file(made), encoder_file(workspace))
        damage(workspace)
    Image.new("RGB", (140, 140), (200, 120, 160)).save(tmp_path / "crop.png")
    given = {"CROP": tmp_path / "crop.png", "FILE": f"{encoder_file(workspace)}:make"}
    typed = [given.get(str(one), one) for one in arguments]
    result = run("query", "-w", workspace, *typed)
    assert result.exit_code == 2
    assert said in result.stderr.replace("\n", " ")
    document = json.loads(run("query", "-w", workspace, *typed, "--json").stdout)
    assert said in document["error"]["message"]


def test_index_without_embeddings_or_with_several_says_so(changing: Path, tmp_path: Path) -> None:
    result = run("index", "-w", tmp_path / "empty")
    assert (result.exit_code, "make it with `wsi-tower embed`" in result.stderr) == (2, True)
    shutil.copytree(changing / "embeddings" / "colours-make", changing / "embeddings" / "b")
    result = run("index", "-w", changing)
    assert "has several encoders: b, colours-make; choose one with --encoder" in result.stderr
    assert run("index", "-w", changing, "--encoder", "b").exit_code == 0
    result = run("index", "-w", changing, "--encoder", "c")
    assert "no embeddings of encoder c, only of b, colours-make" in result.stderr


def test_a_map_needs_a_slide(made: Path, tmp_path: Path) -> None:
    result = run("similar-map", "-w", made, "--like", "phantom-01:3")
    assert "no slide to paint; name one with --on SLIDE" in result.stderr


@pytest.mark.real
def test_a_crop_of_a_real_slide_finds_its_tile(shared_data: Path, tmp_path: Path) -> None:
    """Tiles of 64 px at 1 µm/px; the crop is of the file's own pixels, at 0.499 µm/px."""
    source = shared_data / "slides" / "CMU-1-Small-Region.svs"
    workspace = tmp_path / "ws"
    encoder_file(workspace).write_text(ENCODER)
    tiles = ("--mpp", 1, "--tile-px", 64, "--pixels", "lossless", "--no-report", "-j", 1)
    assert run("tile", source, "-w", workspace, *tiles).exit_code == 0
    encoder = ("--encoder-file", f"{encoder_file(workspace)}:make")
    assert run("embed", "-w", workspace, *encoder, "--no-report").exit_code == 0
    assert run("index", "-w", workspace).exit_code == 0
    with TileStore.open(workspace / "tiles" / "CMU-1-Small-Region.zarr") as store:
        row, side = len(store) // 2, store.plan.footprint_l0
        corner = Level0Point(*store.xy_l0[row].tolist())
        mpp = store.slide.mpp.mean
    with open_slide(source) as slide:
        crop = slide.read_region(corner, 0, LevelSize(side, side))
    Image.fromarray(crop).save(tmp_path / "crop.png")
    asked = ("--image", tmp_path / "crop.png", "--mpp", mpp)
    document = told("query", "-w", workspace, *asked, *encoder, "-k", 3, "--per-slide", 0)
    assert document["hits"][0]["row"] == row
    result = run("query", "-w", workspace, "--slide", "CMU-1-Small-Region", "--row", row)
    assert (result.exit_code, "allow it with --own-slide" in result.stderr) == (2, True)
    own = ("--slide", "CMU-1-Small-Region", "--row", row, "--own-slide", "--per-slide", 0)
    hits = told("query", "-w", workspace, *own)["hits"]
    assert len(hits) == 12
    assert row not in {hit["row"] for hit in hits}
