"""Tiles in a plane."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from wsi_tower.errors import ScoreError, SettingsError
from wsi_tower.scores import projected


def test_the_plane_is_that_of_largest_variance() -> None:
    rng = np.random.default_rng(0)
    # Variances of exactly 9, 4 and 0.01 along axes turned at random, far from the origin.
    drawn = rng.normal(size=(400, 3))
    apart = 20 * np.linalg.qr(drawn - drawn.mean(axis=0))[0] * (3, 2, 0.1)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    plane = projected(apart @ axes.T + 50)
    assert np.abs(plane.points) == pytest.approx(np.abs(apart[:, :2]), abs=1e-6)
    assert plane.axes == ("component 1, 69% of variance", "component 2, 31% of variance")


def test_signs_do_not_depend_on_the_solver() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(300, 5)) * (5, 3, 1, 1, 1)
    for points, values in (
        (projected(features).points, features),
        (projected(-features).points, -features),
    ):
        loadings = (values - values.mean(axis=0)).T @ points
        assert (loadings[np.abs(loadings).argmax(axis=0), [0, 1]] > 0).all()


def test_one_dimension_is_a_line_and_constants_a_point() -> None:
    assert (projected(np.arange(5.0)[:, None]).points[:, 1] == 0).all()
    flat = projected(np.ones((5, 3)))
    assert (flat.points == 0).all()
    assert flat.axes[0] == "component 1, 0% of variance"
    with pytest.raises(ScoreError, match="2 tiles make no picture"):
        projected(np.ones((2, 3)))


def test_umap_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(SettingsError, match=r"pip install 'wsi-tower\[umap\]'"):
        projected(np.ones((9, 3)), "umap")


def test_umap_gets_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Reducer:
        def __init__(self, **settings: Any) -> None:
            assert settings == {"n_components": 2, "random_state": 5, "n_jobs": 1}

        def fit_transform(self, features: np.ndarray) -> np.ndarray:
            return features[:, :2]

    module = ModuleType("umap")
    module.UMAP = Reducer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    plane = projected(np.arange(27.0).reshape(9, 3), "umap", seed=5)
    assert plane.points[0].tolist() == [0, 1]
    assert plane.axes == ("UMAP 1", "UMAP 2")


def test_auto_is_umap_only_where_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    assert projected(np.eye(9), "auto").axes[0].startswith("component 1")


@pytest.mark.slow  # it compiles for a while
def test_umap_keeps_neighbours_together() -> None:
    groups = np.repeat([0.0, 50.0], 40)
    noise = np.random.default_rng(0).normal(size=(80, 5))
    points = projected(noise + groups[:, None], "umap").points
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(80)
    assert (groups[apart.argmin(axis=1)] == groups).all()
