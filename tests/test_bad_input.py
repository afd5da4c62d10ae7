"""Bad input from outside: a clear row within seconds, bounded memory, the other slides done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from tests import hostile
from wsi_tower.phantom import PhantomSettings, write_phantom
from wsi_tower.tiles import TileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS = 20.0
"""Wall clock for the whole command, start-up and a sound slide included."""
MEGABYTES = 1000


@dataclass
class Run:
    """What a run of the command gave."""

    exit_code: int
    document: dict[str, Any]
    stderr: str
    seconds: float
    peak_mb: float

    def row(self, slide_id: str) -> dict[str, Any]:
        return next(row for row in self.document["slides"] if row["slide_id"] == slide_id)


MEASURED = """
import atexit, sys
from wsi_tower.cli.main import main
def tell():
    # getrusage would count the parent's memory from before exec too
    status = open("/proc/self/status").read()
    print("PEAK_KB", status.partition("VmHWM:")[2].split()[0], file=sys.stderr)
atexit.register(tell)
main()
"""

AS_NOBODY = """
import os, pwd, sys
from pathlib import Path
from click.testing import CliRunner
from wsi_tower.cli.main import cli
warm_up, *arguments = sys.argv[1:]
# Python itself may lie where nobody cannot read: import everything while it still can.
CliRunner().invoke(cli, ["tile", warm_up, "-w", warm_up + ".w", "-j", "1"])
nobody = pwd.getpwnam("nobody")
os.setegid(nobody.pw_gid)
os.seteuid(nobody.pw_uid)
cli(arguments)
"""


def tile(*arguments: object, as_nobody: Path | None = None) -> Run:
    """Run `wsi-tower tile --json` as a process of its own and measure it.

    ``as_nobody`` is a sound slide to warm up on before the process becomes another user.
    """
    words = ["tile", *map(str, arguments), "--json"]
    command = [sys.executable, "-c", MEASURED, *words]
    if as_nobody:
        command = [sys.executable, "-c", AS_NOBODY, str(as_nobody), *words]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stdout, stderr = process.communicate(timeout=120)
    stderr, _, peak_kb = stderr.partition("PEAK_KB")
    peak_mb = int(peak_kb or 0) / 1000
    seconds = time.perf_counter() - began
    return Run(process.returncode, json.loads(stdout), stderr, seconds, peak_mb)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound slide of 2 × 2 mm at 0.5 µm/px."""
    path = tmp_path_factory.mktemp("good") / "good.svs"
    write_phantom(path, PhantomSettings(1, width_um=2000, height_um=2000, mpp=0.5), 0)
    return path


def left_behind(workspace: Path) -> set[str]:
    """What stands beside whole stores."""
    stores = workspace / "tiles"
    return {path.name for path in stores.glob("*") if path.suffix != ".zarr"}


BAD: list[tuple[str, Callable[[Path], Path], str, str, str]] = [
    ("zero.svs", hostile.zero_bytes, "failed", "unreadable", "is empty (0 bytes)"),
    ("text.svs", hostile.text, "failed", "unreadable", "not what its name says"),
    ("offsets.svs", hostile.offsets_beyond_end, "failed", "unreadable", "copy it again"),
    ("othersize.svs", hostile.other_jpeg_size, "failed", "unreadable", "1024 × 1024 px"),
    ("huge.svs", hostile.huge_dimensions, "failed", "unreadable", "1073741824"),
    ("bomb.tif", hostile.deflate_bomb, "failed", "unreadable", "4.8 GB"),
    ("tile.tif", hostile.huge_tile, "failed", "unreadable", "3.2 GB"),
    ("jpegtile.svs", hostile.huge_jpeg_tile, "failed", "unreadable", "3.2 GB"),
    ("bomb.png", hostile.png_bomb, "unsupported", "unsupported-format", "megapixels"),
    ("tag.svs", hostile.endless_tag, "failed", "unreadable", "tag.svs"),
    ("white.svs", hostile.all_white, "empty", "no-tissue", "highest: 0"),
    ("small.svs", hostile.smaller_than_a_tile, "failed", "smaller-than-one-tile", "100 × 80 px"),
]


@pytest.mark.parametrize(
    ("name", "build", "status", "reason", "said"), BAD, ids=[row[0] for row in BAD]
)
def test_a_bad_slide_is_a_row_and_the_good_one_is_done(
    good: Path,
    tmp_path: Path,
    name: str,
    build: Callable[[Path], Path],
    status: str,
    reason: str,
    said: str,
) -> None:
    bad = build(tmp_path / name)
    workspace = tmp_path / "w"
    run = tile(bad, good, "-w", workspace, "-j", 1, "--mpp-of", f"{name}=0.5")
    row = run.row(bad.stem)
    assert (row["status"], row["reason"]) == (status, reason), row["message"]
    assert said in row["message"]
    assert bad.name in row["message"]
    assert run.row("good")["status"] == "done"
    assert run.exit_code == (0 if status == "empty" else 1)
    assert left_behind(workspace) == set()
    assert run.seconds < SECONDS
    assert run.peak_mb < MEGABYTES


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.98])
def test_a_truncated_slide_is_a_row(good: Path, tmp_path: Path, share: float) -> None:
    bad = hostile.truncated(tmp_path / "cut.svs", good, share)
    run = tile(bad, good, "-w", tmp_path / "w", "-j", 1)
    assert (run.row("cut")["status"], run.row("cut")["reason"]) == ("failed", "unreadable")
    assert "copy" in run.row("cut")["message"]
    assert run.row("good")["status"] == "done"
    assert left_behind(tmp_path / "w") == set()


