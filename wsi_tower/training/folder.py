"""A folder of flat images, colour or grey, as a source of pictures."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from wsi_tower.errors import SettingsError, TooFewTilesError, UnreadableSlideError
from wsi_tower.records import digest
from wsi_tower.training.pictures import SoundPictures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.records import Json
    from wsi_tower.training.pictures import Warn

__all__ = ["FolderPictures"]

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
_GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"})
"""Pillow's names for pictures of one channel."""
_HELD_BYTES = 1 << 30
_WHITE_16 = 65_535


@dataclass(frozen=True, slots=True)
class _Flat:
    path: Path
    width: int
    height: int
    is_grey: bool


class FolderPictures(SoundPictures):
    """Squares cut from the images of a folder and of those below it.

    An image larger than a square gives as many as lie in it side by side, centred; a smaller one is
    mirrored at its edges. Where all images are grey, so are the pictures. Decoded images are held
    while they fit into a gigabyte.
    """

    def __init__(
        self, folder: Path, *, side_px: int, white_16: int = _WHITE_16, strict: bool, warn: Warn
    ) -> None:
        """List the images, by name.

        Args:
            folder: with files of PNG, JPEG, TIFF or BMP.
            side_px: side of the squares.
            white_16: grey level of 16-bit images that becomes 255; 4095 for cameras of 12 bits.
            strict: see `SoundPictures`.
            warn: see `SoundPictures`.

        Raises:
            SettingsError: the folder is none, or side or white cannot be.
            TooFewTilesError: it holds no image.
        """
        super().__init__(strict=strict, warn=warn)
        if not folder.is_dir():
            raise SettingsError(f"{folder} is no folder of images; give the folder they lie in")
        if side_px < 1 or not 1 <= white_16 <= _WHITE_16:
            raise SettingsError(
                f"side_px must be 1 or more and white_16 lie between 1 and {_WHITE_16}, not "
                f"{side_px} and {white_16}"
            )
        self.folder, self.side_px, self.white_16 = folder, side_px, white_16
        self._images = list(self._listed())
        if not self._images:
            raise TooFewTilesError(
                f"{folder} holds no image that can be read; wanted are files with the suffixes "
                f"{', '.join(sorted(_SUFFIXES))}"
            )
        self.channels = 1 if all(image.is_grey for image in self._images) else 3
        counts = [len(self._corners(image)) for image in self._images]
        self._firsts = np.cumsum([0, *counts])
        self._held: dict[Path, NDArray[np.uint8]] = {}
        self._held_bytes = 0
        self._holding = threading.Lock()

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def digest(self) -> str:
        """What identifies the images without reading them: their names, extents and file sizes."""
        told: list[Json] = []
        for image in self._images:
            name = image.path.relative_to(self.folder).as_posix()
            told.append([name, image.width, image.height, image.path.stat().st_size])
        return digest({"images": told, "side_px": self.side_px})

    def _listed(self) -> Iterator[_Flat]:
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() not in _SUFFIXES or not path.is_file():
                continue
            try:
                with Image.open(path) as image:
                    yield _Flat(path, image.width, image.height, image.mode in _GREY_MODES)
            except (UnidentifiedImageError, OSError) as error:
                # Pillow knows no colours of 16 bits; what OpenCV cannot read either is damaged.
                pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
                if pixels is None:
                    self._leave_out(path, error)
                else:
                    yield _Flat(path, pixels.shape[1], pixels.shape[0], pixels.ndim == 2)

    def _leave_out(self, path: Path, error: Exception) -> None:
        if self._is_strict:
            raise UnreadableSlideError(
                f"image {path} cannot be read ({error}); remove it, or leave out --strict"
            ) from error
        self._warn(f"image {path} is left out: {error}")

    def _corners(self, image: _Flat) -> list[tuple[int, int]]:
        """Top and left of each square of an image, both 0 or more."""
        tops, lefts = (_starts(extent, self.side_px) for extent in (image.height, image.width))
        return [(top, left) for top in tops for left in lefts]

    def _read_one(self, number: int, pixels: NDArray[np.uint8]) -> None:
        image, square = self._place(number)
        top, left = self._corners(self._images[image])[square]
        part = self._decoded(self._images[image])[top:, left:][: self.side_px, : self.side_px]
        pixels[:] = _mirrored_to(part, self.side_px)

    def _name_of(self, number: int) -> str:
        image, square = self._place(number)
        return f"image {self._images[image].path}, square {square}"

    def _place(self, number: int) -> tuple[int, int]:
        image = int(np.searchsorted(self._firsts, number, side="right")) - 1
        return image, number - int(self._firsts[image])

    def _decoded(self, image: _Flat) -> NDArray[np.uint8]:
        held = self._held.get(image.path)
        if held is not None:
            return held
        pixels = self._converted(image)
        with self._holding:
            if self._held_bytes + pixels.nbytes <= _HELD_BYTES:
                self._held[image.path] = pixels
                self._held_bytes += pixels.nbytes
        return pixels

    def _converted(self, image: _Flat) -> NDArray[np.uint8]:
        """An image as uint8 (H, W, channels), red first."""
        found = cv2.imread(str(image.path), cv2.IMREAD_UNCHANGED)
        if found is None or found.shape[:2] != (image.height, image.width):
            raise UnreadableSlideError(f"image {image.path} is damaged; copy it again")
        if found.dtype == np.uint16:
            found = np.minimum(found * (255 / self.white_16) + 0.5, 255).astype(np.uint8)
        if found.dtype != np.uint8:
            raise UnreadableSlideError(
                f"image {image.path} has values of {found.dtype}; convert it to 8 or 16 bits"
            )
        planes = found.reshape(image.height, image.width, -1)
        if planes.shape[2] == 2 or self.channels == 1:  # without alpha
            planes = planes[..., :1]
        if planes.shape[2] == 1:
            return np.ascontiguousarray(np.repeat(planes, self.channels, axis=2))
        return np.ascontiguousarray(planes[..., 2::-1])


def _starts(extent: int, side_px: int) -> list[int]:
    count = max(1, extent // side_px)
    first = max(0, (extent - count * side_px) // 2)
    return [first + place * side_px for place in range(count)]


def _mirrored_to(part: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    height, width = part.shape[:2]
    if height == width == side_px:
        return part
    missing = [(side_px - extent) for extent in (height, width)]
    margins = [(one // 2, one - one // 2) for one in missing]
    return np.pad(part, [*margins, (0, 0)], mode="reflect" if min(height, width) > 1 else "edge")
