"""Objects of masks: connected, split, joined across bands, measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsi_tower.segment.blending import Band
from wsi_tower.segment.joining import ObjectJoiner, ObjectTable
from wsi_tower.segment.objects import label_objects

if TYPE_CHECKING:
    from numpy.typing import NDArray

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 30), st.integers(1, 30)))


def discs(shape: tuple[int, int], *circles: tuple[int, int, int]) -> NDArray[np.bool_]:
    canvas = np.zeros(shape, np.uint8)
    for x, y, radius in circles:
        cv2.circle(canvas, (x, y), radius, 1, -1)
    return canvas.astype(np.bool_)


def joined(
    mask: NDArray[np.bool_],
    heights: list[int],
    *,
    split_px: float | None = None,
    min_area_px: float = 0,
    tissue: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.uint32], ObjectTable]:
    """Ids and table of a mask that comes in bands of some heights, over and over."""
    tissue = np.ones_like(mask) if tissue is None else tissue
    joiner = ObjectJoiner((0.5,), tissue, 1.0, split_px)
    top = 0
    bands: list[NDArray[np.uint32]] = []
    while top < len(mask):
        rows = mask[top : top + heights[len(bands) % len(heights)]]
        density = np.full(rows.shape, 40, np.uint8)
        bands.append(joiner.take(Band(top, rows[None].astype(np.float32), density)))
        top += len(rows)
    ids, table = joiner.finished(min_area_px)
    return ids[np.concatenate(bands)], table


def test_pixels_that_touch_at_a_corner_are_two_objects() -> None:
    mask = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1]], np.bool_)
    assert label_objects(mask).tolist() == [[1, 0, 0], [0, 2, 2], [0, 0, 2]]


def test_two_discs_that_touch_are_split_at_their_waist() -> None:
    mask = discs((60, 90), (28, 30, 15), (60, 30, 18))
    assert label_objects(mask).max() == 1
    labels = label_objects(mask, split_px=8)
    assert labels.max() == 2
    assert ((labels > 0) == mask).all()
    assert labels[30, 28] != labels[30, 60]
    # The radii meet between x = 42 and 43.
    assert labels[30, 40] == labels[30, 28]
    assert labels[30, 46] == labels[30, 60]


def test_a_disc_is_not_split() -> None:
    assert label_objects(discs((80, 80), (40, 40, 30)), split_px=8).max() == 1


@given(MASKS, st.sampled_from([4.0, 2.0, 1.0]))
def test_splitting_loses_no_pixel_and_joins_nothing(
    mask: NDArray[np.bool_], split_px: float
) -> None:
    whole, parts = label_objects(mask), label_objects(mask, split_px=split_px)
    assert ((parts > 0) == mask).all()
    assert set(np.unique(parts)) == set(range(parts.max() + 1)) - ({0} if mask.all() else set())
    for number in range(1, parts.max() + 1):
        assert len(np.unique(whole[parts == number])) == 1


@settings(max_examples=200)
@given(MASKS, st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_bands_of_any_height_give_the_objects_of_the_whole(
    mask: NDArray[np.bool_], heights: list[int]
) -> None:
    whole = label_objects(mask)
    ids, table = joined(mask, heights)
    assert len(table) == whole.max()
    pairs = set(zip(whole.ravel().tolist(), ids.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(whole))
    for number in range(1, len(table) + 1):
        rows, columns = np.nonzero(ids == number)
        assert table.area_px[number - 1] == len(rows)
        assert table.centre_px[number - 1] == pytest.approx(
            (columns.mean() + 0.5, rows.mean() + 0.5)
        )
        assert table.optical_density[number - 1] == pytest.approx(0.4)


def test_a_horseshoe_is_one_object_whose_arms_meet_last() -> None:
    mask = np.array([[1, 0, 1], [1, 0, 1], [1, 0, 1], [1, 1, 1]], np.bool_)
    ids, table = joined(mask, [1])
    assert table.area_px.tolist() == [9]
    assert table.centre_px[0] == pytest.approx((1.5, 2 + 1 / 6))
    assert (ids == mask).all()


@pytest.mark.parametrize("seam", range(10, 50, 3))
def test_split_objects_stay_two_wherever_a_seam_crosses_them(seam: int) -> None:
    mask = discs((60, 90), (28, 30, 15), (60, 30, 18))
    ids, table = joined(mask, [seam, 60], split_px=8)
    assert len(table) == 2
    assert ids[30, 24] != ids[30, 64]


def test_small_objects_and_those_off_the_tissue_are_dropped() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[1:5, 1:5] = mask[1:3, 10:12] = mask[10:14, 1:5] = mask[10:14, 10:14] = True
    tissue = np.ones_like(mask)
    tissue[:, 10:] = False
    tissue[10:12, 10:] = True
    tissue[10:14, 1:4] = False
    ids, table = joined(mask, [7], min_area_px=5, tissue=tissue)
    # Left: 16 px; 4 px are too few; a quarter of the third is on tissue, half of the fourth.
    assert table.area_px.tolist() == [16, 16]
    assert ids[2, 2] == 1
    assert ids[11, 11] == 2
    assert ids.max() == 2


def test_of_several_classes_the_most_probable_counts() -> None:
    probabilities = np.array([[[0.9, 0.6, 0.2, 0.4]], [[0.1, 0.7, 0.4, 0.8]]], np.float32)
    joiner = ObjectJoiner((0.5, 0.5), np.ones((1, 4), np.bool_), 1.0)
    numbers = joiner.take(Band(0, probabilities, np.zeros((1, 4), np.uint8)))
    ids, table = joiner.finished(0)
    assert ids[numbers].tolist() == [[1, 2, 0, 3]]
    assert table.class_number.tolist() == [0, 1, 1]
    assert table.probability.tolist() == pytest.approx([0.9, 0.7, 0.8])
