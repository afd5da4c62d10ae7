"""Where pictures come from: the stores of any number of slides, or a folder of flat images.

Pictures are numbered through all stores or images, in the order given. One that cannot be read is
named and left out: the next sound one in number takes its place, at each reading the same.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np

from wsi_tower.errors import (
    CorruptStoreError,
    SlideError,
    TooFewTilesError,
    TrainingError,
)
from wsi_tower.tiles import ShardFiles, TileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Literal

    from numpy.typing import NDArray

__all__ = ["PictureSource", "SoundPictures", "StorePictures", "StreamSource"]

Warn: TypeAlias = "Callable[[str], None]"
"""Takes one sentence for the user."""


class PictureSource(Protocol):
    """Square pictures of one size, by number. Read by many threads at once."""

    side_px: int
    """Side of each."""
    channels: int
    """3 for colour, 1 for grey."""

    def __len__(self) -> int: ...

    def read_into(self, numbers: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        """Put pictures into ``pixels``: uint8 (B, side, side, channels)."""


@runtime_checkable
class StreamSource(Protocol):
    """Pictures that can be had as complete JPEG streams too, to be decoded elsewhere."""

    def streams(self, numbers: NDArray[np.int64]) -> list[bytes]:
        """One stream a picture.

        Raises:
            CorruptStoreError: one cannot be read.
        """


class SoundPictures(ABC):
    """A source that names pictures it cannot read, and gives the next sound ones instead."""

    side_px: int
    channels: int

    def __init__(self, *, strict: bool, warn: Warn) -> None:
        """``strict`` stops at the first picture that cannot be read; else ``warn`` hears of it."""
        self._is_strict, self._warn = strict, warn
        self._dropping = threading.Lock()
        self.dropped: set[int] = set()
        """Numbers of pictures that could not be read."""

    @abstractmethod
    def __len__(self) -> int:
        """How many pictures there are."""

    @abstractmethod
    def _read_one(self, number: int, pixels: NDArray[np.uint8]) -> None:
        """Put a picture into ``pixels``.

        Raises:
            CorruptStoreError, SlideError: it cannot be read.
        """

    @abstractmethod
    def _name_of(self, number: int) -> str:
        """What the user calls a picture."""

    def read_into(self, numbers: NDArray[np.int64], pixels: NDArray[np.uint8]) -> None:
        """Put pictures into ``pixels``: uint8 (B, side, side, channels).

        Raises:
            TrainingError: one cannot be read and the source is strict, or none can.
        """
        # In the order of the files, whatever was asked: a disk reads on faster than back and forth.
        for place in np.argsort(numbers, kind="stable").tolist():
            self._read_sound(int(numbers[place]), pixels[place])

    def _read_sound(self, number: int, pixels: NDArray[np.uint8]) -> None:
        for step in range(len(self)):
            candidate = (number + step) % len(self)
            if candidate in self.dropped:
                continue
            try:
                self._read_one(candidate, pixels)
            except (CorruptStoreError, SlideError) as error:
                self._drop(candidate, error)
            else:
                return
        raise TrainingError(f"none of the {len(self)} tiles can be read; remake the stores")

    def _drop(self, number: int, error: Exception) -> None:
        if self._is_strict:
            raise TrainingError(
                f"{self._name_of(number)} cannot be read: {error}; or leave out --strict to train "
                f"without it"
            ) from error
        with self._dropping:
            is_new = number not in self.dropped
            self.dropped.add(number)
        if is_new:
            self._warn(f"{self._name_of(number)} is left out: {error}")


class StorePictures(SoundPictures):
    """The tiles of many stores. Use as a context manager, or close it."""

    channels = 3

    def __init__(
        self, stores: Sequence[TileStore], *, mix: bool = False, strict: bool = False, warn: Warn
    ) -> None:
        """Number the tiles of ``stores``.

        Args:
            stores: opened; this closes them.
            mix: whether they may differ in resolution.
            strict: see `SoundPictures`.
            warn: see `SoundPictures`.

        Raises:
            TooFewTilesError: there is no store.
            TrainingError: they differ in tile size, or in resolution without ``mix``.
        """
        super().__init__(strict=strict, warn=warn)
        if not stores:
            raise TooFewTilesError("there is no tile store to train on; make some with tile")
        _check_alike(stores, mix=mix)
        self.stores = tuple(stores)
        self.side_px = stores[0].plan.tile_px
        self.firsts: NDArray[np.int64] = np.cumsum([0, *map(len, stores)])
        """Number of each store's first tile, and at last that of all tiles: (S + 1,)."""
        self._pixels = [store.pixels for store in stores]

    @classmethod
    def open(
        cls,
        paths: Sequence[Path],
        *,
        decode: Literal["exact", "fast"] = "fast",
        mix: bool = False,
        strict: bool = False,
        warn: Warn,
    ) -> Self:
        """Open stores that share their open files; see `TileStore.open` for ``decode``.

        Of stores with the same content the first is taken, and ``warn`` hears of the others.
        """
        files = ShardFiles()
        stores: dict[str, TileStore] = {}
        for path in paths:
            store = TileStore.open(path, decode=decode, files=files)
            same = stores.setdefault(store.header.content_digest, store)
            if same is not store:
                warn(f"store {path} holds the same tiles as {same.path} and is left out")
        return cls(tuple(stores.values()), mix=mix, strict=strict, warn=warn)

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def streams(self, numbers: NDArray[np.int64]) -> list[bytes]:
        """The tiles' complete JPEG streams.

        Raises:
            SettingsError: a store holds its pixels in another form.
            CorruptStoreError: one cannot be read.
        """
        places = (self._place(int(number)) for number in numbers)
        return [self._pixels[store].stream(row) for store, row in places]

    def close(self) -> None:
        """Give back files."""
        for store in self.stores:
            store.close()

    def _read_one(self, number: int, pixels: NDArray[np.uint8]) -> None:
        store, row = self._place(number)
        pixels[:] = self._pixels[store][row]

    def _name_of(self, number: int) -> str:
        store, row = self._place(number)
        return f"slide {self.stores[store].slide.slide_id}, tile row {row}"

    def _place(self, number: int) -> tuple[int, int]:
        store = int(np.searchsorted(self.firsts, number, side="right")) - 1
        return store, number - int(self.firsts[store])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _check_alike(stores: Sequence[TileStore], *, mix: bool) -> None:
    first = stores[0]
    for store in stores[1:]:
        if store.plan.tile_px != first.plan.tile_px:
            raise TrainingError(
                f"store {store.path} has tiles of {store.plan.tile_px} px and "
                f"{first.path} of {first.plan.tile_px} px; tile them alike, or train on one "
                f"kind at a time"
            )
        ratio = store.plan.effective_mpp / first.plan.effective_mpp
        if not mix and abs(ratio - 1) > _LIKE_MPP:
            raise TrainingError(
                f"store {store.path} has {store.plan.effective_mpp:g} µm/px and "
                f"{first.path} {first.plan.effective_mpp:g}; tile them alike, or mix them "
                f"on purpose with --mix"
            )


_LIKE_MPP = 0.1
"""Relative difference of resolutions that count as one: levels within 5 % of the target serve it
as they are, to either side."""
