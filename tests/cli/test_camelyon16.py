"""The recipe of docs/reproduce-camelyon16.md, on phantoms laid out as the data set is."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import click
import pytest
import yaml
from click.testing import CliRunner

from tests.cli.studies import asap_box
from wsi_tower.cli.evaluate import command as evaluate
from wsi_tower.cli.main import cli
from wsi_tower.cli.pipeline import Stage, read_pipeline, shipped_pipeline
from wsi_tower.phantom import PhantomSettings, write_phantom

if TYPE_CHECKING:
    from pathlib import Path

NAMES = (
    "training/normal/normal_001",
    "training/tumor/tumor_001",
    "testing/images/test_001",
    "testing/images/test_002",
    "testing/images/test_003",
)
PHANTOMS = PhantomSettings(len(NAMES), width_um=1600, height_um=1200, mpp=1, pen_every=0)
SHORTER = {
    "tile": ["--tile-px", "64"],
    "pretrain": [
        *("--preset", "small", "--backbone", "test_resnet", "--start", "random"),
        *("--steps", "2", "--batch-size", "4", "--crop-px", "32", "--near", "200um"),
        *("--far", "800um"),
    ],
    "addr": ["--near", "200um", "--far", "800um"],
}
"""What is said beside on small slides; what is said last counts."""


def stages() -> list[Stage]:
    return read_pipeline(shipped_pipeline("camelyon16.yaml"))


@pytest.fixture(scope="module")
def camelyon16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders and names of the official download; two test slides have a lesion."""
    root = tmp_path_factory.mktemp("camelyon") / "CAMELYON16"
    for index, name in enumerate(NAMES):
        drawn = root.parent / "drawn" / f"{index}.svs"
        write_phantom(drawn, PHANTOMS, index)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        drawn.rename(root / f"{name}.tif")
    for part, slides in (("training", ["tumor_001"]), ("testing", ["test_001", "test_002"])):
        folder = root / part / "lesion_annotations"
        folder.mkdir()
        for slide in slides:
            (folder / f"{slide}.xml").write_text(asap_box((200, 100, 1200, 1000), "_0"))
    return root


@pytest.mark.slow
def test_the_recipe_ends_with_the_papers_table(camelyon16: Path, tmp_path: Path) -> None:
    shorter = []
    for stage in stages():
        verb, *rest = stage.arguments
        if "imagenet" in rest:  # weights from the network
            continue
        shorter.append({"run": [*stage.arguments, *SHORTER.get(rest[0], SHORTER.get(verb, []))]})
    pipeline = tmp_path / "shorter.yaml"
    pipeline.write_text(yaml.safe_dump({"stages": shorter}))
    home = tmp_path / "c16"
    asked = ["demo", str(camelyon16), "--pipeline", str(pipeline), "-w", str(home), "-j", "1"]
    result = CliRunner().invoke(cli, asked, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    encoders = ["npid-reinhard", "similarity-reinhard"]
    for table, column in (("addr.csv", "addr"), ("retrieval.csv", "retrieval.top_1.value")):
        with (home / table).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["encoder"] for row in rows if row["role"] == "encoder"] == encoders
        assert sum(row["role"] == "floor" for row in rows) >= 2
        assert all(float(row[column]) >= 0 for row in rows)
        assert {row["slides"] for row in rows} == {"3"}
    assert "1 of 3 slides have no annotation file" in result.stderr
    assert (home / "test" / "reports" / "evaluate" / "similarity-reinhard.png").is_file()


def test_every_stage_is_a_command_that_parses() -> None:
    for stage in stages():
        verb, *arguments = stage.filled(slides=["CAMELYON16"], workspace="c16", workers="1")
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        if command is evaluate:
            verb, *arguments = arguments
            command = evaluate.commands[verb]
        command.make_context(verb, arguments)


def test_every_folder_of_the_data_set_is_named_within_it() -> None:
    filled = [word for stage in stages() for word in stage.filled(
        slides=["C"], workspace="w", workers="1")]  # fmt: skip
    assert {word for word in filled if word.startswith("C/")} == {
        "C/training",
        "C/testing",
        "C/testing/lesion_annotations",
    }
