"""JPEG streams decoded where the batch is wanted, on a GPU by its own decoder."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from wsi_tower.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["decoded"]


def decoded(streams: Sequence[bytes], device: torch.device) -> Tensor:
    """Pixels of complete streams of one size: uint8 (B, 3, H, W) on ``device``.

    A GPU's decoder rounds otherwise than libjpeg, by a grey level here and there, and may repeat
    chroma that libjpeg smooths.

    Raises:
        RuntimeError: a stream is damaged.
        SettingsError: torchvision has no decoder; its makers will take it out some day.
    """
    try:
        from torchvision.io import ImageReadMode, decode_jpeg
    except ImportError as error:
        raise SettingsError(
            "this torchvision decodes no JPEG streams; turn decode_on_device off"
        ) from error
    contents = [torch.frombuffer(bytearray(stream), dtype=torch.uint8) for stream in streams]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pictures = decode_jpeg(contents, mode=ImageReadMode.RGB, device=device)
    return torch.stack(list(pictures))
