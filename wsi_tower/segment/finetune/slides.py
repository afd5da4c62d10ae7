"""Tiles of annotated slides as labelled pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
import shapely.affinity

from wsi_tower.annotations import (
    TumourClasses,
    check_on_slide,
    covered_fractions,
    find_annotations,
    read_annotations,
    tumour_area,
)
from wsi_tower.draws import Draws
from wsi_tower.errors import LabelError
from wsi_tower.segment.finetune.pictures import LabelledPicture
from wsi_tower.tiles import TileStore
from wsi_tower.tissue import draw_polygon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from wsi_tower.annotations import Area
    from wsi_tower.workspace import Workspace

__all__ = ["annotated_tiles"]

_LIKE_MPP = 0.1
"""Relative difference of resolutions that count as one, as in pre-training."""


def annotated_tiles(
    workspace: Workspace,
    annotations: Path,
    class_name: str,
    most: int,
    seed: int,
    warn: Callable[[str], None],
) -> tuple[list[LabelledPicture], float]:
    """Tiles of the slides that have an annotation file, with the outlines' pixels as masks.

    What is not outlined on such a slide is background. Of each slide are drawn, by seed, up to
    half of ``most`` tiles with foreground and as many without, or more of one where the other has
    fewer. Slides without a file are left out: nobody looked at them.

    Args:
        workspace: its tile stores.
        annotations: folder of ``<slide_id>.geojson``, ``.xml`` or ``.json``.
        class_name: class of the outlines that are foreground, in any case; outlines without any
            class are foreground.
        most: tiles of a slide.
        seed: of the draw.
        warn: hears of slides that are left out.

    Returns:
        The tiles, slide by slide from left to right, and their resolution in µm/px.

    Raises:
        NoSlidesError: the workspace has no tile stores.
        AnnotationError: a file cannot be understood, or reaches beyond its slide.
        LabelError: no slide has a file, none has that class, or stores differ in resolution.
        CorruptStoreError: a store is damaged.
    """
    stores = {path.stem: path for path in workspace.tile_stores()}
    files = find_annotations(annotations, stores).of_slide
    if not files:
        raise LabelError(
            f"no file in {annotations} is called as a slide of {workspace.root}, such as "
            f"{min(stores)}.geojson"
        )
    pictures: list[LabelledPicture] = []
    mpps: dict[str, float] = {}
    named: set[str] = set()
    for slide_id, path in sorted(files.items()):
        with TileStore.open(stores[slide_id]) as store:
            found = read_annotations(path, store.slide.bounds)
            check_on_slide(found, slide_id, store.slide.size, store.slide.mpp)
            named |= {str(area.name) for area in found.areas}
            area = tumour_area(found, TumourClasses((class_name,), ()))
            pictures += _pictures(store, slide_id, area, most, seed)
            mpps[slide_id] = store.plan.effective_mpp
    _check(pictures, mpps, named, class_name, annotations)
    if len(files) < len(stores):
        warn(f"{len(stores) - len(files)} of {len(stores)} slides have no annotations; left out")
    return pictures, float(np.mean(list(mpps.values())))


def _check(
    pictures: list[LabelledPicture],
    mpps: dict[str, float],
    named: set[str],
    class_name: str,
    annotations: Path,
) -> None:
    low, high = (min(mpps, key=mpps.__getitem__), max(mpps, key=mpps.__getitem__))
    if mpps[high] > (1 + _LIKE_MPP) * mpps[low]:
        raise LabelError(
            f"tiles of {low} have {mpps[low]:g} µm/px and those of {high} {mpps[high]:g}; tile the "
            f"slides alike"
        )
    if all(picture.is_empty for picture in pictures):
        raise LabelError(
            f"no tile shows class {class_name!r} of {annotations}, whose classes are "
            f"{', '.join(sorted(named))}; name one of them with --class-name, or tile the slides "
            f"where they were outlined"
        )


def _pictures(
    store: TileStore, slide_id: str, area: Area, most: int, seed: int
) -> Iterator[LabelledPicture]:
    xy_l0, side_l0 = store.xy_l0, store.plan.footprint_l0
    shown = covered_fractions(area, xy_l0, side_l0) > 0
    rows = _drawn(shown, most, seed)
    rows = rows[np.lexsort((xy_l0[rows, 1], xy_l0[rows, 0]))]
    for row in rows:
        mask = np.zeros((store.plan.tile_px, store.plan.tile_px), np.bool_)
        if shown[row]:
            _draw(mask, area, xy_l0[row], side_l0)
        rgb = store.pixels[[int(row)]][0]
        labels = np.where(mask, 255, 0).astype(np.uint8)
        yield LabelledPicture(f"{slide_id}/{row}", rgb, labels, slide_id)


def _draw(mask: NDArray[np.bool_], area: Area, corner_l0: NDArray[np.int64], side_l0: int) -> None:
    """Set the pixels of a tile whose centres lie in an area."""
    x, y = map(int, corner_l0)
    part = shapely.intersection(area, shapely.box(x, y, x + side_l0, y + side_l0))
    moved = shapely.affinity.translate(part, -x, -y)
    for polygon in shapely.get_parts(moved):
        if isinstance(polygon, shapely.Polygon):  # a rim that is only touched is a line
            draw_polygon(mask, polygon, side_l0 / len(mask))


def _drawn(shown: NDArray[np.bool_], most: int, seed: int) -> NDArray[np.int64]:
    """Rows of tiles with foreground and of others, as evenly as there are any."""
    keys = Draws(seed, 0, np.arange(len(shown))).bits("tiles", 1)[:, 0]
    order = np.argsort(keys, kind="stable")
    with_any, without = order[shown[order]], order[~shown[order]]
    count = min(len(with_any), max(most // 2, most - len(without)))
    drawn: NDArray[np.int64] = np.concatenate((with_any[:count], without[: most - count]))
    return drawn
