"""Masks in files: found by name, read as whole numbers, whatever they count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from wsi_tower.errors import LabelError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["files_by_name", "label_values"]

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})
_LOSSY = frozenset({".jpg", ".jpeg"})


def files_by_name(folder: Path, role: str) -> dict[str, Path]:
    """The pictures of a folder by name without suffix.

    Args:
        folder: searched without its subfolders.
        role: what they are, as the option is called.

    Raises:
        SettingsError: it is no folder.
        LabelError: it holds no picture, or two of one name.
    """
    if not folder.is_dir():
        raise SettingsError(f"--{role} {folder} is no folder; give the one that the {role} lie in")
    paths: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in paths:
            raise LabelError(
                f"{folder} has two files of one name, {paths[path.stem].name} and {path.name}; "
                f"remove one"
            )
        paths[path.stem] = path
    if not paths:
        raise LabelError(
            f"--{role} {folder} holds no image; wanted are files with the suffixes "
            f"{', '.join(sorted(_SUFFIXES))}"
        )
    return paths


def label_values(path: Path) -> NDArray[np.integer[Any]]:
    """What a mask has at each pixel: whole numbers, 0 for nothing: (H, W).

    Raises:
        LabelError: it cannot be read, or holds what no mask holds.
    """
    if path.suffix.lower() in _LOSSY:
        raise LabelError(f"{path.name} is a JPEG, which blurs labels; save it as PNG or TIFF")
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise LabelError(f"{path.name} cannot be read")
    if values.ndim == 3:
        colours = values[..., :3]
        if (colours != colours[..., :1]).any():
            raise LabelError(f"{path.name} is in colour; a mask has one number a pixel")
        values = colours[..., 0]
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.rint(values))).all():
        raise LabelError(f"{path.name} holds values that are no whole numbers")
    if values.min() < 0:
        raise LabelError(f"{path.name} holds values below 0, down to {values.min()}")
    whole = values if values.dtype.kind in "iu" else values.astype(np.int64)
    return cast("NDArray[np.integer[Any]]", whole)
