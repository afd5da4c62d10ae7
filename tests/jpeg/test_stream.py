"""JPEG streams as TIFF slides hold them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.slides.builders import (
    page_of,
    picture,
    rgb_jpeg,
    segments,
    table_segments,
    tiles_of,
    without_segments,
    write_rgb_jpeg_aperio,
)
from wsi_tower.jpeg import (
    JpegColour,
    JpegError,
    JpegHead,
    StreamFamily,
    complete,
    decode,
    encode,
    read_head,
)

if TYPE_CHECKING:
    from pathlib import Path

    from wsi_tower.slides import Rgb

IMAGE = picture(64, 48)
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
ADOBE_YCBCR = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"
EOI = b"\xff\xd9"


def rgb_stream() -> bytes:
    """RGB components, and nothing that says so."""
    return rgb_jpeg(IMAGE, 95)


def ycbcr_stream() -> bytes:
    return encode(IMAGE, quality=95, subsampling="420")


def split(stream: bytes) -> tuple[bytes, bytes]:
    """The tables of a stream, and the stream without them (TIFF Technical Note 2)."""
    tables = b"\xff\xd8" + b"".join(table_segments(stream)) + EOI
    return without_segments(stream, (0xDB, 0xC4)), tables


def with_segment(stream: bytes, segment: bytes) -> bytes:
    return stream[:2] + segment + stream[2:]


def pillow(stream: bytes) -> Rgb:
    return np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"))


def test_rgb_without_a_marker_decodes_as_rgb() -> None:
    found = decode(complete(rgb_stream(), b"", "rgb"))
    # Without completion the decoder takes it for YCbCr.
    assert np.abs(found.astype(int) - IMAGE).max() < 20
    assert np.abs(decode(rgb_stream()).astype(int) - IMAGE).max() > 60


def test_abbreviated_streams_decode_as_the_whole_did() -> None:
    short, tables = split(ycbcr_stream())
    with pytest.raises(JpegError):
        decode(short)
    assert np.array_equal(decode(complete(short, tables, "ycbcr")), pillow(ycbcr_stream()))


@pytest.mark.parametrize("claim", [JFIF, ADOBE_YCBCR, JFIF + ADOBE_YCBCR])
def test_a_stream_s_own_claim_does_not_overrule_the_tag(claim: bytes) -> None:
    plain = complete(rgb_stream(), b"", "rgb")
    assert complete(with_segment(rgb_stream(), claim), b"", "rgb") == plain


@pytest.mark.parametrize("claim", [JFIF, ADOBE_YCBCR])
def test_a_claim_among_the_tables_does_not_either(claim: bytes) -> None:
    short, tables = split(rgb_stream())
    found = complete(short, with_segment(tables, claim), "rgb")
    assert found == complete(short, tables, "rgb")
    assert np.array_equal(decode(found), decode(complete(rgb_stream(), b"", "rgb")))


@pytest.mark.parametrize("colour", ["rgb", "ycbcr"])
def test_completion_leaves_the_coded_bytes_and_is_done_once(colour: JpegColour) -> None:
    stream = with_segment(ycbcr_stream(), b"\xff\xfe\x00\x06note")
    whole = complete(stream, b"", colour)
    assert whole[whole.index(b"\xff\xda") :] == stream[stream.index(b"\xff\xda") :]
    assert b"note" in whole
    assert complete(whole, b"", colour) == whole
    assert [marker for marker, _ in segments(whole)].count(0xEE) == 1


def test_pixels_are_those_of_openslide_and_tifffile(tmp_path: Path) -> None:
    image = picture(128, 128)
    path = write_rgb_jpeg_aperio(tmp_path / "a.svs", image)
    content = path.read_bytes()
    with tifffile.TiffFile(path) as file, openslide.OpenSlide(path) as slide:
        page = page_of(file)
        start, count = page.dataoffsets[3], page.databytecounts[3]
        found = decode(complete(content[start : start + count], page.jpegtables or b"", "rgb"))
        assert np.array_equal(found, page.asarray()[64:, 64:])
        theirs = np.asarray(slide.read_region((64, 64), 0, (64, 64)))
        assert np.array_equal(found, theirs[..., :3])


@pytest.mark.real
def test_real_rgb_tiles_are_those_of_tifffile(shared_data: Path) -> None:
    path = shared_data / "slides" / "CMU-1-Small-Region.svs"
    content = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        page = page_of(file)
        whole = page.asarray()
        expected = list(tiles_of(whole, 240))
        for number in (0, 17, 55):
            start, count = page.dataoffsets[number], page.databytecounts[number]
            found = decode(complete(content[start : start + count], page.jpegtables or b"", "rgb"))
            assert np.array_equal(found, expected[number])


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    stream = ycbcr_stream()
    filled = stream[:2] + b"\xff\xff\xff" + stream[2:]
    assert read_head(filled) == JpegHead(64, 48, 3)
    assert np.array_equal(decode(complete(filled, b"", "ycbcr")), decode(stream))


def test_the_head_says_size_and_components() -> None:
    short, _ = split(ycbcr_stream())
    assert read_head(ycbcr_stream()) == read_head(short) == JpegHead(64, 48, 3)
    grey = bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(IMAGE[..., 0]), level=90))
    assert read_head(grey) == JpegHead(64, 48, 1)


def test_a_progressive_stream_has_a_head_too() -> None:
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, "JPEG", progressive=True)
    assert read_head(file.getvalue()) == JpegHead(64, 48, 3)
    assert np.array_equal(decode(file.getvalue()), pillow(file.getvalue()))


def test_what_follows_the_end_does_not_matter() -> None:
    assert read_head(ycbcr_stream() + b"\x00\x00padding") == JpegHead(64, 48, 3)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "does not start with FF D8"),
        (b"II*\x00" + bytes(100), "does not start with FF D8"),
        (b"\xff\xd8", "no marker at byte 2"),
        (b"\xff\xd8" + bytes(50), "no marker at byte 2"),
        (b"\xff\xd8\xff\xd9", "holds no image"),
        (b"\xff\xd8\xff\xc0\x00\x11\xff\xd9", "cut off in its header"),
        (b"\xff\xd8\xff\xc0\x00\x04\x08\x00\xff\xd9", "too short"),
        (b"\xff\xd8\xff\xe0\x00\x01\xff\xd9", "cut off in its header"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x0c\x00\x40\x00\x40\x01\x01\x11\x00", "12 bits a channel"),
    ],
)
def test_what_is_no_stream_is_refused(stream: bytes, message: str) -> None:
    with pytest.raises(JpegError, match=message):
        read_head(stream)


@given(st.integers(0, len(encode(IMAGE, quality=95, subsampling="420")) - 1))
def test_a_cut_anywhere_is_noticed(length: int) -> None:
    with pytest.raises(JpegError):
        read_head(ycbcr_stream()[:length])


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_refused_or_read(noise: bytes, is_jpeg: bool) -> None:
    stream = b"\xff\xd8" * is_jpeg + noise
    for ask in (read_head, decode, lambda bad: complete(bad, b"", "rgb")):
        try:
            ask(stream)
        except JpegError as error:
            assert "JPEG" in str(error)  # noqa: PT017 - most bytes are refused, not all


def test_a_damaged_scan_is_refused() -> None:
    stream = bytearray(ycbcr_stream())
    scan = stream.index(b"\xff\xda")
    stream[scan + 20 : scan + 60] = b"\xff\xd0" * 20
    with pytest.raises(JpegError, match="damaged"):
        decode(bytes(stream))


@pytest.mark.parametrize(("subsampling", "factors"), [("444", 0x11), ("422", 0x21), ("420", 0x22)])
def test_encoding_keeps_the_subsampling_asked_for(subsampling: str, factors: int) -> None:
    stream = encode(IMAGE, quality=95, subsampling=subsampling)
    (frame,) = [segment for marker, segment in segments(stream) if marker == 0xC0]
    # T.81, B.2.2: the first component's sampling factors follow its identifier.
    assert frame[11] == factors
    assert np.abs(decode(stream).astype(int) - IMAGE).mean() < 5


def test_encoding_takes_views_and_is_the_same_every_time() -> None:
    view = picture(128, 96)[::2, ::2]
    copy = np.ascontiguousarray(view)
    streams = {encode(image, quality=80, subsampling="420") for image in (view, copy, view)}
    assert len(streams) == 1


def test_fast_decoding_is_close() -> None:
    exact = decode(ycbcr_stream()).astype(int)
    assert np.abs(exact - decode(ycbcr_stream(), fast=True)).mean() < 6


def test_a_known_head_saves_reading_it_and_hides_no_cut() -> None:
    stream, other = ycbcr_stream(), encode(IMAGE[:32], quality=80, subsampling="420")
    family = StreamFamily(b"", "ycbcr")
    head = family.head(stream)
    # The scan's header is three components long: 2 + 12 bytes (T.81, B.2.3).
    assert len(family.known_head) == stream.index(b"\xff\xda") + 14
    assert family.head(stream) is head
    with pytest.raises(JpegError, match="cut off"):
        family.head(stream[:-2])
    assert family.head(other).height == 32


@pytest.mark.parametrize("colour", ["ycbcr", "rgb"])
def test_a_family_completes_as_each_stream_alone(colour: JpegColour) -> None:
    whole = ycbcr_stream() if colour == "ycbcr" else rgb_stream()
    stream, tables = split(whole)
    family = StreamFamily(tables, colour)
    for _ in range(2):
        assert family.complete(stream) == complete(stream, tables, colour)
