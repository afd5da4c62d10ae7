"""Objects across bands: numbered as bands come, joined where they meet, measured as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from wsi_tower.segment.objects import label_objects

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wsi_tower.segment.blending import Band

__all__ = ["ObjectJoiner", "ObjectTable"]

_SUMS = ("area_px", "x_px", "y_px", "density", "probability", "tissue_px")


@dataclass(frozen=True, slots=True, eq=False)
class ObjectTable:
    """The objects of a slide, by id from 1 on: row i is object i + 1."""

    class_number: NDArray[np.int64]
    """Index of its class: (N,)."""
    centre_px: NDArray[np.float64]
    """Centroid as x and y, from the picture's corner: (N, 2)."""
    area_px: NDArray[np.int64]
    """Pixels: (N,)."""
    tissue_px: NDArray[np.int64]
    """Those on tissue: (N,)."""
    optical_density: NDArray[np.float64]
    """Mean over its pixels: (N,)."""
    probability: NDArray[np.float64]
    """Mean over its pixels: (N,)."""

    def __len__(self) -> int:
        return len(self.area_px)


@dataclass
class ObjectJoiner:
    """Takes bands from the top down, and knows the objects when all have come."""

    thresholds: tuple[float, ...]
    """Least probability of each class."""
    tissue: NDArray[np.bool_]
    """Where tissue is, over the whole picture."""
    mask_px: float
    """Pixels of the picture per pixel of that mask."""
    split_px: float | None = None
    """See `label_objects`."""
    _count: int = 0
    _classes: list[NDArray[np.int64]] = field(default_factory=list)
    _sums: list[NDArray[np.float64]] = field(default_factory=list)
    _pairs: list[NDArray[np.int64]] = field(default_factory=list)
    _last_row: NDArray[np.uint32] | None = None

    def take(self, band: Band) -> NDArray[np.uint32]:
        """The band's objects by numbers of their own, one or more an object: (rows, width)."""
        numbers = np.zeros(band.density.shape, np.uint32)
        classes = [np.zeros(0, np.int64)]
        for number, mask in enumerate(_class_masks(band.probabilities, self.thresholds)):
            if not mask.any():
                continue
            labels = label_objects(mask, split_px=self.split_px)
            numbers[mask] = labels[mask] + self._count + sum(map(len, classes))
            classes.append(np.full(int(labels.max()), number, np.int64))
        self._classes.append(np.concatenate(classes))
        self._sums.append(self._measured(numbers, band, len(self._classes[-1])))
        self._join(numbers[0])
        self._count += len(self._classes[-1])
        self._last_row = numbers[-1].copy()
        return numbers

    def finished(self, min_area_px: float) -> tuple[NDArray[np.uint32], ObjectTable]:
        """What the numbers mean.

        Objects that are smaller, or of which less than half lies on tissue, are dropped.

        Returns:
            The id of every number, 0 where it was dropped: (numbers + 1,); and the objects.
        """
        roots = self._roots()
        sums = np.concatenate([np.zeros((1, len(_SUMS))), *self._sums])
        whole = np.stack([np.bincount(roots, column, len(roots)) for column in sums.T], axis=1)
        area, on_tissue = whole[:, 0], whole[:, _SUMS.index("tissue_px")]
        kept = (area > 0) & (area >= min_area_px) & (2 * on_tissue >= area)
        ids = np.where(kept, np.cumsum(kept), 0).astype(np.uint32)[roots]
        found = np.concatenate([np.zeros(1, np.int64), *self._classes])[kept]
        area_px, x_px, y_px, density, probability, tissue_px = whole[kept].T
        centre_px = np.stack([x_px, y_px], axis=1) / area_px[:, None] + 0.5
        return ids, ObjectTable(
            found,
            centre_px,
            area_px.astype(np.int64),
            tissue_px.astype(np.int64),
            density / area_px / 100,
            probability / area_px,
        )

    def _measured(self, numbers: NDArray[np.uint32], band: Band, count: int) -> NDArray[np.float64]:
        """Sums over the pixels of each of the band's objects: (objects, sums)."""
        y, x = np.nonzero(numbers)
        own = (numbers[y, x] - np.uint32(self._count + 1)).astype(np.int64)
        rows = ((y + band.top + 0.5) / self.mask_px).astype(np.int64)
        columns = ((x + 0.5) / self.mask_px).astype(np.int64)
        height, width = self.tissue.shape
        on_tissue = self.tissue[np.minimum(rows, height - 1), np.minimum(columns, width - 1)]
        certain = band.probabilities.max(axis=0)[y, x]
        columns_of_sums = (None, x, y + band.top, band.density[y, x], certain, on_tissue)
        return np.stack([np.bincount(own, one, count) for one in columns_of_sums], axis=1)

    def _join(self, first_row: NDArray[np.uint32]) -> None:
        """Note which of the last band's numbers go on in this one's."""
        if self._last_row is None:
            return
        meets = (self._last_row > 0) & (first_row > 0)
        pairs = np.stack([self._last_row[meets], first_row[meets]], axis=1).astype(np.int64)
        pairs, lengths = np.unique(pairs, axis=0, return_counts=True)
        before, now = self._classes[-2:]
        last = before[pairs[:, 0] - (self._count - len(before)) - 1]
        same = last == now[pairs[:, 1] - self._count - 1]
        pairs, lengths = pairs[same], lengths[same]
        if self.split_px is not None:
            pairs = _best(pairs, lengths)
        self._pairs.append(pairs)

    def _roots(self) -> NDArray[np.int64]:
        """The smallest number of each number's object: (numbers + 1,)."""
        roots = np.arange(self._count + 1)
        above = dict[int, int]()

        def root_of(number: int) -> int:
            path = []
            while number in above:
                path.append(number)
                number = above[number]
            above.update(dict.fromkeys(path, number))
            return number

        for pairs in self._pairs:
            for one, other in pairs.tolist():
                first, second = sorted((root_of(one), root_of(other)))
                if first != second:
                    above[second] = first
        for number in list(above):
            roots[number] = root_of(number)
        return roots


def _class_masks(
    probabilities: NDArray[np.float32], thresholds: tuple[float, ...]
) -> list[NDArray[np.bool_]]:
    """Where each class is: above its threshold, and the most probable of those that are."""
    if len(probabilities) == 1:
        return [probabilities[0] >= thresholds[0]]
    likely = np.stack(
        [
            np.where(one >= least, one, 0)
            for one, least in zip(probabilities, thresholds, strict=True)
        ]
    )
    first, any_likely = likely.argmax(axis=0), likely.any(axis=0)
    return [any_likely & (first == number) for number in range(len(likely))]


def _best(pairs: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs in which each is the one that the other shares most of the seam with.

    Where objects are split, neighbours meet at the seam too, and must not become one.
    """
    best: list[dict[int, tuple[int, int]]] = [{}, {}]
    for (one, other), length in zip(pairs.tolist(), lengths.tolist(), strict=True):
        for side, (own, mate) in enumerate(((one, other), (other, one))):
            best[side][own] = max(best[side].get(own, (0, 0)), (length, mate))
    mutual = [
        (one, other)
        for one, other in pairs.tolist()
        if best[0][one][1] == other and best[1][other][1] == one
    ]
    return np.array(mutual, np.int64).reshape(-1, 2)
