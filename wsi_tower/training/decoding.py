"""JPEG streams decoded where the batch is wanted, on a GPU by its own decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torchvision.io import ImageReadMode, decode_jpeg

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
    """
    contents = [torch.frombuffer(bytearray(stream), dtype=torch.uint8) for stream in streams]
    pictures = decode_jpeg(contents, mode=ImageReadMode.RGB, device=device)
    return torch.stack(list(pictures))
