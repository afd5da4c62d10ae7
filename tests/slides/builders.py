"""Tiny slides in many formats, each with the pixels that a reader must find in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import imagecodecs
import numpy as np
import openslide
import tifffile
from PIL import Image

from wsi_tower.jpeg import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.slides import ReaderName, Rgb

WIDTH, HEIGHT = 333, 251
"""Odd on purpose: tiles are padded, and halved levels drop a row and a column."""
TILE = 64
MPP = 0.5
APERIO = f"Aperio Image Library v12\r\n{WIDTH}x{HEIGHT}|AppMag = 20|MPP = {MPP}"


@dataclass(frozen=True)
class Case:
    """A slide file, who reads it, and what must be found."""

    path: Path
    reader: ReaderName
    levels: tuple[Rgb, ...]
    """Pixels of every level, read without wsi_tower."""
    mpp_um: float | None = MPP
    vendor: str | None = None
    tolerance: int = 0
    """Grey levels by which the reader's library may differ from the truth below level 0."""


def picture(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Rgb:
    """Soft coloured blobs: no two places alike, and kind to lossy compression."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 3).astype(np.float64)
    spread = (soft - soft.min()) / (soft.max() - soft.min()) * 255
    return np.asarray(spread, np.uint8)


def halved(image: Rgb) -> Rgb:
    """Every second pixel, without the odd row and column, as many writers halve."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return np.ascontiguousarray(image[: 2 * height : 2, : 2 * width : 2])


def pyramid(image: Rgb, levels: int = 3) -> list[Rgb]:
    images = [image]
    while len(images) < levels:
        images.append(halved(images[-1]))
    return images


def write_tiled(path: Path, images: list[Rgb], **options: Any) -> Path:
    """A pyramid of tiled pages, at `MPP` in the resolution tags."""
    options = {"tile": (TILE, TILE), "photometric": "rgb", "metadata": None} | options
    with tifffile.TiffWriter(path) as file:
        for level, image in enumerate(images):
            density: dict[str, Any] = {
                "resolution": (10_000 / MPP / 2**level,) * 2,
                "resolutionunit": "CENTIMETER",
            }
            file.write(image, software=False, subfiletype=int(level > 0), **density | options)
    return path


def page_of(file: tifffile.TiffFile, number: int = 0) -> tifffile.TiffPage:
    page = file.pages[number]
    assert isinstance(page, tifffile.TiffPage)
    return page


def stored_pages(path: Path) -> tuple[Rgb, ...]:
    """Every page of a TIFF file as tifffile decodes it."""
    with tifffile.TiffFile(path) as file:
        return tuple(page.asarray() for page in file.pages)


def write_ome(path: Path, images: list[Rgb], photometric: str = "rgb", axes: str = "YXS") -> Path:
    """An OME-TIFF whose levels hang below the first page as SubIFDs, its resolution unit NONE."""
    metadata: dict[str, Any] = {"PhysicalSizeX": MPP, "PhysicalSizeXUnit": "µm", "axes": axes}
    metadata |= {"PhysicalSizeY": MPP, "PhysicalSizeYUnit": "µm"}
    options: dict[str, Any] = {"tile": (TILE, TILE), "compression": "jpeg"}
    options["photometric"] = photometric
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(images[0], subifds=len(images) - 1, metadata=metadata, **options)
        for image in images[1:]:
            file.write(image, subfiletype=1, **options)
    return path


def stored_ome(path: Path) -> tuple[Rgb, ...]:
    with tifffile.TiffFile(path) as file:
        return tuple(level.asarray() for level in file.series[0].levels)


def write_rgb_jpeg_aperio(path: Path, image: Rgb, tile: int = TILE) -> Path:
    """Aperio's RGB JPEG: no marker says that it is RGB, and the tables stand once in the file."""
    streams = [rgb_jpeg(block, 90) for block in tiles_of(image, tile)]
    options = {"photometric": "rgb", "compressionargs": {"outcolorspace": "rgb"}}
    return _write_aperio(path, image, tile, streams, **options)


def write_ycbcr_jpeg_aperio(path: Path, image: Rgb, tile: int, subsampling: str) -> Path:
    """Aperio's layout with YCbCr JPEG, the tables once in the file."""
    streams = [
        encode(block, quality=90, subsampling=subsampling) for block in tiles_of(image, tile)
    ]
    factors = {"444": (1, 1), "422": (2, 1), "420": (2, 2)}[subsampling]
    return _write_aperio(path, image, tile, streams, photometric="ycbcr", subsampling=factors)


def _write_aperio(path: Path, image: Rgb, tile: int, streams: list[bytes], **options: Any) -> Path:
    """An Aperio slide of one level whose JPEG tables, those of its first stream, are shared."""
    tables = b"\xff\xd8" + b"".join(table_segments(streams[0])) + b"\xff\xd9"
    short = [without_segments(stream, (0xDB, 0xC4)) for stream in streams]
    description = APERIO.replace(f"{WIDTH}x{HEIGHT}", f"{image.shape[1]}x{image.shape[0]}")
    with tifffile.TiffWriter(path) as file:
        file.write(
            iter(short),
            shape=image.shape,
            dtype=np.uint8,
            tile=(tile, tile),
            compression="jpeg",
            jpegtables=tables,
            description=description,
            metadata=None,
            software=False,
            **options,
        )
    return path


def rgb_jpeg(image: Rgb, level: int) -> bytes:
    """A stream of RGB components that nothing tells from YCbCr: no marker, numbers for names."""
    whole = imagecodecs.jpeg8_encode(image, level=level, colorspace="RGB", outcolorspace="RGB")
    stream = bytearray(without_segments(bytes(whole), (0xE0, 0xEE)))
    frame, scan = stream.index(b"\xff\xc0"), stream.index(b"\xff\xda")
    for component in range(3):
        # libjpeg names them R, G and B, and takes such names for a sign.
        stream[frame + 10 + 3 * component] = component + 1
        stream[scan + 5 + 2 * component] = component + 1
    return bytes(stream)


def tiles_of(image: Rgb, side: int) -> Iterator[Rgb]:
    """Tiles row by row, padded with the edge."""
    height, width = (-length % side for length in image.shape[:2])
    padded = np.pad(image, ((0, height), (0, width), (0, 0)), mode="edge")
    for top in range(0, padded.shape[0], side):
        for left in range(0, padded.shape[1], side):
            yield np.ascontiguousarray(padded[top : top + side, left : left + side])


def segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment in front of the scan (ITU T.81, annex B)."""
    start = 2
    while stream[start + 1] not in (0xDA, 0xD9):
        end = start + 2 + int.from_bytes(stream[start + 2 : start + 4])
        yield stream[start + 1], stream[start:end]
        start = end


def table_segments(stream: bytes) -> list[bytes]:
    """Quantisation and Huffman tables of a stream."""
    return [segment for marker, segment in segments(stream) if marker in (0xDB, 0xC4)]


def without_segments(stream: bytes, markers: tuple[int, ...]) -> bytes:
    head = list(segments(stream))
    scan = stream[2 + sum(len(segment) for _, segment in head) :]
    return b"\xff\xd8" + b"".join(s for marker, s in head if marker not in markers) + scan


def openslide_pixels(path: Path) -> tuple[Rgb, ...]:
    """Every level through OpenSlide itself, transparent pixels white."""
    with openslide.OpenSlide(path) as slide:
        corner_to_corner = [
            slide.read_region((0, 0), level, size)
            for level, size in enumerate(slide.level_dimensions)
        ]
        return tuple(_on_white(image) for image in corner_to_corner)


def pillow_pixels(path: Path) -> tuple[Rgb, ...]:
    with Image.open(path) as image:
        return (_on_white(image),)


def _on_white(image: Image.Image) -> Rgb:
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def _tiled(folder: Path, reader: ReaderName, name: str, **options: Any) -> Case:
    path = write_tiled(folder / f"{name}.tif", pyramid(picture()), **options)
    return Case(path, reader, stored_pages(path))


def _jpeg420(folder: Path, reader: ReaderName) -> Case:
    return _tiled(folder, reader, "jpeg420", compression="jpeg", subsampling=(2, 2))


def _jpeg444(folder: Path, reader: ReaderName) -> Case:
    return _tiled(folder, reader, "jpeg444", compression="jpeg", subsampling=(1, 1))


def _lossless(folder: Path, reader: ReaderName, compression: str) -> Case:
    images = pyramid(picture())
    path = write_tiled(folder / f"{compression}.tif", images, compression=compression)
    # Where 333 becomes 166, OpenSlide shifts a level by parts of a pixel and interpolates.
    return Case(path, reader, tuple(images), tolerance=40 if reader == "openslide" else 0)


def _aperio(folder: Path, reader: ReaderName) -> Case:
    path = write_rgb_jpeg_aperio(folder / "aperio.svs", picture())
    return Case(path, reader, openslide_pixels(path), vendor="aperio")


def _aperio_jpeg2000(folder: Path, reader: ReaderName) -> Case:
    image = picture()
    options = {"compression": 33005, "compressionargs": {"level": 0}, "description": APERIO}
    path = write_tiled(folder / "aperio_j2k.svs", [image], **options)
    return Case(path, reader, (image,), vendor="aperio")


def _ome(folder: Path, reader: ReaderName) -> Case:
    path = write_ome(folder / "slide.ome.tif", pyramid(picture()))
    return Case(path, reader, stored_ome(path))


def _strips(folder: Path, reader: ReaderName) -> Case:
    path, image = folder / "strips.tif", picture()
    options: dict[str, Any] = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, image, rowsperstrip=16, compression="lzw", photometric="rgb", **options)
    return Case(path, reader, (image,))


def _planes(folder: Path, reader: ReaderName) -> Case:
    path, image = folder / "planes.tif", picture()
    planes = np.moveaxis(image, 2, 0)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate", rowsperstrip=16)
    return Case(path, reader, (image,), mpp_um=None)


def _inverted_grey(folder: Path, reader: ReaderName) -> Case:
    path, grey = folder / "inverted.tif", picture()[..., 0]
    tifffile.imwrite(path, 255 - grey, photometric="miniswhite", rowsperstrip=16)
    return Case(path, reader, (as_grey_rgb(grey),), mpp_um=None)


def _palette(folder: Path, reader: ReaderName) -> Case:
    path, index = folder / "palette.tif", picture()[..., 0]
    # Entry i is (i, 255 - i, 7), in the 16 bits of TIFF colour maps.
    ramp = np.arange(256, dtype=np.uint16)
    table = np.stack([ramp, 255 - ramp, np.full(256, 7, np.uint16)]) * 257
    tifffile.imwrite(path, index, photometric="palette", colormap=table, rowsperstrip=16)
    colours = np.stack([index, 255 - index, np.full_like(index, 7)], axis=2)
    return Case(path, reader, (colours,), mpp_um=None)


def _png(folder: Path, reader: ReaderName) -> Case:
    path, image = folder / "picture.png", picture()
    Image.fromarray(image).save(path, dpi=(300, 300))
    return Case(path, reader, (image,), mpp_um=None)


def _grey_png(folder: Path, reader: ReaderName) -> Case:
    path, grey = folder / "grey.png", picture()[..., 0]
    Image.fromarray(grey).save(path)
    return Case(path, reader, (as_grey_rgb(grey),), mpp_um=None)


def _transparent_png(folder: Path, reader: ReaderName) -> Case:
    path, image = folder / "rgba.png", picture()
    alpha = np.full(image.shape[:2], 255, np.uint8)
    alpha[:100, :100] = 0
    Image.fromarray(np.dstack([image, alpha])).save(path)
    seen = image.copy()
    seen[:100, :100] = 255
    return Case(path, reader, (seen,), mpp_um=None)


def _jpg(folder: Path, reader: ReaderName) -> Case:
    path = folder / "picture.jpg"
    Image.fromarray(picture()).save(path, quality=90)
    return Case(path, reader, pillow_pixels(path), mpp_um=None)


def _unscanned(folder: Path, reader: ReaderName) -> Case:
    """LZW tiles, of which the file leaves out those that are all zero."""
    image = picture()
    image[TILE : 2 * TILE, 2 * TILE : 4 * TILE] = 0
    path = folder / "unscanned.tif"
    write_tiled(path, [image], compression="lzw")
    drop_tiles(path, (1 * 6 + 2, 1 * 6 + 3))
    seen = image.copy()
    seen[TILE : 2 * TILE, 2 * TILE : 4 * TILE] = 255
    return Case(path, reader, (seen,))


def drop_tiles(path: Path, numbers: tuple[int, ...]) -> None:
    """Set offset and byte count of tiles to 0, as scanners do for glass."""
    with tifffile.TiffFile(path, mode="r+") as file:
        tags = page_of(file).tags
        for name in ("TileOffsets", "TileByteCounts"):
            values = list(tags[name].value)
            for number in numbers:
                values[number] = 0
            tags[name].overwrite(values)


def as_grey_rgb(grey: NDArray[np.uint8]) -> Rgb:
    return np.repeat(grey[..., None], 3, axis=2)


GENERATED: dict[str, Callable[[Path], Case]] = {
    "jpeg420-openslide": lambda folder: _jpeg420(folder, "openslide"),
    "jpeg420-tiffslide": lambda folder: _jpeg420(folder, "tiffslide"),
    "jpeg444-openslide": lambda folder: _jpeg444(folder, "openslide"),
    "jpeg444-tiffslide": lambda folder: _jpeg444(folder, "tiffslide"),
    "lzw-openslide": lambda folder: _lossless(folder, "openslide", "lzw"),
    "lzw-tiffslide": lambda folder: _lossless(folder, "tiffslide", "lzw"),
    "deflate-openslide": lambda folder: _lossless(folder, "openslide", "deflate"),
    "deflate-tiffslide": lambda folder: _lossless(folder, "tiffslide", "deflate"),
    "aperio-openslide": lambda folder: _aperio(folder, "openslide"),
    "aperio-tiffslide": lambda folder: _aperio(folder, "tiffslide"),
    "aperio-jpeg2000-openslide": lambda folder: _aperio_jpeg2000(folder, "openslide"),
    "aperio-jpeg2000-tiffslide": lambda folder: _aperio_jpeg2000(folder, "tiffslide"),
    "ome-tiffslide": lambda folder: _ome(folder, "tiffslide"),
    "unscanned-openslide": lambda folder: _unscanned(folder, "openslide"),
    "unscanned-tiffslide": lambda folder: _unscanned(folder, "tiffslide"),
    "strips-flat": lambda folder: _strips(folder, "flat"),
    "planes-flat": lambda folder: _planes(folder, "flat"),
    "inverted-grey-flat": lambda folder: _inverted_grey(folder, "flat"),
    "palette-flat": lambda folder: _palette(folder, "flat"),
    "png-flat": lambda folder: _png(folder, "flat"),
    "grey-png-flat": lambda folder: _grey_png(folder, "flat"),
    "rgba-png-flat": lambda folder: _transparent_png(folder, "flat"),
    "jpeg-flat": lambda folder: _jpg(folder, "flat"),
}
"""Every generated slide, by format and reader."""
