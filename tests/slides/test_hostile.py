"""Files that lie: refused or read soon and in little memory, in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from tests import hostile
from tests.slides.builders import picture, write_ome, write_tiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_READ_ALL = """
import resource, sys, time, warnings
from wsi_tower.errors import WsiTowerError
from wsi_tower.slides import open_slide

resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
warnings.simplefilter("ignore")
for source in sys.argv[2:]:
    print("#", source)
    start = time.perf_counter()
    try:
        with open_slide(source, reader=sys.argv[1], mpp_um=0.5) as slide:
            slide.overview(64)
        print("read")
    except WsiTowerError as error:
        print(type(error).__name__, " ".join(str(error).split()))
    print(time.perf_counter() - start)
    # The peak so far, in kB; getrusage would count the parent's memory from before exec too.
    status = open("/proc/self/status").read()
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1000, flush=True)
"""
_MAX_SECONDS, _MAX_MB = 5.0, 700.0


@dataclass(frozen=True)
class Answer:
    """What became of opening a file and looking at it."""

    outcome: str
    seconds: float
    peak_mb: float


def read_apart(paths: Iterable[Path], reader: str = "auto") -> dict[str, Answer]:
    """Open files one after another in a process of its own; answers by file name."""
    command = [sys.executable, "-c", _READ_ALL, reader, *map(str, paths)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stdout[-500:] + result.stderr[-2000:]
    answers = {}
    for block in result.stdout.split("# ")[1:]:
        source, outcome, seconds, peak_mb = block.strip().split("\n")
        answers[source.rpartition("/")[2]] = Answer(outcome, float(seconds), float(peak_mb))
    return answers


def deep_xml(path: Path) -> Path:
    """OME-XML nested a hundred thousand times."""
    depth = 100_000
    text = "<OME>" + "<a>" * depth + "</a>" * depth + "</OME>"
    return write_tiled(path, [picture(80, 64)], description=text, compression="lzw")


def billion_laughs(path: Path) -> Path:
    """OME-XML whose entities expand to a gigabyte."""
    entities = "".join(
        f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "x" * 10}">' for i in range(9)
    )
    text = f'<?xml version="1.0"?><!DOCTYPE OME [{entities}]><OME><Image Name="&a8;"/></OME>'
    return write_tiled(path, [picture(80, 64)], description=text, compression="lzw")


def many_pages(path: Path) -> Path:
    """Ten thousand pages of one pixel."""
    with tifffile.TiffWriter(path) as file:
        file.write(np.zeros((10_000, 16, 16, 3), np.uint8), photometric="rgb", metadata=None)
    return path


def large_flat(path: Path) -> Path:
    """A sound PNG of 99 megapixels, just within what is decoded whole: 300 kB."""
    from PIL import Image

    Image.new("L", (11_000, 9_000), 244).save(path)
    return path


def false_jpeg2000(path: Path) -> Path:
    """JPEG 2000 tiles, the first of which claims to be 2 147 483 647 pixels wide."""
    write_tiled(path, [picture(80, 64)], compression="jpeg2000")
    content = bytearray(path.read_bytes())
    # ITU T.800, A.5.1: SIZ holds its length and capabilities, then the width.
    width = content.index(b"\xff\x4f\xff\x51") + 8
    content[width : width + 4] = b"\x7f\xff\xff\xff"
    path.write_bytes(content)
    return path


def false_grey_jpeg(path: Path) -> Path:
    """Grey JPEG tiles, the first of which claims to be 65 500 pixels wide and high."""
    write_ome(path, [picture(80, 64)[..., 0]], photometric="minisblack", axes="YX")
    content = bytearray(path.read_bytes())
    # ITU T.81, B.2.2: after marker, length and precision come height and width.
    size = content.index(b"\xff\xc0") + 5
    content[size : size + 4] = b"\xff\xdc\xff\xdc"
    path.write_bytes(content)
    return path


def interrupted_copy(path: Path) -> Path:
    return hostile.truncated(path, hostile.all_white(path.with_name("whole.tif")))


REFUSED: dict[str, Callable[[Path], Path]] = {
    "zero.svs": hostile.zero_bytes,
    "text.svs": hostile.text,
    "beyond.svs": hostile.offsets_beyond_end,
    "jpeg_size.svs": hostile.other_jpeg_size,
    "huge.svs": hostile.huge_dimensions,
    "deflate_bomb.tif": hostile.deflate_bomb,
    "huge_tile.tif": hostile.huge_tile,
    "bomb.png": hostile.png_bomb,
    "endless_tag.svs": hostile.endless_tag,
    "cyclic.svs": hostile.cyclic_pages,
    "cut.svs": interrupted_copy,
    "false_j2k.tif": false_jpeg2000,
    "false_grey.ome.tif": false_grey_jpeg,
}
READ: dict[str, Callable[[Path], Path]] = {
    "white.svs": hostile.all_white,
    "small.svs": hostile.smaller_than_a_tile,
    "sparse.svs": hostile.sparse,
    "flat.png": large_flat,
}
EITHER: dict[str, Callable[[Path], Path]] = {
    "deep.ome.tif": deep_xml,
    "laughs.ome.tif": billion_laughs,
    "pages.tif": many_pages,
}
FOR_OTHERS = ("jpeg_size.svs", "deflate_bomb.tif", "huge.svs", "cyclic.svs", "endless_tag.svs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for name, build in (REFUSED | READ | EITHER).items():
        build(folder / name)
    return folder


@pytest.fixture(scope="module")
def answers(folder: Path) -> dict[str, Answer]:
    return read_apart(folder / name for name in REFUSED | READ | EITHER)


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_lie_are_refused_by_name(answers: dict[str, Answer], name: str) -> None:
    assert "Error" in answers[name].outcome
    assert name in answers[name].outcome


@pytest.mark.parametrize("name", READ)
def test_sound_files_at_the_edge_are_read(answers: dict[str, Answer], name: str) -> None:
    assert answers[name].outcome == "read"


@pytest.mark.parametrize("name", EITHER)
def test_odd_files_end_in_an_answer(answers: dict[str, Answer], name: str) -> None:
    assert answers[name].outcome


@pytest.mark.parametrize("name", REFUSED | READ | EITHER)
def test_time_and_memory_are_bounded(answers: dict[str, Answer], name: str) -> None:
    assert answers[name].seconds < _MAX_SECONDS
    assert answers[name].peak_mb < _MAX_MB


@pytest.mark.parametrize("reader", ["tiffslide", "flat"])
def test_other_readers_refuse_them_too(folder: Path, reader: str) -> None:
    for name, answer in read_apart((folder / name for name in FOR_OTHERS), reader).items():
        assert "Error" in answer.outcome, name
        assert answer.seconds < _MAX_SECONDS, name
        assert answer.peak_mb < _MAX_MB, name
