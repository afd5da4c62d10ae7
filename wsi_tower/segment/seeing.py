"""A network over the windows of a slide: read ahead in threads, seen batch by batch."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from wsi_tower.embeddings import Reading, read_ahead
from wsi_tower.errors import ModelError
from wsi_tower.segment.blending import SeenWindow
from wsi_tower.stain import DEFAULT_WHITE, StainReference, mean_density

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from wsi_tower.embeddings import ForwardSettings
    from wsi_tower.models import Segmenter
    from wsi_tower.segment.raster import SlideRaster
    from wsi_tower.segment.windows import WindowGrid
    from wsi_tower.slides import Rgb, Slide
    from wsi_tower.stain import StainStatistics, White
    from wsi_tower.training import Precision

__all__ = ["SlideLight", "seen_windows"]


@dataclass(frozen=True, slots=True)
class SlideLight:
    """A slide's white and dyes, and what its stain is brought to before the network."""

    white: White = DEFAULT_WHITE
    """Grey levels of its bare glass."""
    reference: StainReference | None = None
    """What stain is brought to; None leaves it."""
    own: StainStatistics | None = None
    """The slide's own stain; given with ``reference``."""

    def shown(self, pixels: Rgb) -> Rgb:
        """Pixels as the network is to see them."""
        if self.reference is None or self.own is None:
            return pixels
        return self.reference.normalised(pixels, self.own, self.white)

    def density(self, pixels: Rgb) -> NDArray[np.uint8]:
        """Mean optical density of the channels in hundredths, as the slide itself has it."""
        values = mean_density(pixels, self.white).reshape(pixels.shape[:2])
        return np.clip(np.rint(100 * values), 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class WindowSource:
    """Where windows come from."""

    slide: Slide
    """Open."""
    raster: SlideRaster
    """How it becomes a picture."""
    grid: WindowGrid
    """Windows of that."""
    light: SlideLight
    """Stain and white."""


@dataclass(frozen=True, slots=True)
class Looking:
    """Who looks at windows, and where."""

    network: Segmenter
    """On its device, in evaluation mode."""
    device: torch.device
    """That one."""
    forward: ForwardSettings
    """Batch and threads."""
    precision: Precision = "fp32"
    """Of the forward pass."""

    @torch.inference_mode()
    def probabilities(self, pixels: torch.Tensor) -> NDArray[np.float32]:
        """Of pixels (B, side, side, 3) uint8: (B, K, side, side)."""
        images = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        images = images.to(torch.float32).div_(255)
        is_half = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_half):
            found = self.network.probabilities(images)
        values: NDArray[np.float32] = found.float().cpu().numpy()
        if not np.isfinite(values).all():
            raise ModelError(
                "the model gives no finite numbers for a window; try --precision fp32, or train it "
                "again"
            )
        return values


def seen_windows(
    source: WindowSource, chosen: NDArray[np.bool_], looking: Looking
) -> Iterator[SeenWindow]:
    """What the network says of the chosen windows, row by row.

    Args:
        source: of their pixels.
        chosen: which: (rows, columns) of the grid.
        looking: the network.

    Raises:
        UnreadableSlideError: the slide is damaged there.
        ModelError: the network gives no finite number.
    """
    places = np.argwhere(chosen)
    grid, light = source.grid, source.light

    def read(first: int, into: NDArray[np.uint8]) -> None:
        for number, pixels in enumerate(into):
            row, column = places[first + number].tolist()
            pixels[:] = source.raster.read(source.slide, grid.box(column, row))

    reading = Reading(
        len(places),
        grid.window_px,
        looking.forward.batch_size,
        looking.forward.reading_threads(),
        pinned=looking.device.type == "cuda",
        portion=1,
    )
    number = 0
    with closing(read_ahead(reading, read)) as batches:
        for batch in batches:
            pictures = batch.numpy()
            shown = batch if light.reference is None else torch.from_numpy(light.shown(pictures))
            for picture, found in zip(pictures, looking.probabilities(shown), strict=True):
                row, column = places[number].tolist()
                yield SeenWindow(column, row, found, light.density(picture))
                number += 1
