"""What a slide shows, box by box."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapely

from wsi_tower.geometry import Level0Box
from wsi_tower.phantom import PhantomSettings
from wsi_tower.phantom.recipe import KINDS, TUMOUR
from wsi_tower.phantom.scene import Scene

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

SETTINGS = PhantomSettings(slides=1, width_um=4000, height_um=3000, mpp=1, seed=3, pen_every=0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Slide with a macro-metastasis."""
    return Scene.drawn(SETTINGS, 0)


def _box_within(area: BaseGeometry, side: int) -> Level0Box:
    """A box wholly inside an area, the one nearest to its middle."""
    left, top, right, bottom = (int(end) for end in area.bounds)
    corners = [(x, y) for y in range(top, bottom, 16) for x in range(left, right, 16)]
    x, y = np.array(corners).T
    inside = shapely.contains(area, shapely.box(x, y, x + side, y + side))
    middle = np.hypot(x - area.centroid.x, y - area.centroid.y)
    best = int(np.argmin(np.where(inside, middle, np.inf)))
    return Level0Box(int(x[best]), int(y[best]), side, side)


def test_boxes_meet_without_a_seam(scene: Scene) -> None:
    box = _box_within(shapely.union_all(scene.tissue_l0), 256)
    whole = scene.tile(box)
    halves = [
        scene.tile(replace(box, x=x, y=y, width=128, height=128))
        for y in (box.y, box.y + 128)
        for x in (box.x, box.x + 128)
    ]
    assert whole is not None
    first, second, third, fourth = (half.astype(int) for half in halves if half is not None)
    joined = np.vstack([np.hstack([first, second]), np.hstack([third, fourth])])
    # The camera's noise is laid box by box: two draws of it differ by 1.4 times 1.1 levels.
    assert np.abs(joined - whole).max() < 10
    assert np.abs(joined - whole).mean() < 2
    assert abs((joined - whole).mean()) < 0.1


def test_labels_lie_on_the_darkest_of_the_haematoxylin(scene: Scene) -> None:
    box = _box_within(shapely.union_all(scene.tissue_l0), 512)
    rgb, labels = scene.tile(box), scene.nuclei(box)
    assert rgb is not None
    assert labels is not None
    assert 0.05 < (labels > 0).mean() < 0.7
    assert rgb[labels > 0].mean() < rgb[labels == 0].mean() - 25
    assert set(np.unique(labels[labels > 0] % 8)) <= set(range(len(KINDS)))


def test_tumour_cells_fill_the_tumour_and_nothing_else(scene: Scene) -> None:
    tumour = shapely.union_all(scene.tumour_l0)
    # A nest reaches past the outline by its own radius at most.
    far = shapely.union_all(scene.tissue_l0).difference(tumour.buffer(150))
    inside = scene.nuclei(_box_within(tumour, 256))
    outside = scene.nuclei(_box_within(far, 256))
    assert inside is not None
    assert outside is not None
    assert (inside[inside > 0] % 8 == TUMOUR).mean() > 0.3
    assert not (outside[outside > 0] % 8 == TUMOUR).any()


def test_every_second_slide_of_a_patient_has_no_tumour() -> None:
    slides = [Scene.drawn(SETTINGS, index) for index in range(4)]
    assert [bool(scene.tumour_l0) for scene in slides] == [True, False, True, False]
    for scene in slides:
        tissue = shapely.union_all(scene.tissue_l0).buffer(1)
        assert all(tissue.contains(area) for area in scene.tumour_l0)


def test_bare_glass_is_none(scene: Scene) -> None:
    glass = shapely.box(0, 0, 4000, 3000).difference(shapely.union_all(scene.tissue_l0).buffer(40))
    box = _box_within(glass, 64)
    assert scene.nuclei(box) is None
    if not scene.damage.dust.touches(box):
        assert scene.tile(box) is None
