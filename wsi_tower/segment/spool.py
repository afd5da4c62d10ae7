"""Bands of numbers put aside on the disk until it is known which of them are one object."""

from __future__ import annotations

from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Self

import numpy as np
from numcodecs.zstd import Zstd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

__all__ = ["BandSpool"]

_ZSTD_LEVEL = 1


class BandSpool:
    """Takes bands from the top down and gives them back so. Use as a context manager.

    Its file has no name, so nothing is left of it however the process ends.
    """

    def __init__(self, folder: Path) -> None:
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._bands: list[tuple[int, tuple[int, ...]]] = []

    def add(self, numbers: NDArray[np.uint32]) -> None:
        """Put a band (rows, width) aside.

        Raises:
            OSError: the disk refused.
        """
        packed = Zstd(level=_ZSTD_LEVEL).encode(np.ascontiguousarray(numbers))
        self._file.write(packed)
        self._bands.append((len(packed), numbers.shape))

    def __iter__(self) -> Iterator[NDArray[np.uint32]]:
        self._file.seek(0)
        for length, shape in self._bands:
            raw = Zstd().decode(self._file.read(length))
            yield np.frombuffer(raw, np.uint32).reshape(shape)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