def test_cyclic_pages_end(good: Path, tmp_path: Path) -> None:
    bad = hostile.cyclic_pages(tmp_path / "cyclic.svs")
    run = tile(bad, good, "-w", tmp_path / "w", "-j", 1)
    assert run.row("cyclic")["status"] in ("failed", "empty")
    assert run.row("good")["status"] == "done"
    assert run.seconds < SECONDS


def test_a_flat_image_without_pixel_size_says_how_to_give_it(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "flat.png"), np.full((300, 400, 3), 150, np.uint8))
    run = tile(tmp_path / "flat.png", "-w", tmp_path / "w")
    row = run.row("flat")
    assert (row["status"], row["reason"], run.exit_code) == ("failed", "no-pixel-size", 1)
    assert "--mpp-of flat.png=0.25" in row["message"]
    assert "mpp column" in row["message"]


@pytest.mark.parametrize("value", [0.05, 0, -1, 101, "nan"])
def test_an_impossible_pixel_size_is_refused_with_its_value(
    good: Path, tmp_path: Path, value: object
) -> None:
    run = tile(good, "-w", tmp_path / "w", "--mpp-of", f"good.svs={value}")
    row = run.row("good")
    assert row["reason"] == "impossible-pixel-size"
    assert f"{value} µm/px" in row["message"]


def test_a_folder_without_slides(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    run = tile(tmp_path, "-w", tmp_path / "w")
    assert run.exit_code == 2
    assert run.document["error"]["reason"] == "no-slides"
    assert "holds no slide" in run.stderr
    assert not (tmp_path / "w").exists()


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    run = tile(tmp_path / "gone.svs", "-w", tmp_path / "w")
    assert run.exit_code == 2
    assert "gone.svs does not exist" in run.stderr


def test_two_slides_of_one_name(good: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(good, tmp_path / folder / "same.svs")
    run = tile(tmp_path, "-w", tmp_path / "w")
    assert run.exit_code == 2
    assert "a/same.svs" in run.stderr
    assert "b/same.svs" in run.stderr


def test_a_workspace_that_is_a_file(good: Path, tmp_path: Path) -> None:
    (tmp_path / "w").touch()
    run = tile(good, "-w", tmp_path / "w")
    assert run.exit_code == 2
    assert "is a file; choose another folder with -w" in run.stderr


def test_a_mask_of_another_aspect_ratio(good: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "good.png"), np.full((100, 300), 255, np.uint8))
    run = tile(good, "-w", tmp_path / "w", "--tissue-mask", tmp_path / "good.png")
    row = run.row("good")
    assert (row["status"], row["reason"], run.exit_code) == ("failed", "tissue-mask", 1)
    assert "300 × 100" in row["message"]
    assert "4000 × 4000" in row["message"]
    assert left_behind(tmp_path / "w") == set()


@pytest.fixture
def outsider_home(good: Path) -> Iterator[Path]:
    """A folder that user nobody can reach; skipped where the tests do not run as root."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    import tempfile

    home = Path(tempfile.mkdtemp(prefix="outsider-"))
    home.chmod(0o777)
    shutil.copy(good, home / "good.svs")
    (home / "good.svs").chmod(0o644)
    yield home
    shutil.rmtree(home)


def test_no_permission_to_read_a_slide(good: Path, outsider_home: Path) -> None:
    secret = outsider_home / "secret.svs"
    shutil.copy(outsider_home / "good.svs", secret)
    secret.chmod(0o600)
    run = tile(outsider_home, "-w", outsider_home / "w", "-j", 1, as_nobody=good)
    assert run.row("secret")["reason"] == "not-found"
    assert "may not be read by this user" in run.row("secret")["message"]
    assert run.row("good")["status"] == "done"


def test_no_permission_to_write_the_workspace(good: Path, outsider_home: Path) -> None:
    closed = outsider_home / "closed"
    closed.mkdir(mode=0o755)
    run = tile(outsider_home / "good.svs", "-w", closed / "w", as_nobody=good)
    assert run.exit_code == 2
    assert "no permission to write there" in run.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB; skipped where it cannot be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mount.returncode != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_no_space_on_the_device(good: Path, small_disk: Path) -> None:
    run = tile(good, "-w", small_disk / "w", "--pixels", "lossless")
    row = run.row("good")
    assert (row["status"], row["reason"], run.exit_code) == ("failed", "storage", 1)
    assert "no space left on the device" in row["message"]
    assert left_behind(small_disk / "w") == set(), "nothing half-written"
    assert not (small_disk / "w" / "tiles" / "good.zarr").exists()


def test_memory_stays_under_a_gigabyte_on_a_slide_of_61440_px(tmp_path: Path) -> None:
    slide = hostile.sparse(tmp_path / "sparse.svs")
    run = tile(slide, "-w", tmp_path / "w", "-j", 1)
    assert run.row("sparse")["status"] == "done", run.row("sparse")["message"]
    assert run.row("sparse")["details"]["peak_mb"] < MEGABYTES
    with TileStore.open(tmp_path / "w" / "tiles" / "sparse.zarr") as store:
        areas = {
            (int(y), int(x)) for x, y in np.unique(store.xy_l0 // hostile.SPARSE_AREA_PX, axis=0)
        }
    assert areas >= set(hostile.SPARSE_AREAS[:2])
