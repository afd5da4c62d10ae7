"""Colours of features, and where they lie on the slide."""

from __future__ import annotations

import numpy as np
import pytest

from wsi_tower.geometry import Mpp
from wsi_tower.report import embedding_picture
from wsi_tower.report.embedding_picture import feature_colours
from wsi_tower.slides import Overview


def test_the_direction_of_most_variance_is_red_the_next_green() -> None:
    draws = np.random.default_rng(0)
    spread = np.array([10, 3, 1]) * draws.normal(size=(500, 3))
    turned, _ = np.linalg.qr(draws.normal(size=(40, 40)))
    colours = feature_colours((spread @ turned[:3]).astype(np.float32)).astype(float)
    for channel in range(3):
        found = np.corrcoef(colours[:, channel], spread[:, channel])[0, 1]
        assert abs(found) > 0.97


def test_like_features_have_like_colours() -> None:
    features = np.repeat(np.eye(3, 5, dtype=np.float32), 20, axis=0)
    colours = feature_colours(features)
    kinds = [set(map(tuple, colours[start : start + 20].tolist())) for start in (0, 20, 40)]
    assert all(len(kind) == 1 for kind in kinds)
    assert len(set.union(*kinds)) == 3


@pytest.mark.parametrize("shape", [(1, 4), (6, 1), (6, 2), (5, 4)])
def test_few_tiles_short_features_and_equal_ones_have_colours(shape: tuple[int, int]) -> None:
    colours = feature_colours(np.ones(shape, np.float16))
    assert colours.shape == (shape[0], 3)
    assert set(colours.ravel().tolist()) == {137}


def test_colours_are_the_same_each_time() -> None:
    features = np.random.default_rng(3).normal(size=(300, 64)).astype(np.float32)
    np.testing.assert_array_equal(feature_colours(features), feature_colours(features))


def test_tiles_lie_beside_the_slide_where_they_lie_on_it() -> None:
    overview = Overview(np.full((100, 200, 3), 200, np.uint8), pitch_l0=10.0)
    corners = np.array([(0, 0), (1000, 500)])
    features = np.array([(0, 0), (1, 1)], np.float32)
    picture = np.asarray(embedding_picture(overview, corners, features, 500, Mpp(0.5, 0.5)))
    # 2000 × 1000 level-0 pixels become 1000 × 500, twice beside each other with a gap of 16.
    assert picture.shape[1] == 2016
    right = picture[:500, 1016:]
    first, second = right[100, 100].tolist(), right[400, 600].tolist()
    assert first != second
    assert right[400, 100].tolist() == [244, 244, 244]
    assert (right[:250, :250] == first).all()
    assert (right[250:500, 500:750] == second).all()
