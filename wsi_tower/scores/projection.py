"""Descriptors laid out in a plane, to look at."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from wsi_tower.errors import ScoreError, SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Projection", "ProjectionMethod", "projected"]

ProjectionMethod: TypeAlias = Literal["auto", "pca", "umap"]
"""``pca``: the plane of largest variance. ``umap``: neighbours stay together, distances mean little
(McInnes, Healy and Melville, arXiv 1802.03426). ``auto``: UMAP where it is installed, else PCA."""


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Points in a plane."""

    points: NDArray[np.float64]
    """(N, 2)."""
    axes: tuple[str, str]
    """What each axis is, for people."""


def projected(
    features: NDArray[np.floating], method: ProjectionMethod = "pca", seed: int = 0
) -> Projection:
    """Lay descriptors out in a plane.

    Args:
        features: finite, (N, D); three tiles or more.
        method: how.
        seed: of UMAP; PCA has no luck in it.

    Raises:
        ScoreError: fewer than three tiles.
        SettingsError: UMAP is not installed.
    """
    if len(features) < 3:
        raise ScoreError(f"{len(features)} tiles make no picture; embed more")
    if method == "auto":
        method = "umap" if find_spec("umap") else "pca"
    if method == "umap":
        return Projection(_umap(features, seed), ("UMAP 1", "UMAP 2"))
    return _principal_components(np.asarray(features, np.float64))


def _principal_components(features: NDArray[np.float64]) -> Projection:
    centred = features - features.mean(axis=0)
    # Of the D × D matrix, since tiles are many and dimensions few.
    variances, directions = np.linalg.eigh(centred.T @ centred)
    directions = directions[:, ::-1][:, :2]
    if directions.shape[1] < 2:
        directions = np.hstack([directions, np.zeros_like(directions)])
    # An axis has no sign of its own: its largest part points up, whatever the machine.
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.where(directions[largest, [0, 1]] < 0, -1, 1)
    shares = np.append(variances[::-1], 0.0)[:2] / max(float(variances.sum()), 1e-300)
    first, second = (
        f"component {n + 1}, {share:.0%} of variance" for n, share in enumerate(shares)
    )
    return Projection(centred @ directions, (first, second))


def _umap(features: NDArray[np.floating], seed: int) -> NDArray[np.float64]:
    try:
        from umap import UMAP
    except ModuleNotFoundError as error:
        raise SettingsError(
            "UMAP is not installed; install it with pip install 'wsi-tower[umap]', or take the "
            "projection pca"
        ) from error
    # A seed allows one thread only; said beforehand, umap does not warn of it.
    reducer = UMAP(n_components=2, random_state=seed, n_jobs=1)
    return np.asarray(reducer.fit_transform(np.asarray(features, np.float32)), np.float64)
