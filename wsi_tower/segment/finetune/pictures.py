"""Pictures and their masks: found, checked against each other, read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsi_tower.errors import LabelError, SettingsError
from wsi_tower.records import bytes_digest
from wsi_tower.segment.label_files import files_by_name, label_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["LabelledPicture", "labelled_pictures"]


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """A picture and its mask, in memory."""

    name: str
    """Of its file, without suffix."""
    rgb: NDArray[np.uint8]
    """(H, W, 3), red first."""
    mask: NDArray[np.uint8]
    """(H, W): 255 is foreground, 0 the rest."""
    slide_id: str | None = None
    """Slide that it is a tile of; None: it is a picture of its own."""

    @property
    def group(self) -> str:
        """What trains or validates as a whole: its slide, or itself."""
        return self.name if self.slide_id is None else self.slide_id

    @property
    def is_empty(self) -> bool:
        """Whether nothing is foreground."""
        return not self.mask.any()

    def digest(self) -> str:
        """What identifies its pixels and labels."""
        shape = f"{self.name} {self.rgb.shape}".encode("utf-8", "surrogateescape")
        rgb, mask = np.ascontiguousarray(self.rgb), np.ascontiguousarray(self.mask)
        return bytes_digest([shape, rgb.data, mask.data])


def labelled_pictures(
    images: Path, masks: Path, only: Sequence[str], warn: Callable[[str], None]
) -> list[LabelledPicture]:
    """The pictures of a folder with their masks, by name.

    Masks have 0 where nothing is, and any other whole number (1, 255, or an instance's) where
    something is.

    Args:
        images: folder of pictures of 8 bits, grey or in colour.
        masks: folder of masks; a mask has its picture's name but for the suffix.
        only: names to take, without suffix; none: all.
        warn: hears of masks without foreground.

    Raises:
        SettingsError: a folder is none, or a name is not there.
        LabelError: masks are missing, of another size, or hold what no mask holds; all are named.
    """
    found, labels = files_by_name(images, "images"), files_by_name(masks, "masks")
    missing = [name for name in only if name not in found]
    if missing:
        raise SettingsError(f"{images} has no image named {_listed(missing)}; leave these out")
    names = sorted(only) if only else sorted(found)
    _check_names(names, labels, images, masks)
    pictures, faults = [], []
    for name in names:
        try:
            pictures.append(_read(name, found[name], labels[name]))
        except LabelError as error:
            faults.append(str(error))
    if faults:
        raise LabelError(
            f"{len(faults)} of {len(names)} masks cannot be used: {'; '.join(faults)}. Mend or "
            f"remove them, with their images"
        )
    _check_foreground(pictures, masks, warn)
    return pictures


def _check_names(names: list[str], labels: dict[str, Path], images: Path, masks: Path) -> None:
    without = [name for name in names if name not in labels]
    if without:
        raise LabelError(
            f"{len(without)} of {len(names)} images in {images} have no mask of their name in "
            f"{masks}: {_listed(without)}; add these masks, or remove the images"
        )


def _read(name: str, image: Path, mask: Path) -> LabelledPicture:
    pixels = cv2.imread(str(image), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise LabelError(f"image {image} cannot be read")
    labels = np.where(label_values(mask) > 0, 255, 0).astype(np.uint8)
    if labels.shape != pixels.shape[:2]:
        raise LabelError(
            f"{mask.name} is {labels.shape[1]} × {labels.shape[0]} px and its image "
            f"{pixels.shape[1]} × {pixels.shape[0]}"
        )
    return LabelledPicture(name, np.asarray(pixels, np.uint8), labels)


def _check_foreground(
    pictures: list[LabelledPicture], masks: Path, warn: Callable[[str], None]
) -> None:
    empty = [picture.name for picture in pictures if picture.is_empty]
    if len(empty) == len(pictures):
        raise LabelError(
            f"all {len(empty)} masks in {masks} are empty; foreground must be above 0 in them"
        )
    if all(picture.mask.all() for picture in pictures):
        raise LabelError(
            f"no mask in {masks} has background, which is 0 in masks; subtract the background's "
            f"value"
        )
    if empty:
        warn(f"{len(empty)} masks are empty, and teach that nothing is there: {_listed(empty)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
