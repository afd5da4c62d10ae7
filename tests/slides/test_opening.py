"""Which reader is chosen, how readers agree, and what is refused."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.slides.builders import (
    APERIO,
    TILE,
    page_of,
    picture,
    pyramid,
    write_ome,
    write_rgb_jpeg_aperio,
    write_tiled,
)
from wsi_tower.errors import (
    SettingsError,
    SlideError,
    SlideNotFoundError,
    UnreadableSlideError,
    UnsupportedSlideError,
)
from wsi_tower.geometry import LevelBox
from wsi_tower.slides import READERS, Fingerprint, ReaderName, Slide, fingerprint, open_slide

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.slides import Rgb


def whole(slide: Slide, level: int = 0) -> Rgb:
    size = slide.info.levels[level].size
    return slide.read_level_box(level, LevelBox(0, 0, size.width, size.height))


def assert_agree(path: Path, readers: tuple[ReaderName, ReaderName]) -> None:
    with open_slide(path, reader=readers[0]) as one, open_slide(path, reader=readers[1]) as other:
        assert one.info.size == other.info.size
        assert (one.mpp.x, one.mpp.y) == pytest.approx((other.mpp.x, other.mpp.y))
        assert np.array_equal(whole(one), whole(other))


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "readers"),
    [
        ("CMU-1-Small-Region.svs", ("openslide", "tiffslide")),
        ("CMU-1-Small-Region_pyramid_jpeg.tif", ("openslide", "tiffslide")),
        ("CMU-1-Small-Region.ome.tif", ("openslide", "tiffslide")),
        ("asap/example.tif", ("openslide", "tiffslide")),
    ],
)
def test_readers_agree_on_real_slides(
    shared_data: Path, name: str, readers: tuple[ReaderName, ReaderName]
) -> None:
    assert_agree(shared_data / "slides" / name, readers)


def test_readers_agree_on_generated_slides(tmp_path: Path) -> None:
    aperio = write_rgb_jpeg_aperio(tmp_path / "a.svs", picture())
    assert_agree(aperio, ("openslide", "tiffslide"))
    for compression in ("lzw", "jpeg"):
        path = tmp_path / f"{compression}.tif"
        write_tiled(path, pyramid(picture()), compression=compression)
        assert_agree(path, ("openslide", "tiffslide"))
        assert_agree(path, ("openslide", "auto"))
    ome = write_ome(tmp_path / "a.ome.tif", pyramid(picture()))
    assert_agree(ome, ("tiffslide", "auto"))


@pytest.mark.parametrize("name", [reader.name for reader in READERS])
def test_every_reader_lists_its_formats(name: ReaderName) -> None:
    (info,) = [reader for reader in READERS if reader.name == name]
    assert "TIFF" in info.formats


def test_the_reader_is_chosen_by_what_the_file_holds(tmp_path: Path) -> None:
    image = picture(100, 80)
    tiled = write_tiled(tmp_path / "tiled.svs", [image], compression="lzw")
    strips = tmp_path / "strips.tif"
    tifffile.imwrite(strips, image, photometric="rgb")
    ome_strips = tmp_path / "strips.ome.tif"
    tifffile.imwrite(ome_strips, image, photometric="rgb", metadata={"axes": "YXS"})
    ome = write_ome(tmp_path / "tiled.ome.tif", [image])
    jpeg2000 = write_tiled(tmp_path / "j2k.tif", [image], compression="jpeg2000")
    png = tmp_path / "image.png"
    Image.fromarray(image).save(png)
    chosen = {}
    for path in (tiled, strips, ome_strips, ome, jpeg2000, png):
        with open_slide(path) as slide:
            chosen[path.name] = slide.info.reader
    assert chosen == {
        "tiled.svs": "openslide",
        "strips.tif": "flat",
        "strips.ome.tif": "flat",
        "tiled.ome.tif": "tiffslide",
        "j2k.tif": "tiffslide",
        "image.png": "flat",
    }


def test_a_name_without_suffix_or_with_odd_characters_opens(tmp_path: Path) -> None:
    image = picture(100, 80)
    for name in ("slide", "50% #3 [x] ünï.tif", "a b.tif", "q?mark.tif", "star*.tif"):
        path = write_tiled(tmp_path / name, [image], compression="lzw")
        for reader in ("openslide", "tiffslide", "flat"):
            with open_slide(path, reader=reader) as slide:
                assert slide.info.name == name
                assert np.array_equal(whole(slide), image)
        assert fingerprint(str(path)).file_bytes == path.stat().st_size


def test_unknown_readers_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no reader 'best'; there are auto, openslide"):
        open_slide(tmp_path / "a.svs", reader="best")  # type: ignore[arg-type]


def test_urls_are_tiffslide_s(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="opens no URL"):
        open_slide("https://example.org/a.svs", reader="openslide")


def refused(path: Path, kind: type[SlideError], reader: ReaderName = "auto") -> str:
    with pytest.raises(kind) as caught:
        open_slide(path, reader=reader)
    assert path.name in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "a.svs", SlideNotFoundError)


def test_a_path_through_a_file_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    refused(tmp_path / "a" / "b.svs", SlideNotFoundError)


def test_a_link_to_itself_is_not_found(tmp_path: Path) -> None:
    link = tmp_path / "loop.svs"
    link.symlink_to(link)
    refused(link, SlideNotFoundError)


def test_a_name_too_long_is_not_found(tmp_path: Path) -> None:
    refused(tmp_path / ("x" * 300 + ".svs"), SlideNotFoundError)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.svs"
    os.mkfifo(path)
    assert "pipe" in refused(path, UnreadableSlideError)


def test_a_folder_is_no_slide(tmp_path: Path) -> None:
    assert "name the files in it" in refused(tmp_path, UnsupportedSlideError)


def test_zarr_says_what_to_give_instead(tmp_path: Path) -> None:
    folder = tmp_path / "a.ome.zarr"
    folder.mkdir()
    assert "OME-TIFF" in refused(folder, UnsupportedSlideError)


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    path.touch()
    assert "0 bytes" in refused(path, UnreadableSlideError)


@pytest.mark.parametrize("name", ["a.svs", "a.tif", "a.ndpi", "a.mrxs", "a.png", "a.jpg", "a.czi"])
def test_text_is_no_slide_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("no slide\n" * 100)
    refused(path, UnreadableSlideError)


def test_text_named_dcm_is_unsupported(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_text("no slide\n" * 100)
    assert "DICOM" in refused(path, UnsupportedSlideError)


@pytest.mark.real
def test_annotations_are_no_slide(shared_data: Path) -> None:
    folder = shared_data / "slides" / "dicom"
    refused(folder / "highdicom_sm_annotations.dcm", UnsupportedSlideError)


@pytest.mark.parametrize("bits", [np.uint16, np.float32])
def test_more_than_8_bits_are_refused(tmp_path: Path, bits: type) -> None:
    strips, tiled = tmp_path / "strips.tif", tmp_path / "tiled.ome.tif"
    deep: Any = picture(80, 64).astype(bits)
    tifffile.imwrite(strips, deep, photometric="rgb")
    tifffile.imwrite(tiled, deep, photometric="rgb", tile=(TILE, TILE))
    for path in (strips, tiled):
        assert "8 bits" in refused(path, UnsupportedSlideError)


def test_png_of_16_bits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(picture(40, 30)[..., 0].astype(np.uint16)).save(path)
    assert "8 bits" in refused(path, UnsupportedSlideError)


def test_colours_that_tiffslide_would_show_wrong_are_refused(tmp_path: Path) -> None:
    palette, aperio = tmp_path / "palette.tif", tmp_path / "ycbcr.svs"
    table = np.zeros((3, 256), np.uint16)
    tifffile.imwrite(
        palette, picture()[..., 0], photometric="palette", colormap=table, tile=(TILE, TILE)
    )
    # Aperio's 33003 holds YCbCr; OpenSlide converts it, tifffile does not.
    write_tiled(aperio, [picture()], compression=33003, description=APERIO)
    for path in (palette, aperio):
        assert "openslide" in refused(path, UnsupportedSlideError, "tiffslide")


def test_a_damaged_tile_is_named(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "a.tif", [picture()], compression="jpeg")
    with tifffile.TiffFile(path) as file:
        offset = page_of(file).dataoffsets[8]
    content = bytearray(path.read_bytes())
    content[offset : offset + 4] = b"oops"
    path.write_bytes(content)
    for reader in ("openslide", "tiffslide"):
        with (
            open_slide(path, reader=reader) as slide,
            pytest.raises(UnreadableSlideError, match=r"a\.tif .*column 2, row 1"),
        ):
            whole(slide)


@pytest.mark.parametrize(
    ("compression", "reader"),
    [
        *(("lzw", "openslide"), ("lzw", "tiffslide"), ("deflate", "openslide")),
        *(("deflate", "tiffslide"), ("jpeg2000", "tiffslide")),
    ],
)
def test_damaged_tiles_of_other_kinds_are_refused(
    tmp_path: Path, compression: str, reader: ReaderName
) -> None:
    path = write_tiled(tmp_path / "a.tif", [picture()], compression=compression)
    with tifffile.TiffFile(path) as file:
        offset, count = page_of(file).dataoffsets[8], page_of(file).databytecounts[8]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bytes(range(256)) * (count // 256) + bytes(count % 256)
    path.write_bytes(content)
    with open_slide(path, reader=reader) as slide, pytest.raises(UnreadableSlideError):
        whole(slide)


def read_all(path: Path, reader: ReaderName = "auto") -> None:
    with open_slide(path, reader=reader) as slide:
        for level in range(len(slide.info.levels)):
            whole(slide, level)


def test_a_truncated_slide_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    good = write_tiled(tmp_path / "good.tif", pyramid(picture()), compression="jpeg")
    content = good.read_bytes()
    for share in range(1, 20):
        path = tmp_path / f"cut{share}.tif"
        path.write_bytes(content[: len(content) * share // 20])
        with pytest.raises(SlideError, match=path.name):
            read_all(path)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_never_end_in_a_foreign_error(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    good = write_tiled(tmp_path / "good.tif", pyramid(picture(150, 130)), compression="jpeg")
    with tifffile.TiffFile(good) as file:
        pages = [page_of(file, number) for number in range(len(file.pages))]
        tags = [tag.offset for page in pages for tag in page.tags]
    content = good.read_bytes()
    for number in range(25):
        broken = bytearray(content)
        for place in rng.choice(tags, 2):
            broken[place + int(rng.integers(12))] = int(rng.integers(256))
        path = tmp_path / f"{number}.tif"
        path.write_bytes(broken)
        for reader in ("auto", "tiffslide", "flat"):
            with contextlib.suppress(SlideError):
                read_all(path, reader)


def test_an_unreadable_file_is_told_to_others_than_root(tmp_path: Path) -> None:
    path = write_tiled(tmp_path / "a.tif", [picture(80, 64)], compression="lzw")
    path.chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    code = f"import os; os.getuid() or os.setuid(65534)\nopen({str(path)!r}, 'rb')"
    probe = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    if b"a.tif" not in probe.stderr:
        pytest.skip("no way to be a user without permission here")
    code = (
        "import os\nfrom wsi_tower.slides import open_slide\n"
        f"os.getuid() or os.setuid(65534)\nopen_slide({str(path)!r})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"SlideNotFoundError" in result.stderr
    assert b"may not be read by this user" in result.stderr


def test_fingerprint_sees_size_and_both_ends(tmp_path: Path) -> None:
    mib = 1024 * 1024
    path = tmp_path / "a.svs"

    def of(head: bytes, middle: bytes, tail: bytes) -> Fingerprint:
        path.write_bytes(head + middle + tail)
        return fingerprint(str(path))

    first = of(bytes(mib), bytes(100), bytes(mib))
    assert first.file_bytes == 2 * mib + 100
    assert of(bytes(mib), b"x" * 100, bytes(mib)) == first
    assert of(b"x" * mib, bytes(100), bytes(mib)) != first
    assert of(bytes(mib), bytes(100), b"x" * mib) != first
    assert of(bytes(mib), bytes(101), bytes(mib)) != first
    assert of(b"", b"ab", b"").file_bytes == 2
