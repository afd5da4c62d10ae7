"""`TileFeed`: batches of views for every step, read ahead in threads and made on the device."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from wsi_tower.draws import Draws
from wsi_tower.errors import CorruptStoreError, SettingsError
from wsi_tower.training.augment import AugmentSettings, augmented
from wsi_tower.training.collapse import Probe
from wsi_tower.training.objective import TensorDraws, TileBatch, ViewPlan
from wsi_tower.training.order import Share, StepOrder
from wsi_tower.training.pictures import StreamSource
from wsi_tower.training.ranks import Ranks

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray
    from torch import Tensor

    from wsi_tower.training.order import PartnerSource, StepTiles
    from wsi_tower.training.pictures import PictureSource
    from wsi_tower.training.settings import TrainSettings

__all__ = ["FedStep", "TileFeed", "ViewRecipe"]

_AHEAD = 2
"""Batches read while one is trained on."""
_PORTION = 16
"""Tiles that a thread reads at a time."""
_PROBED = 128
"""Anchors that the watch looks at."""

Portion: TypeAlias = "tuple[NDArray[np.int64], Future[list[bytes] | None]]"
"""Numbers of tiles, and their streams, or None where their pixels are in place."""


@dataclass(frozen=True, slots=True)
class ViewRecipe:
    """How tiles become views."""

    plan: ViewPlan
    """Which views there are: the objective's `Objective.views`."""
    augment: AugmentSettings
    """What happens to them."""

    @property
    def local(self) -> AugmentSettings:
        """What happens to local views."""
        scale = self.augment.local_scale
        return replace(self.augment, crop_px=self.plan.local_px, scale=scale)

    @property
    def largest_window_px(self) -> int:
        """Side of the largest part of a tile that any view shows."""
        local_px = self.local.largest_window_px if self.plan.local_views else 0
        return max(self.augment.largest_window_px, local_px)


@dataclass(frozen=True, slots=True)
class FedStep:
    """A step's batch."""

    step: int
    """Counted from 0."""
    batch: TileBatch
    """All its samples; of this rank."""
    draws: Draws
    """Of these samples."""

    def parts(self, count: int) -> Iterator[tuple[TileBatch, TensorDraws]]:
        """The batch in equal parts, each with its draws."""
        batch, device = self.batch, self.batch.anchors.device
        size = len(self.draws) // count
        for start in range(0, size * count, size):
            some = slice(start, start + size)
            draws = Draws(self.draws.seed, self.draws.step, self.draws.samples[some])
            part = TileBatch(
                views=tuple(view[some] for view in batch.views),
                anchors=batch.anchors[some],
                local_views=tuple(view[some] for view in batch.local_views),
                is_near=None if batch.is_near is None else batch.is_near[some],
            )
            yield part, TensorDraws(draws, device)


