"""`wsi-tower pairs` as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from wsi_tower.cli.main import cli
from wsi_tower.tiles import TileStore


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture(scope="module")
def tiled(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of two slides of 3 × 2.5 mm in tiles of 64 µm."""
    workspace = tmp_path_factory.mktemp("pairs")
    arguments = ("--mpp", 1, "--tile-px", 64, "--pixels", "none", "--no-report", "-j", 1)
    assert run("tile", slides, "-w", workspace, *arguments).exit_code == 0
    return workspace


def pairs(workspace: Path, *arguments: object) -> Result:
    return run("pairs", "-w", workspace, "--near", "200um", "--far", "1.5mm", *arguments)


def told(workspace: Path, *arguments: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(pairs(workspace, "--json", *arguments).stdout)
    return document


def test_a_table_tells_who_has_partners(tiled: Path) -> None:
    result = pairs(tiled)
    assert result.exit_code == 0, result.output
    head, first, second, last = result.stdout.splitlines()
    assert head.split()[:5] == ["slide", "tiles", "near", "distant", "left"]
    assert (first.split()[0], second.split()[0]) == ("phantom-01", "phantom-02")
    assert last.endswith("tiles have a near and a distant partner")
    assert not (tiled / "reports" / "pairs").exists()


def test_json_counts_what_a_search_finds(tiled: Path) -> None:
    document = told(tiled, "--pairs", 500)
    assert (document["near_um"], document["far_um"], document["seed"]) == (200, 1500, 0)
    for row in document["slides"]:
        with TileStore.open(row["store"]) as store:
            distances = np.hypot(*(store.centre_um[:, None] - store.centre_um).T)
        near = (distances <= 200).sum(axis=1) > 1
        distant = distances.max(axis=1) > 1500
        assert row["tiles"] == len(near)
        assert row["with_partner"] == {"near": near.sum(), "distant": distant.sum()}
        assert row["left_out"] == (~(near & distant)).sum()
        drawn = row["drawn"]
        assert drawn["near"]["pairs"] == drawn["distant"]["pairs"] == 500
        assert 64 <= drawn["near"]["min_um"] <= drawn["near"]["max_um"] <= 200
        assert 1500 < drawn["distant"]["min_um"] <= drawn["distant"]["max_um"] <= distances.max()


def test_the_seed_decides_what_is_drawn(tiled: Path) -> None:
    first, again, other = (told(tiled, "--seed", seed) for seed in (1, 1, 2))
    assert first["slides"] == again["slides"]
    assert first["slides"] != other["slides"]


def test_some_partners_come_from_other_slides(tiled: Path) -> None:
    for row in told(tiled, "--cross-slide", 0.25, "--pairs", 4000)["slides"]:
        assert row["drawn"]["distant"]["other_slides"] == pytest.approx(1000, abs=120)
        assert row["drawn"]["near"]["other_slides"] == 0


def test_plot_draws_a_picture_a_slide(tiled: Path, tmp_path: Path) -> None:
    for folder, option in ((tiled / "reports" / "pairs", "--plot"), (tmp_path, "--plot")):
        named = () if folder != tmp_path else (folder,)
        result = pairs(tiled, option, *named)
        looks = [line for line in result.stdout.splitlines() if line.startswith("Look at ")]
        assert [Path(line[len("Look at ") :]) for line in looks] == [
            folder / "phantom-01.png",
            folder / "phantom-02.png",
        ]
        for path in folder.iterdir():
            with Image.open(path) as picture:
                assert (picture.format, picture.width > 1000) == ("PNG", True)


def test_stores_can_be_named_once_or_twice(tiled: Path) -> None:
    store = tiled / "tiles" / "phantom-02.zarr"
    (row,) = told(tiled / "elsewhere", store, store)["slides"]
    assert row["slide_id"] == "phantom-02"


def test_impossible_distances_end_with_advice(tiled: Path) -> None:
    result = pairs(tiled, "--far", "30mm")
    assert result.exit_code == 0
    assert "0 of" in result.stdout
    assert "no tile has a distant partner" in result.stderr
    assert "take a smaller --far" in result.stderr
    assert pairs(tiled, "--near", "30um").stderr.count("take a larger --near") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--near", "200"), "--near: length '200' is not a number with a unit"),
        (("--far", "2 inches"), "--far: length '2 inches' is not a number with a unit"),
        (("--near", "5mm"), "far must be finite and at least near (5000 µm), not 1500 µm"),
        (("--near", "0mm"), "near must be above 0"),
        (("--cross-slide", "2"), "cross_slide is a share from 0 to 1, not 2"),
        (("no.zarr",), "store no.zarr does not exist"),
    ],
)
def test_what_cannot_be_is_refused(tiled: Path, arguments: tuple[str, ...], said: str) -> None:
    result = pairs(tiled, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_an_empty_workspace_says_how_to_fill_it(tmp_path: Path) -> None:
    result = pairs(tmp_path)
    assert result.exit_code == 2
    assert f"workspace {tmp_path} has no tile stores; make them with" in result.stderr
    error = json.loads(pairs(tmp_path, "--json").stdout)["error"]
    assert error["reason"] == "no-slides"


def test_pictures_never_go_into_a_store(tiled: Path) -> None:
    store = tiled / "tiles" / "phantom-01.zarr"
    result = pairs(tiled, "--plot", store)
    assert result.exit_code == 2
    assert "name stores before --plot" in result.stderr
    assert not list(store.glob("*.png"))


def test_one_slide_twice_would_make_near_tiles_distant(tiled: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.zarr"
    shutil.copytree(tiled / "tiles" / "phantom-01.zarr", copy)
    result = pairs(tiled, tiled / "tiles" / "phantom-01.zarr", copy)
    assert result.exit_code == 2
    assert "are both of slide phantom-01" in result.stderr


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize("damage", [Path.unlink, cut_short])
def test_a_damaged_store_is_named(tiled: Path, tmp_path: Path, damage: Any) -> None:
    store = tmp_path / "tiles" / "phantom-01.zarr"
    shutil.copytree(tiled / "tiles" / "phantom-01.zarr", store)
    (content,) = (store / "tiles" / "centre_um").glob("c*")
    damage(content)
    result = pairs(tmp_path)
    assert result.exit_code == 2
    assert f"store {store} cannot be used" in result.stderr
    assert "--overwrite" in result.stderr