class TileFeed:
    """Gives the batch of any step: the same for every number of threads, and after a restart."""

    def __init__(
        self,
        pictures: PictureSource,
        anchors: NDArray[np.int64],
        recipe: ViewRecipe,
        settings: TrainSettings,
        *,
        partners: PartnerSource | None = None,
        share: Share | None = None,
    ) -> None:
        """Check that there is enough to feed on.

        Args:
            pictures: where pixels come from.
            anchors: numbers of the tiles that may be anchors: int64 (N,).
            recipe: how they become views.
            settings: batch, seed, threads and device.
            partners: who meets whom; None where pictures have no places.
            share: of each batch; None: what this process of several has.

        Raises:
            TooFewTilesError: there are fewer anchors than a batch has samples.
            TrainingError: partners are wanted and there is no source for them.
            SettingsError: views are larger than tiles, or the batch cannot be shared.
        """
        self.order = StepOrder(
            anchors, settings.batch_size, settings.seed, recipe.plan.partner, partners
        )
        self.pictures, self.recipe, self.settings = pictures, recipe, settings
        ranks = Ranks.here()
        self.partners = partners
        self.share = share or Share(ranks.rank, ranks.size, settings.accumulate)
        self.share.check(settings.batch_size)
        self.device = settings.torch_device()
        if recipe.largest_window_px > pictures.side_px:
            raise SettingsError(
                f"views show up to {recipe.largest_window_px} px of a tile, and tiles have "
                f"{pictures.side_px} px; lower the crop or its scale, or make larger tiles"
            )
        if settings.decode_on_device and not isinstance(pictures, StreamSource):
            raise SettingsError("decode_on_device needs tile stores of JPEG tiles; turn it off")

    def steps(self, first: int, stop: int) -> Generator[FedStep]:
        """The steps from ``first`` up to, not with, ``stop``. Close it to stop reading.

        What goes wrong while reading is raised here, at the step it belongs to.
        """
        threads = self.settings.reading_threads()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="tiles")
        begun: deque[_Reading] = deque()
        try:
            for step in range(first, stop):
                while len(begun) <= _AHEAD and step + len(begun) < stop:
                    tiles = self.order.tiles(step + len(begun), self.share)
                    begun.append(_Reading(tiles, self, pool))
                reading = begun.popleft()
                yield self.made(reading.tiles, reading.images())
        finally:
            pool.shutdown(cancel_futures=True)

    def glimpse(self, count: int) -> FedStep:
        """Some samples of the first step, of all ranks' together; fewer where there are fewer."""
        anchors = self.order.tiles(0, Share()).anchors[:count]
        tiles = self.order.of_anchors(0, anchors)
        with ThreadPoolExecutor(1) as pool:
            return self.made(tiles, _Reading(tiles, self, pool).images())

    def made(self, tiles: StepTiles, images: Tensor) -> FedStep:
        """A step from its tiles' pictures, the partners' after the anchors': uint8 (…, C, H, W)."""
        own, partners = images[: len(tiles.anchors)], images[len(tiles.anchors) :]
        draws = TensorDraws(tiles.draws, self.device)
        plan, augment = self.recipe.plan, self.recipe.augment
        views = [
            augmented(partners if place and len(partners) else own, augment, draws, str(place))
            for place in range(plan.views)
        ]
        local_views = [
            augmented(own, self.recipe.local, draws, f"local-{place}")
            for place in range(plan.local_views)
        ]
        near = tiles.is_near
        batch = TileBatch(
            views=tuple(views),
            anchors=torch.from_numpy(tiles.anchors).to(self.device),
            local_views=tuple(local_views),
            is_near=None if near is None else torch.from_numpy(near).to(self.device),
        )
        return FedStep(tiles.step, batch, tiles.draws)

    def probe(self) -> Probe:
        """Fixed pictures for the watch: middles of some anchors, of near and of distant tiles."""
        anchors = self.order.anchors
        if self.partners is not None:
            has_both = self.partners.has_partner("near") & self.partners.has_partner("distant")
            paired = anchors[has_both[anchors]]
            if len(paired) > 1:
                chosen, draws = self._probed(paired)
                near = self._middles(self.partners.partners("near", chosen, draws))
                distant = self._middles(self.partners.partners("distant", chosen, draws))
                return Probe(self._middles(chosen), near, distant)
        return Probe(self._middles(self._probed(anchors)[0]))

    def _probed(self, anchors: NDArray[np.int64]) -> tuple[NDArray[np.int64], Draws]:
        keys = Draws(self.settings.seed, 0, anchors).bits("probe", 1)[:, 0]
        chosen = anchors[np.argsort(keys, kind="stable")[:_PROBED]]
        return chosen, Draws(self.settings.seed, 0, chosen)

    def _middles(self, numbers: NDArray[np.int64]) -> Tensor:
        """Middles of tiles, as large as a view: uint8 (B, C, crop, crop) on the device."""
        pixels = _empty(len(numbers), self.pictures, pinned=False)
        self.pictures.read_into(numbers, pixels.numpy())
        crop_px = self.recipe.augment.crop_px
        start = (self.pictures.side_px - crop_px) // 2
        middle = pixels[:, start : start + crop_px, start : start + crop_px]
        return middle.permute(0, 3, 1, 2).to(self.device)


class _Reading:
    """A step's pictures on their way: read in portions by the threads of a pool."""

    def __init__(self, tiles: StepTiles, feed: TileFeed, pool: ThreadPoolExecutor) -> None:
        self.tiles, self._feed = tiles, feed
        others = [] if tiles.partners is None else [tiles.partners]
        numbers = np.concatenate([tiles.anchors, *others])
        self._pixels = _empty(len(numbers), feed.pictures, pinned=feed.device.type == "cuda")
        read = self._streams if feed.settings.decode_on_device else self._read
        self._portions: list[Portion] = []
        for start in range(0, len(numbers), _PORTION):
            some = numbers[start : start + _PORTION]
            self._portions.append((some, pool.submit(read, some, self._place(start))))

    def images(self) -> Tensor:
        """The pictures, when all are there: uint8 (B, C, H, W) on the device."""
        streams = [future.result() for _, future in self._portions]
        if not any(streams):
            return self._pixels.to(self._feed.device, non_blocking=True).permute(0, 3, 1, 2)
        parts = [self._decoded(number * _PORTION, some) for number, some in enumerate(streams)]
        return torch.cat(parts)

    def _place(self, start: int) -> NDArray[np.uint8]:
        return self._pixels.numpy()[start : start + _PORTION]

    def _read(self, numbers: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        self._feed.pictures.read_into(numbers, pixels)

    def _streams(self, numbers: NDArray[np.int64], pixels: NDArray[np.uint8]) -> list[bytes] | None:
        pictures = self._feed.pictures
        assert isinstance(pictures, StreamSource)
        try:
            return pictures.streams(numbers)
        except CorruptStoreError:
            # Reading pixels knows what to do with a tile that cannot be read.
            self._read(numbers, pixels)
            return None

    def _decoded(self, start: int, streams: list[bytes] | None) -> Tensor:
        from wsi_tower.training.decoding import decoded

        device = self._feed.device
        if streams is not None:
            try:
                return decoded(streams, device)
            except RuntimeError:
                self._read(self._portions[start // _PORTION][0], self._place(start))
        return self._pixels[start : start + _PORTION].to(device).permute(0, 3, 1, 2)


def _empty(count: int, pictures: PictureSource, *, pinned: bool) -> Tensor:
    shape = (count, pictures.side_px, pictures.side_px, pictures.channels)
    return torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
